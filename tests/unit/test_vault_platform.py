"""The declaration of the platform, and the plan of the changes that make Vault match it."""

from __future__ import annotations

import re
import shutil
from copy import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from regcred.errors import MalformedError, MissingError, RefusedError
from regcred.vault.platform.declaration import (
    ClusterTrust,
    LambdaIamTrust,
    LambdaTrust,
    Platform,
    Quotas,
    default_directory,
    load,
)
from regcred.vault.platform.plan import ChangeKind, desired, desired_project, plan
from regcred.vault.platform.resource import Resource, ResourceKind
from regcred.vault.platform.server import PlatformServer
from regcred.vault.platform.writer import PlatformWriter
from regcred.wiring import cli as wiring

PEM = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"
ARN = "arn:aws:iam::123456789012:role/regcred-rotate"
PATHED_ARN = "arn:aws:iam::123456789012:role/functions/regcred-rotate"


@pytest.fixture(scope="module")
def platform() -> Platform:
    return load(default_directory()).with_declaration(
        clusters={"edge": ClusterTrust(public_keys=[PEM])},
        lambda_jwt=LambdaTrust(
            issuer="https://i", audience="a", dispatch=[ARN], rotate=[ARN], public_keys=[PEM]
        ),
        lambda_iam=LambdaIamTrust(server_id="vault", dispatch=[ARN], rotate=[ARN]),
    )


def test_a_plan_for_an_empty_server_creates_everything_in_an_order_that_works(platform: Platform) -> None:
    wanted = desired(platform, {"payments": ["edge"]})
    actions = plan({}, wanted)
    assert {action.resource for action in actions} == set(wanted)
    assert {action.verb for action in actions} == {ChangeKind.CREATE}
    kinds = [action.resource.kind for action in actions]
    assert kinds == sorted(kinds, key=list(ResourceKind).index)
    assert kinds.index(ResourceKind.POLICY) < kinds.index(ResourceKind.GROUP)
    assert (
        kinds.index(ResourceKind.ENTITY) < kinds.index(ResourceKind.ALIAS) < kinds.index(ResourceKind.GROUP)
    )


SERVER_VALUES = {
    ResourceKind.METHOD: {
        "accessor": "x",
        "uuid": "y",
        "config": {"token_type": "default-service", "max_lease_ttl": 0},
    },
    ResourceKind.METHOD_CONFIG: {
        "namespace_in_state": True,
        "status": "valid",
        "access_key": "AKIA",
        "max_retries": -1,
    },
    ResourceKind.ROLE: {
        "bound_claims_type": "string",
        "role_id": "x",
        "token_num_uses": 0,
        "oidc_scopes": None,
    },
    ResourceKind.ENTITY: {"id": "x", "creation_time": "y", "policies": [], "aliases": [{"id": "z"}]},
    ResourceKind.QUOTA: {"interval": 1, "type": "rate-limit", "role": "", "inheritable": False},
}
"""Values that a server returns beside those that were set."""


def test_a_plan_for_a_server_that_is_up_to_date_is_empty(platform: Platform) -> None:
    wanted = desired(platform, {"payments": ["edge"]})
    held = {
        resource: {**values, **SERVER_VALUES.get(resource.kind, {})} for resource, values in wanted.items()
    }
    assert plan(held, wanted) == []


def test_a_plan_names_what_differs_and_deletes_last(platform: Platform) -> None:
    wanted = desired(platform, {"payments": ["edge"]})
    held = dict(wanted)
    group = Resource(ResourceKind.GROUP, "regcred-readers-payments")
    held[group] = {**held[group], "members": ["regcred-cluster-gone"]}
    held[Resource(ResourceKind.METHOD, "regcred-cluster-gone")] = {"type": "jwt"}
    held[Resource(ResourceKind.ENTITY, "regcred-cluster-gone")] = {}
    assert [str(action) for action in plan(held, wanted)] == [
        "update group regcred-readers-payments (members)",
        "delete entity regcred-cluster-gone",
        "delete sign-in method regcred-cluster-gone",
    ]


