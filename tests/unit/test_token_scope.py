"""Which access a client of the system registry gets for the scopes that it requests."""

from __future__ import annotations

import time

import pytest

from regcred.errors import MalformedError
from regcred.token.access import Standing, may, of_groups, of_project
from regcred.token.scope import SCOPES_MAX, ResourceActions, intersect, parse_scopes

COMMUNITY = ("community", "library")


def granted(standing: Standing, *scopes: str) -> dict[str, set[str]]:
    """The granted actions by resource."""
    requested = parse_scopes(scopes)
    return {
        f"{one.kind}:{one.name}": set(one.actions)
        for one in intersect(requested, may(standing, requested, community=COMMUNITY))
    }


ADMIN = of_groups(["regcred-admins-payments", "regcred-readers-shop", "other"])
PLATFORM = of_groups(["regcred-platform-admins"])


@pytest.mark.parametrize(
    ("standing", "scope", "actions"),
    [
        (ADMIN, "repository:payments/web:pull,push", {"pull", "push"}),
        (ADMIN, "repository:payments/web:*", {"pull", "push", "delete"}),
        (ADMIN, "repository:payments/team/web:pull", {"pull"}),
        (ADMIN, "repository:shop/web:pull,push", {"pull"}),
        (ADMIN, "repository:victim/web:pull", set()),
        (ADMIN, "repository:payments:pull", set()),
        (ADMIN, "repository:payments2/web:pull", set()),
        (ADMIN, "repository:community/nginx:pull,push", {"pull"}),
        (ADMIN, "repository:library/nginx:pull", {"pull"}),
        (ADMIN, "registry:catalog:*", set()),
        (PLATFORM, "registry:catalog:*", {"*"}),
        (PLATFORM, "repository:community/nginx:pull,push", {"pull", "push"}),
        (PLATFORM, "repository:payments/web:pull", set()),
        (of_groups(["nobody"]), "repository:community/nginx:pull", set()),
        (of_project("payments", ()), "repository:payments/web:pull,push", {"pull"}),
        (of_project("payments", ("payments/team/",)), "repository:payments/team/web:pull", {"pull"}),
        (of_project("payments", ("payments/team/",)), "repository:payments/team2/web:pull", set()),
        (of_project("payments", ("payments/web",)), "repository:payments/web:pull", {"pull"}),
        (of_project("payments", ("payments/web",)), "repository:payments/other:pull", set()),
        (of_project("payments", ("payments/web",)), "repository:community/nginx:pull", {"pull"}),
        (ADMIN, "repository(plugin):payments/web:pull", set()),
        (ADMIN, "repository:payments/../victim/web:pull", set()),
        (ADMIN, "repository:payments/Web:pull", set()),
    ],
)
def test_a_client_gets_the_intersection_of_requested_and_allowed_access(
    standing: Standing, scope: str, actions: set[str]
) -> None:
    found = granted(standing, scope)
    assert (next(iter(found.values())) if found else set()) == actions


def test_each_of_several_scopes_is_decided_separately() -> None:
    found = granted(
        ADMIN,
        "repository:payments/web:pull repository:shop/web:push",
        "repository:payments/web:push",
        "repository:victim/web:pull",
    )
    assert found == {"repository:payments/web": {"pull", "push"}}


@pytest.mark.parametrize(
    "scope",
    [
        "repository",
        "repository:pull",
        "repository:payments/web:",
        "repository::pull",
        "repository:payments/web:pull,,push",
        "repository:payments/web:PULL",
        "repository:payments/web:" + ",".join(["pull"] * 9),
        "repository:" + "a" * 600 + ":pull",
        ":a/b:pull",
    ],
)
def test_a_malformed_scope_is_refused(scope: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_scopes([scope])
    assert caught.value.field == "scope"


def test_too_many_or_too_long_scopes_are_refused_quickly() -> None:
    started = time.process_time()
    with pytest.raises(MalformedError):
        parse_scopes(["repository:a/b:pull " * (SCOPES_MAX + 1)])
    with pytest.raises(MalformedError):
        parse_scopes(["x" * 10_000_000])
    with pytest.raises(MalformedError):
        parse_scopes(["repository:" + "a-" * 250 + "!:pull"] * SCOPES_MAX + ["y"])
    assert time.process_time() - started < 1


def test_a_name_with_a_port_keeps_its_port() -> None:
    (scope,) = parse_scopes(["repository:registry.example.com:5000/a/b:pull"])
    assert scope.name == "registry.example.com:5000/a/b"


def test_the_access_claim_has_the_form_of_the_specification() -> None:
    access = ResourceActions("repository", "payments/web", frozenset({"push", "pull"}))
    assert access.claim() == {"type": "repository", "name": "payments/web", "actions": ["pull", "push"]}
