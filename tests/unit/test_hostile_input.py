"""Each regular expression takes linear time, and each parser of foreign JSON refuses deep nesting."""

import importlib
import pkgutil
import re
import time
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

import regcred
from regcred.cluster.dockerconfig import _secrets_in
from regcred.errors import MalformedError
from regcred.registry.providers import gar
from regcred.vault.http import _position
from regcred.vault.records.credential import CredentialRecord
from regcred.vault.records.index import Index

LENGTH = 20_000
"""Characters of a hostile text. A search in linear time takes milliseconds, and one in quadratic time
seconds."""

BOUND = 1.0
"""The processor time, in seconds, that one pattern may take for all texts."""

UNITS = (
    "a",
    "0",
    ".",
    "-",
    "/",
    "a.",
    "a-",
    "a/",
    "a_",
    "\\",
    '"',
    '"token":"',
    "://a:",
    "eyJ",
    " ",
    ":",
    "1,",
)

SEARCHED = (
    "regcred.log.",
    "regcred.vault.error_responses._STS",
    "regcred.registry.aws._PARAMETER",
    "regcred.registry.providers.acr._ENTRA_CODE",
)
"""Prefixes of the patterns that the code searches in a text; all others must match the whole text."""

DEEP = "[" * 200_000


def _patterns() -> dict[str, tuple[str, re.Pattern[str]]]:
    found: dict[str, tuple[str, re.Pattern[str]]] = {}

    def collect(value: object, module: str, name: str) -> None:
        if isinstance(value, re.Pattern):
            found.setdefault(value.pattern, (f"{module}.{name}", value))
        elif isinstance(value, list | tuple):
            for item in value:
                collect(item, module, name)
        elif hasattr(type(value), "__dataclass_fields__"):
            for field in type(value).__dataclass_fields__:
                collect(getattr(value, field, None), module, name)

    for info in pkgutil.walk_packages(regcred.__path__, "regcred."):
        if not info.name.endswith("__main__"):
            module = importlib.import_module(info.name)
            for name, value in vars(module).items():
                collect(value, info.name, name)
    return {f"{where}: {text[:30]}": (where, pattern) for text, (where, pattern) in found.items()}


PATTERNS = _patterns()


def test_the_patterns_of_the_package_are_found() -> None:
    assert len(PATTERNS) > 50


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_takes_time_linear_in_its_input(name: str) -> None:
    where, pattern = PATTERNS[name]
    try_it = pattern.search if where.startswith(SEARCHED) else pattern.fullmatch
    started = time.process_time()
    for unit in UNITS:
        for end in ("", "!"):
            try_it(unit * (LENGTH // len(unit)) + end)
            assert time.process_time() - started < BOUND, f"{unit!r} repeated, then {end!r}"


def test_a_deeply_nested_credential_is_malformed() -> None:
    now = datetime.now(UTC).isoformat()
    fields = {"username": "u", "password": "p", "provider": "basic", "issued_at": now, "verified": "yes"}
    for broken in ({"dockerconfigjson": DEEP, "hosts": "[]"}, {"dockerconfigjson": "{}", "hosts": DEEP}):
        named = {name.replace("dockerconfigjson", ".dockerconfigjson"): text for name, text in broken.items()}
        with pytest.raises(MalformedError):
            CredentialRecord.parse({**fields, **broken, **named}, path="credentials/p/r")


def test_a_deeply_nested_index_is_malformed() -> None:
    with pytest.raises(MalformedError):
        Index.parse({"document": '{"packed":' + DEEP}, path="credentials/p/_index")


def test_other_parsers_treat_deeply_nested_json_as_malformed() -> None:
    import base64

    assert _position(base64.b64encode(DEEP.encode()).decode()) == -1
    assert list(_secrets_in(DEEP.encode())) == []


def test_a_deeply_nested_service_account_key_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gar, "field_of", lambda *_, **__: SecretStr(DEEP))
    with pytest.raises(MalformedError):
        gar._one_line(None, "key")