def test_policies_are_filled_in_and_use_neither_aliases_nor_undelete(platform: Platform) -> None:
    for values in desired(platform, {"payments": []}).values():
        policy = str(values.get("policy", ""))
        assert "${" not in policy
        assert "identity.entity.aliases" not in policy
        assert "undelete" not in "".join(line for line in policy.splitlines() if not line.startswith("#"))


def test_the_groups_of_projects_named_like_our_groups_do_not_collide(platform: Platform) -> None:
    names: list[str] = []
    for project in ("a", "admins-a", "readers-a", "a-admins"):
        names += [r.name for r in desired_project(platform, project, []) if r.kind is ResourceKind.GROUP]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "clusters: {edge: {public_keys: []}}",
            "clusters.edge: set either public_keys or jwks_url",
        ),
        ("clusters: {edge: {public_keys: [secret-private-key]}}", "clusters.edge.public_keys.0"),
        ("clusters: {Edge: {}}", "clusters.Edge"),
        ("mount: {max_versions: 2}", "mount.max_versions: is not a field of this document"),
        ("tokens: {ttl_seconds: 20m}", "tokens.ttl_seconds"),
        ("lambda_jwt: {issuer: i, audience: a, dispatch: [x], rotate: [x]}", "lambda_jwt.dispatch.0"),
        ("cluster: {}", "cluster: is not a field of this document"),
        ("a: [", "platform.yaml: line "),
        ("events: true\nevents: false", "platform.yaml: line 2: 'events' appears twice"),
        ("events: true\n---\nevents: false", "platform.yaml: line 3: a second document"),
        ("events: true\ntokens:\n  ttl_seconds: 20m", "platform.yaml: line 3: tokens.ttl_seconds: "),
        ("clusters: [edge]", "clusters: must be a mapping, as in {name: value}"),
        ("- clusters", "the document: must be a mapping, as in {name: value}"),
        (
            "clusters: {edge: {public_keys: x}}",
            "clusters.edge.public_keys: must be a list, as in [a, b], even for one item",
        ),
        (
            "clusters: {edge: {namespace: [5]}}",
            "clusters.edge.namespace: must be a string; put a number in quotes",
        ),
        ("tokens: {ttl_seconds: 20}", "tokens.ttl_seconds: must be at least 60"),
        ("tokens: {ttl_seconds: 200000}", "tokens.ttl_seconds: must be at most 86400"),
        ("tokens: {ttl_seconds: 60.5}", "tokens.ttl_seconds: must be a whole number"),
        (
            "lambda_jwt: {issuer: i, audience: a, dispatch: [], rotate: []}",
            "lambda_jwt.dispatch: must contain at least 1",
        ),
        (
            "lambda_iam: {server_id: s, dispatch: [], rotate: [], resolve_unique_ids: maybe}",
            "lambda_iam.resolve_unique_ids: must be true or false",
        ),
        (
            f"lambda_iam: {{server_id: s, dispatch: [{ARN}], rotate: ['{PATHED_ARN}']}}",
            "lambda_iam: Vault never accepts the ARN of a role with a path",
        ),
        (
            f"lambda_iam: {{server_id: s, dispatch: [{ARN}], rotate: [{ARN}], token: ['{PATHED_ARN}']}}",
            "lambda_iam: Vault never accepts the ARN of a role with a path",
        ),
        (
            f"lambda_iam: {{server_id: s, dispatch: ['{ARN}-*'], rotate: [{ARN}]}}",
            "lambda_iam.dispatch.0: is not the ARN of one role",
        ),
        (
            f"lambda_jwt: {{issuer: i, audience: a, dispatch: [{ARN}], rotate: ['{ARN}*']}}",
            "lambda_jwt.rotate.0: is not the ARN of one role",
        ),
    ],
)
def test_a_wrong_declaration_gets_one_line_with_file_and_field(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "platform.yaml").write_text(text)
    with pytest.raises(MalformedError) as caught:
        load(tmp_path)
    assert message in str(caught.value)
    assert "platform.yaml" in str(caught.value)
    assert "secret-private-key" not in str(caught.value)


