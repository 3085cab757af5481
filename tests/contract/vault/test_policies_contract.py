"""The rights of each role in Vault. The tests try every operation on every kind of document."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest
import requests

from regcred.errors import RefusedError
from regcred.vault.platform import ensure_project
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.store import Store

from . import identities
from .conftest import Keys, Real

DOCUMENTS = [
    *(f"platform/projects/{p}" for p in ("payments", "search")),
    *(f"platform/clusters/{c}" for c in ("c1", "c2")),
    *(
        f"{kind}/{p}/r"
        for kind in ("registries", "upstream", "requests", "rotations", "credentials")
        for p in ("payments", "search")
    ),
    *(f"credentials/{p}/_index" for p in ("payments", "search")),
    *(f"delegated/{c}/{p}" for c in ("c1", "c2") for p in ("payments", "search")),
    *(f"status/{c}/{p}{part}" for c in ("c1", "c2") for p in ("payments", "search") for part in ("", "/1")),
    *(f"history/{p}" for p in ("payments", "search")),
    "console/sealing",
    "system/config",
    "system/keys",
    "system/ended/payments",
    "system/used/payments",
    "else/where",
]
FOLDERS = sorted(
    {"/".join(path.split("/")[:depth]) for path in DOCUMENTS for depth in (1, 2) if path.count("/") >= depth}
)

# A permitted write or destruction changes nothing, because no document has version 999.
OPERATIONS: dict[str, Callable[[str], tuple[str, str, object]]] = {
    "read": lambda path: ("GET", f"data/{path}", None),
    "write": lambda path: ("POST", f"data/{path}", {"data": {"a": "b"}, "options": {"cas": 999}}),
    "patch": lambda path: ("PATCH", f"data/{path}", {"data": {"a": "b"}, "options": {"cas": 999}}),
    "soft-delete newest": lambda path: ("DELETE", f"data/{path}", None),
    "soft-delete": lambda path: ("POST", f"delete/{path}", {"versions": [999]}),
    "undelete": lambda path: ("POST", f"undelete/{path}", {"versions": [999]}),
    "destroy": lambda path: ("POST", f"destroy/{path}", {"versions": [999]}),
    "subkeys": lambda path: ("GET", f"subkeys/{path}", None),
    "version": lambda path: ("GET", f"metadata/{path}", None),
    "settings": lambda path: ("POST", f"metadata/{path}", {"max_versions": 2}),
    "delete": lambda path: ("DELETE", f"metadata/{path}", None),
}

SYNC = {
    "read": [
        "platform/clusters/c1",
        "delegated/c1/*",
        "status/c1/*",
        "credentials/payments/*",
        "history/payments",
        "system/config",
    ],
    "version": ["platform/clusters/c1", "delegated/c1/*", "status/c1/*", "credentials/payments/*"],
    "write": ["status/c1/*"],
    "list": ["status/c1"],
}
DISPATCH = {
    "read": ["platform/projects/*", "credentials/*/_index"],
    "version": ["registries/*", "credentials/*/_index"],
    "list": ["registries", "registries/*", "requests", "requests/*", "credentials"],
}
ROTATE = {
    "read": [
        "platform/projects/*",
        "registries/*",
        "upstream/*",
        "requests/*",
        "rotations/*",
        "credentials/*",
        "history/*",
    ],
    "version": ["registries/*", "upstream/*", "requests/*", "rotations/*", "credentials/*", "history/*"],
    "write": ["rotations/*", "credentials/*", "history/*"],
    "destroy": ["credentials/*"],
    "delete": ["requests/*", "rotations/*"],
}
PROJECT_ADMIN = {
    "read": [
        "platform/projects/payments",
        "registries/payments/*",
        "requests/payments/*",
        "credentials/payments/_index",
        "history/payments",
        "status/*/payments",
        "status/*/payments/*",
        "delegated/*/payments",
        "system/config",
    ],
    "version": [
        "registries/payments/*",
        "upstream/payments/*",
        "requests/payments/*",
        "credentials/payments/_index",
        "status/*/payments",
        "delegated/*/payments",
    ],
    "write": [
        "registries/payments/*",
        "upstream/payments/*",
        "requests/payments/*",
        "delegated/*/payments",
    ],
    "delete": ["registries/payments/*", "upstream/payments/*", "requests/payments/*"],
    "list": ["registries/payments"],
}
PROJECT_READER = {
    "read": ["credentials/payments/*", "history/payments", "system/config"],
    "version": ["credentials/payments/*"],
}
PLATFORM_ADMIN = {
    "read": [
        "platform/*",
        "registries/*",
        "credentials/*/_index",
        "status/*",
        "delegated/*",
        "history/*",
        *(SYSTEM_DOCUMENTS := ["system/config", "system/keys", "system/ended/*"]),
    ],
    "version": [
        "platform/*",
        "registries/*",
        "requests/*",
        "credentials/*/_index",
        "status/*",
        "delegated/*",
        "system/*",
    ],
    "write": ["platform/*", *SYSTEM_DOCUMENTS],
    "delete": ["platform/*", "registries/*", "requests/*", "status/*", "delegated/*"],
    "list": [
        "platform",
        "platform/*",
        "registries",
        "registries/*",
        "requests",
        "requests/*",
        "credentials",
        "status",
        "status/*",
        "delegated",
        "delegated/*",
        "system",
        "system/*",
    ],
}
TOKEN = {
    "read": [*SYSTEM_DOCUMENTS, "system/used/*", "platform/projects/*"],
    "version": ["system/*", "platform/projects/*"],
    "write": ["system/ended/*", "system/used/*"],
}
CONSOLE = {
    "read": ["console/sealing"],
    "version": ["console/sealing"],
    "write": ["console/sealing"],
}
PLATFORM_OPERATOR = {
    "delete": ["console/sealing"],
    "read": ["platform/*"],
    "version": ["platform/*"],
    "list": ["platform", "platform/*"],
}
ROLES = {
    "sync of c1": SYNC,
    "dispatch": DISPATCH,
    "rotate": ROTATE,
    "console": CONSOLE,
    "token server": TOKEN,
    "admin of payments": PROJECT_ADMIN,
    "reader of payments": PROJECT_READER,
    "platform admin": PLATFORM_ADMIN,
    "platform operator": PLATFORM_OPERATOR,
}


@pytest.fixture
def token_of(real: Real, keys: dict[str, Keys]) -> Callable[[str], str]:
    """Returns a token of a role, obtained as that role obtains it. c1 may read payments."""
    store = Store(real.as_token(real.vault.root_token))
    store.change_project("payments", lambda _: ProjectPolicy(clusters=["c1"]))
    ensure_project(real.client(), real.platform, "payments")

    def get(role: str) -> str:
        match role:
            case "sync of c1":
                login = identities.cluster_login("c1", identities.service_account_token(keys["c1"]))
                return identities.raw_token(real, login)
            case "dispatch" | "rotate" | "console":
                arn = {"dispatch": identities.DISPATCH, "rotate": identities.ROTATE}.get(
                    role, identities.CONSOLE
                )
                token = identities.web_identity_token(keys["aws"], arn)
                return identities.raw_token(real, identities.lambda_login(role, token))
        policies = {
            "admin of payments": "regcred-admins-payments",
            "reader of payments": "regcred-readers-payments",
            "token server": "regcred-token",
            "platform admin": "regcred-platform-admin",
            "platform operator": "regcred-platform-operator",
        }
        return identities.token_with(real, policies[role])

    return get


def refused(real: Real, token: str, method: str, path: str, body: object = None) -> bool:
    headers = {"X-Vault-Token": token, **real.headers}
    if method == "PATCH":
        headers["Content-Type"] = "application/merge-patch+json"
    answer = requests.request(method, f"{real.addr}/v1/{path}", json=body, headers=headers, timeout=10)
    assert answer.status_code in {200, 204, 400, 403, 404, 405}, (method, path, answer.status_code)
    nowhere = answer.status_code == 400 and any(
        word in answer.text for word in ("unavailable in namespaces", "only available in root namespace")
    )
    return answer.status_code == 403 or nowhere


def allowed(role: dict[str, list[str]], operation: str, path: str) -> bool:
    """Whether the table of a role allows an operation on a path.

    As in Vault policies, ``*`` inside a path matches one segment, and at the end everything that follows.
    """
    return any(_matches(path, pattern) for pattern in role.get(operation, ()))


def _matches(path: str, pattern: str) -> bool:
    same_depth = path.count("/") == pattern.count("/")
    return fnmatchcase(path, pattern) and (same_depth or pattern.endswith("/*"))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_exactly_the_rights_in_its_table(
    real: Real, token_of: Callable[[str], str], role: str
) -> None:
    token, table = token_of(role), ROLES[role]
    wrong = []
    for path in DOCUMENTS:
        for operation, request in OPERATIONS.items():
            method, url, body = request(path)
            if refused(real, token, method, f"regcred/{url}", body) == allowed(table, operation, path):
                wrong.append(f"{operation} {path}")
    wrong += [
        f"list {folder}"
        for folder in FOLDERS
        if refused(real, token, "LIST", f"regcred/metadata/{folder}") == allowed(table, "list", folder)
    ]
    assert not wrong


PRIVILEGED = [
    ("PUT", "sys/policies/acl/regcred-rotate", {"policy": 'path "*" { capabilities = ["read"] }'}),
    ("PUT", "sys/policies/acl/mine", {"policy": 'path "*" { capabilities = ["read"] }'}),
    ("POST", "sys/auth/regcred-mine", {"type": "jwt"}),
    ("POST", "auth/regcred-lambda/config", {"jwt_validation_pubkeys": ["x"]}),
    ("POST", "auth/regcred-lambda/role/mine", {"role_type": "jwt"}),
    ("POST", "auth/token/create", {"policies": ["regcred-rotate"]}),
    ("POST", "auth/token/create-orphan", {"policies": ["regcred-rotate"]}),
    ("POST", "identity/group/name/regcred-readers-search", {"policies": ["regcred-rotate"]}),
    ("POST", "identity/entity/name/regcred-cluster-c2", {"policies": ["regcred-rotate"]}),
    ("POST", "identity/entity-alias", {"name": "x", "canonical_id": "x", "mount_accessor": "x"}),
    ("POST", "regcred/config", {"max_versions": 9}),
    ("POST", "sys/mounts/mine", {"type": "kv"}),
    ("DELETE", "sys/mounts/regcred", None),
    ("GET", "sys/raw/core", None),
    ("PUT", "sys/seal", None),
    ("POST", "sys/quotas/rate-limit/regcred-requests", {"path": "regcred/", "rate": 1}),
    ("PUT", "sys/audit/mine", {"type": "file"}),
]


@pytest.mark.parametrize("role", [role for role in ROLES if role != "platform operator"])
def test_no_role_can_widen_its_own_rights(real: Real, token_of: Callable[[str], str], role: str) -> None:
    token = token_of(role)
    permitted = [
        f"{method} {path}"
        for method, path, body in PRIVILEGED
        if not refused(real, token, method, path, body)
    ]
    assert permitted == []


def test_the_platform_operator_can_change_only_what_belongs_to_regcred(
    real: Real, token_of: Callable[[str], str]
) -> None:
    token = token_of("platform operator")
    permitted = [
        f"{method} {path}"
        for method, path, body in [
            *(entry for entry in PRIVILEGED if "mine" in entry[1] and "regcred" not in entry[1]),
            ("POST", "auth/token/create", {"policies": ["regcred-rotate"]}),
            ("PUT", "sys/seal", None),
            ("DELETE", "sys/mounts/regcred", None),
            ("POST", "identity/group/name/others", {"policies": ["regcred-rotate"]}),
        ]
        if not refused(real, token, method, path, body)
    ]
    assert permitted == []


def test_an_upstream_secret_cannot_be_read_by_its_writer(real: Real, token_of: Callable[[str], str]) -> None:
    kv = real.as_token(token_of("admin of payments"))
    version = kv.version("upstream/payments/kept")
    kv.write("upstream/payments/kept", {"password": "only rotate sees this"}, cas=version)
    with pytest.raises(RefusedError, match="permission denied"):
        kv.read("upstream/payments/kept")
    found = real.as_token(token_of("rotate")).read("upstream/payments/kept")
    assert found is not None
    assert found.fields["password"] == "only rotate sees this"


def test_root_cannot_restore_a_destroyed_credential(real: Real) -> None:
    kv = real.as_token(real.vault.root_token)
    version = kv.version("credentials/payments/leaked")
    version = kv.write("credentials/payments/leaked", {"password": "p"}, cas=version)
    kv.destroy("credentials/payments/leaked", [version])
    real.vault.call("POST", "regcred/undelete/credentials/payments/leaked", {"versions": [version]})
    assert kv.read("credentials/payments/leaked") is None


def test_root_cannot_restore_an_overwritten_secret(real: Real) -> None:
    kv = real.as_token(real.vault.root_token)
    old = kv.write("upstream/payments/old", {"password": "p"}, cas=kv.version("upstream/payments/old"))
    kv.write("upstream/payments/old", {"password": "q"}, cas=old)
    real.vault.call("POST", "regcred/undelete/upstream/payments/old", {"versions": [old]})
    with pytest.raises(requests.HTTPError, match="404"):
        real.vault.call("GET", f"regcred/data/upstream/payments/old?version={old}")


def test_a_cluster_that_loses_a_project_loses_access_at_once(
    real: Real, token_of: Callable[[str], str]
) -> None:
    sync = real.as_token(token_of("sync of c1"))
    assert sync.version("credentials/payments/_index") == 0
    Store(real.as_token(real.vault.root_token)).change_project("payments", lambda _: ProjectPolicy())
    ensure_project(real.client(), real.platform, "payments")
    with pytest.raises(RefusedError, match="permission denied"):
        sync.version("credentials/payments/_index")
