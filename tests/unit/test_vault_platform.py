from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from regcred.errors import MalformedError, MissingError
from regcred.vault.platform.declaration import (
    ClusterTrust,
    LambdaIamTrust,
    LambdaTrust,
    Platform,
    default_directory,
    load,
)
from regcred.vault.platform.plan import Kind, Resource, Verb, desired, desired_project, plan

PEM = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----"
ARN = "arn:aws:iam::123456789012:role/regcred-rotate"


@pytest.fixture(scope="module")
def platform() -> Platform:
    return load(default_directory()).with_declaration(
        clusters={"edge": ClusterTrust(public_keys=[PEM])},
        lambda_jwt=LambdaTrust(
            issuer="https://i", audience="a", dispatch=[ARN], rotate=[ARN], public_keys=[PEM]
        ),
        lambda_iam=LambdaIamTrust(server_id="vault", dispatch=[ARN], rotate=[ARN]),
    )


def test_a_plan_from_nothing_makes_all_in_an_order_that_works(platform: Platform) -> None:
    wanted = desired(platform, {"payments": ["edge"]})
    actions = plan({}, wanted)
    assert {action.resource for action in actions} == set(wanted)
    assert {action.verb for action in actions} == {Verb.CREATE}
    kinds = [action.resource.kind for action in actions]
    assert kinds == sorted(kinds, key=list(Kind).index)
    assert kinds.index(Kind.POLICY) < kinds.index(Kind.GROUP)
    assert kinds.index(Kind.ENTITY) < kinds.index(Kind.ALIAS) < kinds.index(Kind.GROUP)


def test_a_plan_for_what_is_so_already_is_empty(platform: Platform) -> None:
    wanted = desired(platform, {"payments": ["edge"]})
    held = {resource: {**values, "accessor": "set by the server"} for resource, values in wanted.items()}
    assert plan(held, wanted) == []


def test_a_plan_names_what_differs_and_deletes_last(platform: Platform) -> None:
    wanted = desired(platform, {"payments": ["edge"]})
    held = dict(wanted)
    group = Resource(Kind.GROUP, "regcred-readers-payments")
    held[group] = {**held[group], "members": ["regcred-cluster-gone"]}
    held[Resource(Kind.METHOD, "regcred-cluster-gone")] = {"type": "jwt"}
    held[Resource(Kind.ENTITY, "regcred-cluster-gone")] = {}
    assert [str(action) for action in plan(held, wanted)] == [
        "update group regcred-readers-payments (members)",
        "delete entity regcred-cluster-gone",
        "delete sign-in method regcred-cluster-gone",
    ]


def test_policies_are_filled_in_and_templated_only_on_what_operators_set(platform: Platform) -> None:
    for values in desired(platform, {"payments": []}).values():
        policy = str(values.get("policy", ""))
        assert "${" not in policy
        assert "identity.entity.aliases" not in policy
        assert "undelete" not in "".join(line for line in policy.splitlines() if not line.startswith("#"))


def test_projects_whose_names_hold_our_words_do_not_collide(platform: Platform) -> None:
    names: list[str] = []
    for project in ("a", "admins-a", "readers-a", "a-admins"):
        names += [r.name for r in desired_project(platform, project, []) if r.kind is Kind.GROUP]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "clusters: {edge: {public_keys: []}}",
            "clusters.edge: set either public_keys or jwks_url",
        ),
        ("clusters: {edge: {public_keys: [secret-private-key]}}", "clusters.edge.public_keys.0"),
        ("clusters: {Edge: {}}", "clusters.Edge"),
        ("mount: {max_versions: 2}", "mount.max_versions: is no field of this document"),
        ("tokens: {ttl_seconds: 20m}", "tokens.ttl_seconds"),
        ("lambda_jwt: {issuer: i, audience: a, dispatch: [x], rotate: [x]}", "lambda_jwt.dispatch.0"),
        ("cluster: {}", "cluster: is no field of this document"),
        ("a: [", "is not YAML"),
        ("clusters: [edge]", "clusters: must be a mapping, as in {name: value}"),
        ("- clusters", "the document: must be a mapping, as in {name: value}"),
        (
            "clusters: {edge: {public_keys: x}}",
            "clusters.edge.public_keys: must be a list, as in [a, b], also for one",
        ),
        (
            "clusters: {edge: {namespace: 5}}",
            "clusters.edge.namespace: must be a text; put a number in quotes",
        ),
        ("tokens: {ttl_seconds: 20}", "tokens.ttl_seconds: must be 60 at least"),
        ("tokens: {ttl_seconds: 200000}", "tokens.ttl_seconds: must be 86400 at most"),
        ("tokens: {ttl_seconds: 60.5}", "tokens.ttl_seconds: must be a whole number"),
        (
            "lambda_jwt: {issuer: i, audience: a, dispatch: [], rotate: []}",
            "lambda_jwt.dispatch: must hold 1 at least",
        ),
        (
            "lambda_iam: {server_id: s, dispatch: [], rotate: [], resolve_unique_ids: maybe}",
            "lambda_iam.resolve_unique_ids: must be true or false",
        ),
    ],
)
def test_a_wrong_declaration_gets_one_line_with_file_and_field(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "platform.yaml").write_text(text)
    with pytest.raises(MalformedError) as caught:
        load(tmp_path)
    assert said in str(caught.value)
    assert "platform.yaml" in str(caught.value)
    assert "secret-private-key" not in str(caught.value)


def test_a_folder_without_declaration_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"platform\.yaml can't be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("platform.yaml", b"quotas: !!int x", "platform.yaml: is not YAML"),
        ("platform.yaml", b"[" * 5000, "platform.yaml: is not YAML"),
        ("platform.yaml", b"\xff\xfe", "platform.yaml: is no text in UTF-8"),
        ("policies/rotate.hcl", b"\xff\xfe", "rotate.hcl: is no text in UTF-8"),
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
def test_a_broken_file_is_named_before_anything_is_done(
    tmp_path: Path, file: str, content: bytes, said: str
) -> None:
    folder = tmp_path / "vault"
    shutil.copytree(default_directory(), folder)
    (folder / file).write_bytes(content)
    with pytest.raises(MalformedError, match=said):
        load(folder)