def test_a_role_with_a_path_can_be_declared_if_vault_looks_it_up_or_compares_the_whole_arn() -> None:
    by_id = LambdaIamTrust(server_id="s", dispatch=[PATHED_ARN], rotate=[PATHED_ARN], resolve_unique_ids=True)
    by_jwt = LambdaTrust(
        issuer="i", audience="a", dispatch=[PATHED_ARN], rotate=[PATHED_ARN], public_keys=[PEM]
    )
    assert by_id.rotate == by_jwt.rotate == [PATHED_ARN]


def test_a_folder_without_a_declaration_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"platform\.yaml can't be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("platform.yaml", b"quotas: !!int x", "platform.yaml: a value does not fit its tag"),
        ("platform.yaml", b"[" * 40 + b"]" * 40, "platform.yaml: line 1: the document: must be a mapping"),
        ("platform.yaml", b"[" * 60 + b"]" * 60, "platform.yaml: line 1: is nested more than 50 levels deep"),
        ("platform.yaml", b"[" * 1000, "platform.yaml: "),
        ("platform.yaml", b"\xff\xfe", "platform.yaml: is not UTF-8 text"),
        ("policies/rotate.hcl", b"\xff\xfe", "rotate.hcl: is not UTF-8 text"),
        ("policies/rotate.hcl", b'path "${mont}/x" {}', r"rotate.hcl: \$\{mont\} can't be filled in"),
        (
            "policies/rotate.hcl",
            b'path "${project}/x" {}',
            r"rotate.hcl: \$\{project\} can't be filled in",
        ),
        (
            "policies/rotate.hcl",
            b'path "$/x" {}',
            r"rotate.hcl: .* can't be filled in; write \$\{mount\}, and \$\$",
        ),
    ],
)
def test_a_malformed_file_is_an_error_when_the_folder_is_loaded(
    tmp_path: Path, file: str, content: bytes, message: str
) -> None:
    folder = tmp_path / "vault"
    shutil.copytree(default_directory(), folder)
    (folder / file).write_bytes(content)
    if file != "platform.yaml":
        (folder / "platform.yaml").write_text("policies: own")
    with pytest.raises(MalformedError, match=message):
        load(folder)


IAM_CONFIG = {
    "access_key": "AKIAOFVAULTITSELF",
    "allowed_sts_header_values": [],
    "endpoint": "",
    "iam_endpoint": "",
    "iam_server_id_header_value": "vault",
    "identity_token_audience": "",
    "identity_token_ttl": 0,
    "max_retries": -1,
    "role_arn": "",
    "sts_endpoint": "",
    "sts_region": "",
    "use_sts_region_from_client": False,
}
"""The answer of HashiCorp Vault to GET auth/aws/config/client:
builtin/credential/aws/path_config_client.go."""

IAM_ROLE = {
    "allow_instance_migration": False,
    "auth_type": "iam",
    "bound_account_id": [],
    "bound_iam_principal_arn": [ARN],
    "bound_iam_principal_id": [],
    "bound_region": [],
    "disallow_reauthentication": False,
    "inferred_aws_region": "",
    "inferred_entity_type": "",
    "resolve_aws_unique_ids": False,
    "role_id": "5c2d",
    "role_tag": "",
    "token_bound_cidrs": [],
    "token_explicit_max_ttl": 0,
    "token_max_ttl": 1200,
    "token_no_default_policy": True,
    "token_num_uses": 0,
    "token_period": 0,
    "token_policies": ["regcred-rotate"],
    "token_ttl": 1200,
    "token_type": "batch",
}
"""Its answer to GET auth/aws/role/rotate: path_role.go and tokenutil."""


def planned(platform: Platform, resource: Resource, held: dict[str, object]) -> list[str]:
    """The steps of a plan for a server that returns these values of the resource."""
    wanted = desired(platform, {})
    actions = plan({**wanted, resource: held}, wanted)
    for action in actions:
        assert {name: action.values[name] for name in action.changed} != held
    return [str(action) for action in actions]


CONFIG = Resource(ResourceKind.METHOD_CONFIG, "regcred-lambda-iam")
ROLE = Resource(ResourceKind.ROLE, "regcred-lambda-iam/rotate")


def test_default_values_of_hashicorp_vault_are_no_difference(platform: Platform) -> None:
    assert planned(platform, CONFIG, IAM_CONFIG) == []
    assert planned(platform, ROLE, IAM_ROLE) == []


