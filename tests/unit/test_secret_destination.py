"""An upstream secret is sent only to the destination for which it was entered. A changed definition gives no
access to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.rotate_world import HOST, PROD, World

from regcred.errors import RefusedError
from regcred.registry.catalog import definition_model, names
from regcred.registry.parsing import parse
from regcred.registry.secret_destination import check_destination, destination_change, destination_text
from regcred.rotate import RotationResult
from regcred.rotation_message import RotationReason
from regcred.vault.records.declared import Action, Definition, ProjectPolicy

EVIL = "evil.example.com"
BASIC = {"provider": "basic", "hosts": [HOST]}
HARBOR = {"provider": "harbor", "host": HOST, "harbor_project": "team"}
GITLAB = {"provider": "gitlab", "host": HOST, "server": "git.example.com", "project": "team/app"}
NEXUS = {"provider": "nexus", "hosts": [HOST], "users": ["a", "b"], "server": "nexus.example.com"}
DOCKERHUB = {
    "provider": "dockerhub",
    "auth": "organisation",
    "organisation": "acme",
    "repositories": ["acme/"],
}
ARTIFACTORY = {
    "provider": "artifactory",
    "platform": "example.jfrog.io",
    "hosts": ["example.jfrog.io"],
    "auth": "token",
    "username": "puller",
    "groups": ["readers"],
}
QUAY = {"provider": "quay", "auth": "static"}


def write(world: World, content: dict[str, Any]) -> None:
    definition = Definition.model_validate(content)
    world.store.write_definition(PROD, definition, cas=world.store.definition_version(PROD))


@pytest.fixture
def entered() -> World:
    """A registry whose secret was entered for HOST, in a project that may use another host too."""
    world = World()
    policy = ProjectPolicy(hosts=[HOST, EVIL, "*.example.com"])
    world.store.change_project("payments", lambda _: policy)
    world.enter(PROD, username="u", password="s3cr3t")
    assert world.one(RotationReason.NEW) is RotationResult.ROTATED
    return world


@pytest.mark.parametrize(
    ("before", "change", "field"),
    [
        (BASIC, {"hosts": [EVIL]}, "hosts"),
        (BASIC, {"hosts": [HOST, EVIL]}, "hosts"),
        (BASIC, {"realm_hosts": [EVIL]}, "realm_hosts"),
        (HARBOR, {"host": EVIL}, "host"),
        (GITLAB, {"server": EVIL}, "server"),
        (NEXUS, {"server": EVIL}, "server"),
    ],
)
def test_a_new_destination_gets_no_secret_and_the_current_credential_is_kept(
    entered: World, before: dict[str, Any], change: dict[str, Any], field: str
) -> None:
    write(entered, before)
    entered.enter(PROD, username="u", password="s3cr3t", token="t")
    minted = len(entered.provider.contexts)
    write(entered, before | change)
    outcome = entered.run(RotationReason.EDITED)[0]
    assert (outcome.done, outcome.error_kind) == (RotationResult.FAILING, "refused")
    assert f"'{field}' of the definition is now" in outcome.error
    assert "regcred registry set-secret payments/prod" in outcome.error
    assert "s3cr3t" not in outcome.error
    assert len(entered.provider.contexts) == minted
    assert entered.password() == "s3cr3t-1"
    entered.enter(PROD, username="u", password="s3cr3t", token="t")
    entered.ask(Action.ROTATE)
    assert entered.one(RotationReason.REQUESTED) is RotationResult.ROTATED


def test_a_revocation_sends_nothing_to_the_new_destination(entered: World) -> None:
    entered.define(PROD, hosts=[EVIL])
    entered.ask(Action.REVOKE)
    assert entered.one(RotationReason.REVOKE) is RotationResult.REVOKED
    assert entered.provider.revocations == []
    assert "the vendor did not revoke it" in entered.entry().error
    assert entered.store.credential(PROD) is None


def test_a_secret_without_a_destination_is_not_sent(entered: World) -> None:
    entered.kv.put("upstream/payments/prod", {"username": "u", "password": "s3cr3t"})
    entered.ask(Action.ROTATE)
    assert entered.one(RotationReason.REQUESTED) is RotationResult.FAILING
    assert "has no record of the hosts" in entered.entry().error


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "7",
        "[" * 100_000,
        "x" * 300_000,
        json.dumps({"hosts": {HOST: 1}}),
        json.dumps({"hosts": None}),
    ],
    ids=["cut-off", "list", "number", "deep", "huge", "object", "null"],
)
def test_a_malformed_destination_allows_nothing(text: str) -> None:
    with pytest.raises(RefusedError):
        check_destination(text, parse(BASIC, where="test"), where="upstream/p/r", remedy="enter it again")


@pytest.mark.parametrize(
    ("before", "change"),
    [
        (BASIC, {"description": "new", "probe": "team/app:1", "repositories": ["team/"]}),
        (BASIC | {"hosts": [HOST, EVIL]}, {"hosts": [HOST]}),
        (HARBOR, {"harbor_project": "other", "lifetime_days": 7}),
        (NEXUS, {"users": ["c", "d"]}),
        (ARTIFACTORY, {"groups": ["others"], "lifetime_seconds": 3600}),
    ],
)
def test_fields_without_a_destination_may_change(before: dict[str, Any], change: dict[str, Any]) -> None:
    assert destination_change(parse(before, where="test"), parse(before | change, where="test")) == ""


@pytest.mark.parametrize(
    ("before", "change"),
    [
        (DOCKERHUB, {"organisation": "evil", "repositories": ["evil/"]}),
        (ARTIFACTORY, {"platform": "evil.jfrog.io"}),
        (ARTIFACTORY, {"hosts": ["example.jfrog.io", "evil.jfrog.io"]}),
        (QUAY, {"host": EVIL}),
    ],
)
def test_another_default_host_or_organisation_counts_as_a_new_destination(
    before: dict[str, Any], change: dict[str, Any]
) -> None:
    assert destination_change(parse(before, where="test"), parse(before | change, where="test"))


def test_a_field_of_a_newer_release_does_not_require_the_secret_again() -> None:
    definition = parse(BASIC, where="test")
    known = {
        name: value
        for name, value in json.loads(destination_text(definition)).items()
        if name != "realm_hosts"
    }
    check_destination(json.dumps(known), definition, where="upstream/p/r", remedy="enter it again")


def test_each_field_that_can_contain_a_host_counts() -> None:
    from regcred.registry.secret_destination import FREE

    for name in names():
        fields = set(definition_model(name).model_fields)
        assert (
            not {"host", "hosts", "server", "platform", "realm_hosts", "token_host", "audience"}
            & fields
            & FREE
        )
