"""The catalog of providers: built-in ones, those of other packages, and the SDKs that they need."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr

from regcred.errors import MalformedError
from regcred.registry import catalog, providers, transport
from regcred.registry.interface import Identity, IssuedCredential, MintContext, Revoked
from regcred.registry.optional_packages import needed
from regcred.registry.parsing import parse
from regcred.registry.providers.basic import BasicDefinition, BasicProvider
from regcred.registry.transport import Answer
from regcred.registry_reference import Reference

GUIDE = Path(__file__).parents[2] / "docs" / "adding-a-provider.md"


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


def test_a_provider_is_one_file_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is the example in docs/adding-a-provider.md."""
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "example.py").write_text(code)
    monkeypatch.setattr(providers, "__path__", [*providers.__path__, str(tmp_path)])
    line = {"example": "regcred.registry.providers.example:ExampleProvider"}
    monkeypatch.setattr(catalog, "_BUILT_IN", {**catalog._BUILT_IN, **line})
    catalog._provider_class.cache_clear()
    content = {"provider": "example", "host": "registry.example.com", "repositories": ["team/"]}
    definition = parse(content, where="here")
    assert definition.keys(definition.typed_hosts()) == ("registry.example.com/team/",)
    assert "example" in catalog.names()
    provider = catalog.provider_for("example")
    answer = Answer(200, {}, b'{"token": "t0ken", "expires_at": "2027-01-01T00:00:00Z"}')
    monkeypatch.setattr(transport, "send", lambda *_, **__: answer)
    context = MintContext(
        reference=Reference("payments", "main"),
        now=lambda: datetime(2026, 11, 24, tzinfo=UTC),
        identity=cast("Identity", None),
        upstream={"token": SecretStr("an API token")},
    )
    credential = provider.mint(definition, context)
    assert credential.hosts == ("registry.example.com/team/",)
    assert provider.revoke(definition, IssuedCredential.of(credential), context) is Revoked.UNSUPPORTED


def test_another_packages_provider_is_found_by_its_entry_point(third_party: Any) -> None:
    third_party(f"{__name__}:ElsewhereProvider")
    sys.modules[__name__] = sys.modules.get(__name__) or __import__(__name__)
    assert "elsewhere" in catalog.names()
    assert catalog.provider_for("elsewhere").name == "elsewhere"
    assert isinstance(
        parse({"provider": "elsewhere", "hosts": ["a.example"]}, where="here"), ElsewhereDefinition
    )


def test_an_error_about_a_broken_package_names_it_and_the_remedy(third_party: Any) -> None:
    third_party("regcred_elsewhere.absent:Provider")
    with pytest.raises(MalformedError, match=r"'elsewhere' can't be loaded .*reinstall its package"):
        parse({"provider": "elsewhere"}, where="here")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("raise RuntimeError", "can't be loaded .*RuntimeError; reinstall"),
        ("class Provider:\n  name = 'elsewhere'", "is not a provider: it has no model, mint, revoke"),
        ("class Provider", "can't be loaded .*reinstall"),
    ],
)
def test_an_error_about_a_package_without_a_provider_names_it_and_the_remedy(
    third_party: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, message: str
) -> None:
    (tmp_path / "regcred_elsewhere.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "regcred_elsewhere", raising=False)
    third_party("regcred_elsewhere:Provider")
    with pytest.raises(MalformedError, match=message):
        parse({"provider": "elsewhere"}, where="here")


def test_another_package_cannot_replace_a_built_in_provider(
    third_party: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint("ecr", "evil:Provider", catalog.GROUP)
    third_party("unused:Unused")
    monkeypatch.setattr(catalog, "entry_points", lambda group: [entry])
    catalog._third_party.cache_clear()
    assert catalog.provider_for("ecr").__class__.__module__ == "regcred.registry.providers.ecr"


def test_no_vendor_sdk_is_loaded_before_its_provider_mints() -> None:
    code = (
        "import sys; from regcred.registry import catalog, verify\n"
        "for name in catalog.names(): catalog.provider_for(name); catalog.definition_model(name)\n"
        "sdks = ('boto3', 'botocore', 'google.auth', 'azure', 'msal', 'requests', 'jwt')\n"
        "print([name for name in sdks if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_error_about_a_missing_vendor_sdk_names_the_extra_to_install() -> None:
    with (
        pytest.raises(MalformedError, match=r"needs google-auth.* install regcred\[google\]"),
        needed("google-auth", extra="google"),
    ):
        import_module("regcred_has_no_such_package")