@pytest.mark.parametrize(
    ("resource", "held", "name", "value"),
    [
        (CONFIG, IAM_CONFIG, "sts_endpoint", "https://sts.evil.example.com"),
        (CONFIG, IAM_CONFIG, "sts_region", "eu-central-1"),
        (CONFIG, IAM_CONFIG, "iam_endpoint", "https://iam.evil.example.com"),
        (CONFIG, IAM_CONFIG, "endpoint", "https://ec2.evil.example.com"),
        (CONFIG, IAM_CONFIG, "allowed_sts_header_values", ["X-Custom"]),
        (CONFIG, IAM_CONFIG, "use_sts_region_from_client", True),
        (CONFIG, IAM_CONFIG, "something_that_a_later_version_has", "x"),
        (ROLE, IAM_ROLE, "token_bound_cidrs", ["10.0.0.0/8"]),
        (ROLE, IAM_ROLE, "bound_account_id", ["210987654321"]),
        (ROLE, IAM_ROLE, "inferred_entity_type", "ec2_instance"),
        (ROLE, IAM_ROLE, "token_period", 86400),
    ],
)
def test_a_value_that_nobody_declared_is_found_and_reset(
    platform: Platform, resource: Resource, held: dict[str, object], name: str, value: object
) -> None:
    """A person who can set sts_endpoint decides which callers Vault accepts as rotate."""
    wanted = desired(platform, {})
    [action] = plan({**wanted, resource: {**held, name: value}}, wanted)
    assert (action.verb, action.resource, action.changed) == (ChangeKind.UPDATE, resource, (name,))
    assert not action.values[name]
    assert plan({**wanted, resource: {**held, **action.values}}, wanted) == []


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ({}, ""),
        ({"sts_region": "eu-central-1"}, "https://sts.eu-central-1.amazonaws.com"),
        ({"sts_region": "us-east-1"}, "https://sts.amazonaws.com"),
        ({"sts_region": "cn-north-1"}, "https://sts.cn-north-1.amazonaws.com.cn"),
        (
            {"sts_region": "eu-central-1", "sts_endpoint": "https://vpce-1.sts.example.com"},
            "https://vpce-1.sts.example.com",
        ),
    ],
)
def test_vault_calls_the_sts_that_the_functions_sign_for(
    platform: Platform, given: dict[str, str], endpoint: str
) -> None:
    """With sts_region alone Vault calls the global endpoint, which refuses a signature for a region."""
    trust = LambdaIamTrust(server_id="vault", dispatch=[ARN], rotate=[ARN], **given)
    config = desired(platform.with_declaration(lambda_iam=trust), {})[CONFIG]
    assert config["sts_endpoint"] == endpoint


class Recorder:
    """An adapter that records the requests."""

    namespace = None

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, object]] = []

    def delete(self, path: str) -> None:
        self.sent.append(("DELETE", path, None))

    def post(self, path: str, json: object) -> None:
        self.sent.append(("POST", path, json))

    @classmethod
    def from_adapter(cls, adapter: Recorder) -> Recorder:
        return adapter


def test_a_role_is_deleted_and_created_again_to_switch_off_unique_ids(platform: Platform) -> None:
    """Vault: "changing resolve_aws_unique_ids from true to false is not allowed"."""
    wanted = desired(platform, {})
    held = {**wanted, ROLE: {**IAM_ROLE, "resolve_aws_unique_ids": True, "bound_iam_principal_id": ["AROA1"]}}
    [action] = plan(held, wanted)
    recorder = Recorder()
    PlatformWriter(PlatformServer(SimpleNamespace(adapter=recorder))).apply(action)
    assert [(method, path) for method, path, _ in recorder.sent] == [
        ("DELETE", "/v1/auth/regcred-lambda-iam/role/rotate"),
        ("POST", "/v1/auth/regcred-lambda-iam/role/rotate"),
    ]
    assert recorder.sent[1][2]["bound_iam_principal_arn"] == [ARN]


