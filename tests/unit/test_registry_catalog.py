from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from regcred.errors import MalformedError
from regcred.registry import catalog
from regcred.registry.definition import parse
from regcred.registry.providers.basic import BasicDefinition, BasicProvider
from regcred.registry.vendors import needed


class ElsewhereDefinition(BasicDefinition):
    provider: Any


class ElsewhereProvider(BasicProvider):
    name = "elsewhere"
    model = ElsewhereDefinition


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(value: str) -> None:
        entry = EntryPoint("elsewhere", value, catalog.GROUP)
        monkeypatch.setattr(catalog, "entry_points", lambda group: [entry] if group == catalog.GROUP else [])
        catalog._third_party.cache_clear()
        catalog._provider_class.cache_clear()

    yield install
    monkeypatch.undo()
    catalog._third_party.cache_clear()
    catalog._provider_class.cache_clear()


def test_another_packages_provider_is_found_by_its_entry_point(third_party: Any) -> None:
    third_party(f"{__name__}:ElsewhereProvider")
    sys.modules[__name__] = sys.modules.get(__name__) or __import__(__name__)
    assert "elsewhere" in catalog.names()
    assert catalog.provider_for("elsewhere").name == "elsewhere"
    assert isinstance(
        parse({"provider": "elsewhere", "hosts": ["a.example"]}, where="here"), ElsewhereDefinition
    )


def test_a_package_that_is_broken_is_named_with_the_remedy(third_party: Any) -> None:
    third_party("regcred_elsewhere.absent:Provider")
    with pytest.raises(MalformedError, match=r"'elsewhere' can't be loaded .*reinstall its package"):
        parse({"provider": "elsewhere"}, where="here")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("raise RuntimeError", "can't be loaded .*RuntimeError; reinstall"),
        ("class Provider:\n  name = 'elsewhere'", "is no provider: it lacks model, mint, revoke"),
        ("class Provider", "can't be loaded .*reinstall"),
    ],
)
def test_a_package_that_is_no_provider_is_named_with_the_remedy(
    third_party: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, said: str
) -> None:
    (tmp_path / "regcred_elsewhere.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "regcred_elsewhere", raising=False)
    third_party("regcred_elsewhere:Provider")
    with pytest.raises(MalformedError, match=said):
        parse({"provider": "elsewhere"}, where="here")


def test_another_package_can_not_take_the_place_of_a_provider_of_ours(
    third_party: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint("ecr", "evil:Provider", catalog.GROUP)
    third_party("unused:Unused")
    monkeypatch.setattr(catalog, "entry_points", lambda group: [entry])
    catalog._third_party.cache_clear()
    assert catalog.provider_for("ecr").__class__.__module__ == "regcred.registry.providers.ecr"


def test_no_vendors_package_loads_before_its_provider_mints() -> None:
    code = (
        "import sys; from regcred.registry import catalog, verify\n"
        "for name in catalog.names(): catalog.provider_for(name); catalog.definition_model(name)\n"
        "print([m for m in ('boto3', 'botocore', 'google.auth', 'azure', 'msal', 'requests', 'jwt') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_vendors_package_that_was_left_out_is_named_with_the_remedy() -> None:
    with (
        pytest.raises(MalformedError, match=r"needs google-auth.* install regcred\[google\]"),
        needed("google-auth", extra="google"),
    ):
        import_module("regcred_has_no_such_package")