class Health(Recorder):
    """An adapter that answers the health of a server."""

    def __init__(self, namespace: str, health: dict[str, object]) -> None:
        super().__init__()
        self.namespace, self.health = namespace, health

    @classmethod
    def from_adapter(cls, adapter: Recorder) -> Recorder:
        return copy(adapter)

    def get(self, path: str, params: object) -> dict[str, object]:
        assert (path, self.namespace) == ("/v1/sys/health", None)
        return self.health


@pytest.mark.parametrize(
    ("namespace", "health", "refused"),
    [
        ("team/eu", {"initialized": True, "enterprise": False}, True),
        ("team/eu", {"initialized": True, "enterprise": True}, False),
        ("team/eu", {"initialized": True}, False),
        ("", {"initialized": True, "enterprise": False}, False),
    ],
    ids=["community", "enterprise", "openbao", "no-namespace"],
)
def test_a_namespace_needs_a_server_that_has_them(
    namespace: str, health: dict[str, object], *, refused: bool
) -> None:
    server = PlatformServer(SimpleNamespace(adapter=Health(namespace, health)))
    if not refused:
        server.need_namespaces()
        return
    with pytest.raises(RefusedError, match=r"Community Edition has no namespaces .*'team/eu'; unset"):
        server.need_namespaces()


class Refusing(Recorder):
    """A server that refuses each write as malformed."""

    def post(self, path: str, json: object) -> None:
        super().post(path, json)
        raise MalformedError("the server can't understand the request (status 400)")


@pytest.mark.parametrize(
    ("resource", "remedy"),
    [
        (ROLE, ""),
        (Resource(ResourceKind.METHOD_CONFIG, "regcred-lambda-iam"), ""),
        (Resource(ResourceKind.POLICY, "regcred-sync-events"), "set 'events: false'"),
        (
            Resource(ResourceKind.QUOTA, "regcred-requests"),
            "delete any other quota of regcred/ or set 'quotas: {enabled: false}'",
        ),
        (
            Resource(ResourceKind.QUOTA, "regcred-sign-ins-regcred-lambda"),
            "delete any other quota of auth/regcred-lambda/",
        ),
    ],
    ids=str,
)
def test_an_error_about_a_refused_step_names_it_and_says_what_helps(
    platform: Platform, resource: Resource, remedy: str
) -> None:
    wanted = desired(platform.with_declaration(events=True), {})
    [action] = plan({}, {resource: wanted[resource]})
    writer = PlatformWriter(PlatformServer(SimpleNamespace(adapter=Refusing())))
    with pytest.raises(MalformedError, match=f"the server refused to create {resource}") as caught:
        writer.apply(action)
    assert remedy in str(caught.value)
    assert (": false" in str(caught.value)) is bool(remedy)


def test_a_platform_in_a_namespace_has_no_quotas_unless_it_asks_for_them(platform: Platform) -> None:
    """Vault keeps quotas in the root namespace only, so a token of another namespace can't set them."""
    inside = platform.within("team/eu")

    def quotas(of: Platform) -> dict[str, str]:
        found = desired(of, {"payments": ["edge"]}).items()
        return {
            resource.name: str(values["path"])
            for resource, values in found
            if resource.kind is ResourceKind.QUOTA
        }

    assert quotas(inside) == {}
    requested = quotas(inside.with_declaration(quotas=Quotas(enabled=True)))
    assert requested["regcred.team.eu.requests"] == "team/eu/regcred/"
    assert requested["regcred.team.eu.sign-ins-regcred-cluster-edge"] == "team/eu/auth/regcred-cluster-edge/"
    assert len(requested) == len(quotas(platform)) == 4
    assert set(quotas(platform).values()) == {path.removeprefix("team/eu/") for path in requested.values()}


def folder_with(tmp_path: Path, declaration: str, **policies: str) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "platform.yaml").write_text(declaration)
    for name, text in policies.items():
        (tmp_path / "policies" / f"{name}.hcl").write_text(text)
    return tmp_path


def test_policies_come_with_regcred_and_an_unused_copy_causes_a_note(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "{}", sync="# of an older Regcred")
    loaded = load(folder)
    assert loaded.policies == load(default_directory()).policies
    assert [str(folder / "policies") in note and "is not used" in note for note in loaded.notes] == [True]


def test_a_folder_with_a_declaration_alone_is_enough(tmp_path: Path) -> None:
    (tmp_path / "platform.yaml").write_text("{}")
    loaded = load(tmp_path)
    assert loaded.policies == load(default_directory()).policies
    assert loaded.notes == ()


@pytest.mark.parametrize("first_line", ["# Version 0", "# my own", ""])
def test_own_policies_are_used_and_a_note_names_the_older_ones(tmp_path: Path, first_line: str) -> None:
    shipped = load(default_directory()).policies
    folder = folder_with(
        tmp_path,
        "policies: own",
        sync=f'{first_line}\npath "x" {{}}',
        rotate=f'{shipped["rotate"]}\npath "more" {{}}',
    )
    loaded = load(folder)
    assert loaded.policies["sync"].endswith('path "x" {}')
    assert 'path "more"' in loaded.policies["rotate"]
    assert loaded.policies["dispatch"] == shipped["dispatch"]
    [note] = loaded.notes
    assert "sync.hcl is older (version 0)" in note


def test_each_policy_that_comes_with_regcred_has_a_version() -> None:
    """'regcred platform check' compares it to find older copies. A change of a policy raises it."""
    for name, text in load(default_directory()).policies.items():
        assert re.match(r"# Version [1-9][0-9]*\n#", text), name


def test_policies_for_events_name_their_paths_as_the_policies_for_reading_do() -> None:
    """If two patterns match a path, Vault uses only the longer one. Another pattern would therefore take the
    permission to read away."""
    policies = load(default_directory()).policies
    for events, reading in (("sync-events", "sync"), ("project-reader-events", "project-reader")):
        paths = re.findall(r'^path "(.*)"', policies[events], re.MULTILINE)
        others = re.findall(r'^path "(.*)"', policies[reading], re.MULTILINE)
        assert set(paths) - {"sys/events/subscribe/kv-v2/*"} <= set(others)


def test_events_add_a_policy_to_each_cluster_and_to_each_projects_readers(platform: Platform) -> None:
    plain = desired(platform, {"payments": ["edge"]})
    eventful = desired(platform.with_declaration(events=True), {"payments": ["edge"]})
    assert {str(resource) for resource in set(eventful) - set(plain)} == {
        "policy regcred-sync-events",
        "policy regcred-reader-events-payments",
    }
    role = Resource(ResourceKind.ROLE, "regcred-cluster-edge/sync")
    assert eventful[role]["token_policies"] == ["regcred-sync", "regcred-sync-events"]
    group = Resource(ResourceKind.GROUP, "regcred-readers-payments")
    assert eventful[group]["policies"] == ["regcred-reader-events-payments", "regcred-readers-payments"]


@pytest.mark.parametrize(
    ("option", "variable"), [(Path(), None), (None, "."), (None, "./"), (Path("sub/.."), "/nowhere")]
)
def test_a_declaration_in_the_current_folder_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: Path | None, variable: str | None
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "platform.yaml").write_text("mount: {path: from-this-folder}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAULT_ADDR", "https://vault.example.com")
    monkeypatch.setenv("VAULT_TOKEN", "s.token")
    monkeypatch.setenv("REGCRED_PLATFORM", variable or "")
    assert wiring.platform(option).platform.declaration.mount.path == "from-this-folder"


def test_an_empty_variable_means_the_default_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", "https://vault.example.com")
    monkeypatch.setenv("VAULT_TOKEN", "s.token")
    monkeypatch.setenv("REGCRED_PLATFORM", "")
    assert wiring.platform(None).platform.declaration.mount.path == "regcred"


@pytest.mark.parametrize("field", ["issuer", "jwks_url"])
def test_a_placeholder_from_the_documents_is_refused(field: str) -> None:
    keys = {"issuer": "https://issuer.example.com", "jwks_url": "https://issuer.example.com/jwks.json"}
    role = "arn:aws:iam::123456789012:role/regcred-rotate"
    trust = keys | {field: "https://<uuid>.tokens.sts.global.api.aws", "audience": "vault"}
    with pytest.raises(ValidationError, match="contains a placeholder"):
        LambdaTrust.model_validate(trust | {"dispatch": [role], "rotate": [role]})
