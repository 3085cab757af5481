"""Definitions: their errors, and the limits of a project."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regcred.errors import MalformedError, RefusedError
from regcred.image_name import host_matches
from regcred.registry.catalog import definition_model, names, provider_for
from regcred.registry.definition import split_image
from regcred.registry.parsing import parse
from regcred.registry.project_policy import check_allowed

BASIC = {"provider": "basic", "hosts": ["registry.example.com"]}
ECR = {"provider": "ecr", "regions": ["eu-central-1"]}
NEXUS = {"provider": "nexus", "server": "nexus.example.com", "hosts": ["nexus.example.com:8443"]}


def refusal(content: dict[str, object]) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        parse(content, where="registries/payments/main")
    return caught.value


@pytest.mark.parametrize(
    ("content", "field", "hint"),
    [
        ({}, "provider", "is missing; name the kind of registry"),
        ({"provider": 7}, "provider", "is not a string; name the kind of registry"),
        ({"provider": ["ecr"]}, "provider", "is not a string; name the kind of registry"),
        ({"provider": "ecs"}, "provider", "did you mean 'ecr'? the providers are"),
        (
            {**BASIC, "hosts": ["https://registry.example.com"]},
            "hosts[0]",
            "has a scheme; write only the host",
        ),
        ({**BASIC, "hosts": ["registry.example.com/team"]}, "hosts[0]", "the path under 'repositories'"),
        ({**BASIC, "hosts": ["*.example.com"]}, "hosts[0]", "write each host out"),
        ({**BASIC, "hosts": ["Registry.Example.com"]}, "hosts[0]", "write 'registry.example.com'"),
        ({**BASIC, "hosts": ["registry.example.com:99999"]}, "hosts[0]", "use 1 to 65535"),
        ({**BASIC, "hosts": ["registry"]}, "hosts[0]", "neither a dot nor a port"),
        (
            {**BASIC, "hosts": ["bob:hunter2@registry.example.com"]},
            "hosts[0]",
            "enter a user name or password in the upstream secret",
        ),
        ({**BASIC, "hosts": "registry.example.com"}, "hosts", "must be a list"),
        ({**BASIC, "hosts": []}, "hosts", "name at least one"),
        ({**BASIC, "host": ["registry.example.com"]}, "host", "did you mean 'hosts'?"),
        ({**BASIC, "probe": "registry.example.com:5000/team/app:1"}, "probe", "without a host"),
        ({**BASIC, "repositories": ["team/*"]}, "repositories[0]", "a prefix that ends in '/'"),
        ({"provider": "ecr"}, "regions", "is missing (The AWS regions"),
        ({**ECR, "regions": ["Frankfurt"]}, "regions[0]", "as in eu-central-1"),
        ({**ECR, "regions": ["us-east-1", "cn-north-1"]}, "regions", "one registry for each"),
        ({**ECR, "account": 123456789012}, "account", "put a number in quotes"),
        ({**ECR, "account": "12345"}, "account", "12 digits"),
        ({**ECR, "role_arn": "arn:aws:iam::123456789012:user/x"}, "role_arn", "not the ARN of an IAM role"),
        ({**ECR, "role_arn": "arn:aws-cn:iam::123456789012:role/x"}, "role_arn", "another AWS partition"),
        ({**ECR, "endpoints": ["ipv6"]}, "endpoints[0]", ": must be 'standard', 'dual-stack'"),
        ({**ECR, "create_repositories": "maybe"}, "create_repositories", ": must be true or false"),
        ({**NEXUS, "users": ["a", "b"], "period_days": "x"}, "period_days", ": must be a whole number"),
        ({**NEXUS, "users": ["a", "b"], "period_days": 0}, "period_days", ": must be at least 1"),
        ({**ECR, "create_repositories": True}, "create_repositories", "needs 'pull_through'"),
        ({**NEXUS, "users": ["pull-a", "pull-a"]}, "users", "two different users"),
        ({**NEXUS, "users": ["pull-a", "pull-a", "pull-b"]}, "users", "two different users"),
    ],
)
def test_an_error_is_one_line_with_field_and_remedy(
    content: dict[str, object], field: str, hint: str
) -> None:
    error = refusal(content)
    assert error.field == field
    assert hint in str(error)
    assert str(error).startswith("registries/payments/main: ")
    assert "\n" not in str(error)


def test_an_error_does_not_repeat_a_password_in_a_host() -> None:
    assert "hunter2" not in str(refusal({**BASIC, "hosts": ["bob:hunter2@registry.example.com"]}))


def test_one_error_names_all_wrong_fields() -> None:
    text = str(refusal({**BASIC, "hosts": ["A.example.com"], "probe": "x:y:z"}))
    assert "hosts[0]" in text
    assert "probe" in text


def test_a_definition_is_parsed_as_it_was_written() -> None:
    definition = parse({**BASIC, "repositories": ["team/"], "probe": "team/app:1"}, where="here")
    assert parse(definition.content(), where="here") == definition


def test_repositories_narrow_the_keys_to_paths() -> None:
    definition = parse({**BASIC, "repositories": ["team/", "shared/base"]}, where="here")
    assert definition.keys(["registry.example.com"]) == (
        "registry.example.com/team/",
        "registry.example.com/shared/base",
    )


def test_each_provider_has_its_name_and_its_model() -> None:
    for name in names():
        assert provider_for(name).name == name
        assert definition_model(name) is provider_for(name).model


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("app", ("app", "latest")),
        ("team/app:1.0", ("team/app", "1.0")),
        ("team/app@sha256:" + "0" * 64, ("team/app", "sha256:" + "0" * 64)),
    ],
)
def test_a_probe_is_split_into_repository_and_reference(image: str, parts: tuple[str, str]) -> None:
    assert split_image(image) == parts


def test_an_error_about_a_host_that_is_not_allowed_names_the_command_that_allows_it() -> None:
    with pytest.raises(
        RefusedError, match=r"registry\.example\.com is not allowed .*regcred project add PROJECT --host reg"
    ):
        check_allowed(parse(BASIC, where="here"), hosts=["*.example.org"], paths={}, accounts=[])


def test_an_allowed_host_is_accepted() -> None:
    check_allowed(parse(BASIC, where="here"), hosts=["*.example.com"], paths={}, accounts=[])


def test_a_token_service_must_be_allowed_like_a_host() -> None:
    definition = parse({**BASIC, "realm_hosts": ["auth.example.org"]}, where="here")
    with pytest.raises(RefusedError, match=r"auth\.example\.org"):
        check_allowed(definition, hosts=["registry.example.com"], paths={}, accounts=[])


@pytest.mark.parametrize(
    ("repositories", "allowed"),
    [
        (["team/"], True),
        (["team/app"], True),
        (["team2/"], False),
        (["team2/app"], False),
        ([], False),
    ],
)
def test_the_paths_of_a_host_limit_a_project(repositories: list[str], *, allowed: bool) -> None:
    definition = parse({**BASIC, "repositories": repositories}, where="here")
    arguments = {
        "hosts": ["registry.example.com"],
        "paths": {"registry.example.com": ["team/"]},
        "accounts": [],
    }
    if allowed:
        check_allowed(definition, **arguments)
    else:
        with pytest.raises(RefusedError):
            check_allowed(definition, **arguments)


def test_the_account_of_a_role_must_be_allowed() -> None:
    definition = parse({**ECR, "role_arn": "arn:aws:iam::123456789012:role/x"}, where="here")
    with pytest.raises(RefusedError, match="account 123456789012"):
        check_allowed(definition, hosts=[], paths={}, accounts=["999999999999"])
    check_allowed(definition, hosts=[], paths={}, accounts=["123456789012"])


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", "a.example.com:5000", False),
        ("*.example.com:5000", "a.example.com:5000", True),
    ],
)
def test_patterns_of_allowed_hosts_match_as_in_the_kubelet(pattern: str, host: str, *, matches: bool) -> None:
    assert host_matches(pattern, host) is matches


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=12), st.one_of(st.text(max_size=30), st.integers(), st.lists(st.text(max_size=9)))
    )
)
def test_any_input_gives_a_definition_or_a_one_line_error(content: dict[str, object]) -> None:
    for name in names():
        try:
            parse({**content, "provider": name}, where="here")
        except MalformedError as error:
            one_line_of_ours = "\n" not in str(error) and "nput should" not in str(error)
            assert one_line_of_ours


@pytest.mark.parametrize(
    "content",
    [
        {"provider": "dockerhub", "auth": "static", "repositories": ["team/"]},
        {"provider": "ghcr", "repositories": ["team/"]},
        {"provider": "digitalocean", "registry": "example"},
        {"provider": "gar", "auth": "key", "hosts": ["gcr.io"]},
    ],
    ids=lambda content: content["provider"],
)
def test_a_shared_host_must_be_allowed_if_the_login_is_not_bound_to_the_project(
    content: dict[str, object],
) -> None:
    definition = parse(content, where="here")
    with pytest.raises(RefusedError, match="not allowed for this project"):
        check_allowed(definition, hosts=[], paths={}, accounts=[])
    check_allowed(definition, hosts=definition.typed_hosts(), paths={}, accounts=[])


@pytest.mark.parametrize(
    ("content", "host"),
    [
        ({"provider": "dockerhub", "auth": "static", "hardened_images": True}, "dhi.io"),
        (
            {"provider": "gitea", "host": "images.example.com", "server": "example.com/git", "user": "a"},
            "example.com",
        ),
        (
            {
                "provider": "harbor",
                "host": "images.example.com",
                "server": "example.com/h",
                "harbor_project": "a",
            },
            "example.com",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else value["provider"],
)
def test_each_host_that_receives_the_login_must_be_allowed(content: dict[str, object], host: str) -> None:
    definition = parse(content, where="here")
    others = [name for name in definition.typed_hosts() if name != host]
    with pytest.raises(RefusedError, match=f"host {host} is not allowed"):
        check_allowed(definition, hosts=others, paths={}, accounts=[])


def test_a_project_can_be_limited_to_a_path_of_a_shared_host() -> None:
    definition = parse({"provider": "dockerhub", "auth": "static", "repositories": ["other/"]}, where="here")
    with pytest.raises(RefusedError, match=r"path other/ on docker\.io"):
        check_allowed(definition, hosts=["docker.io"], paths={"docker.io": ["team/"]}, accounts=[])


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"provider": "basic", "hosts": ["registry.example.com"], "repositories": ["team/"]}, "probe"),
        ({"provider": "harbor", "host": "registry.example.com", "harbor_project": "team"}, "probe"),
    ],
)
def test_a_probe_outside_of_the_repositories_is_refused(content: dict[str, object], named: str) -> None:
    parse({**content, "probe": "team/app:1"}, where="here")
    with pytest.raises(MalformedError, match="probe: 'team2/app:1' is not in team/") as caught:
        parse({**content, "probe": "team2/app:1"}, where="here")
    assert caught.value.field == named


@pytest.mark.parametrize(
    "content",
    [
        {"provider": "harbor", "host": "registry.example.com", "harbor_project": "team"},
        {"provider": "digitalocean", "registry": "team"},
        {"provider": "dockerhub", "organisation": "team"},
    ],
)
def test_repositories_outside_of_the_vendors_token_are_refused(content: dict[str, object]) -> None:
    parse({**content, "repositories": ["team/app"]}, where="here")
    with pytest.raises(MalformedError, match="repositories: 'other/app' is not in team/"):
        parse({**content, "repositories": ["other/app"]}, where="here")


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("[2001:db8::1]", "no valid port"),
        ("[2001:db8::1]:0", "no valid port"),
        ("[2001:db8::1]:99999999999", "no valid port"),
        ("[2001:db8:0::1]:5000", r"write '\[2001:db8::1\]:5000'"),
        ("[2001:db8::zz]:5000", "not an IPv6 address"),
        ("[2001:db8::1%eth0]:5000", "not an IPv6 address|short form"),
    ],
)
def test_an_ipv6_address_that_the_kubelet_cannot_match_is_refused(host: str, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse({"provider": "basic", "hosts": [host]}, where="here")


def test_an_ipv6_address_with_a_port_is_accepted() -> None:
    parse({"provider": "basic", "hosts": ["[2001:db8::1]:5000", "[::1]:443"]}, where="here")


@pytest.mark.parametrize(
    ("allowed", "typed"),
    [
        ("docker.io", "index.docker.io"),
        ("index.docker.io", "registry-1.docker.io"),
        ("registry.example.com", "registry.example.com:443"),
        ("*.example.com:443", "registry.example.com"),
    ],
)
def test_permissions_for_a_host_apply_to_all_its_forms(allowed: str, typed: str) -> None:
    definition = parse({"provider": "basic", "hosts": [typed], "repositories": ["other/"]}, where="here")
    check_allowed(definition, hosts=[allowed], paths={}, accounts=[])
    with pytest.raises(RefusedError, match="path other/"):
        check_allowed(definition, hosts=[allowed, typed], paths={allowed: ["team/"]}, accounts=[])


def test_another_port_is_another_registry() -> None:
    definition = parse({"provider": "basic", "hosts": ["registry.example.com:5000"]}, where="here")
    with pytest.raises(RefusedError, match="not allowed"):
        check_allowed(
            definition, hosts=["registry.example.com", "registry.example.com:443"], paths={}, accounts=[]
        )


HUGE: dict[str, dict[str, object]] = {
    "unknown fields": {f"hosst{number}": 1 for number in range(20_000)},
    "wrong items": {"hosts": ["-"] * 20_000},
    "a long host": {"hosts": ["a" + "-" * 500_000]},
    "a long repository": {"repositories": ["a." * 200_000 + "!"]},
    "a long probe": {"probe": "a/" * 200_000 + "!"},
    "a long name of a field": {"x" * 500_000: 1},
    "a probe outside of many prefixes": {"probe": "b/c", "repositories": [f"a{n}/" for n in range(20_000)]},
}


@pytest.mark.parametrize("content", HUGE.values(), ids=HUGE)
def test_a_hostile_definition_is_refused_quickly_with_a_short_error(
    content: dict[str, object],
) -> None:
    started = time.process_time()
    with pytest.raises(MalformedError) as caught:
        parse({"provider": "basic", "hosts": ["registry.example.com"], **content}, where="here")
    assert time.process_time() - started < 3
    assert len(str(caught.value)) < 8000
    assert len(caught.value.field) < 1000


DOCKERHUB = {"provider": "dockerhub", "organisation": "team", "repositories": ["team/app"]}
HARBOR = {"provider": "harbor", "host": "harbor.example.com"}


@pytest.mark.parametrize(
    ("content", "field", "rights"),
    [
        (DOCKERHUB, "username", ["owner", "company", "Manage organization access tokens"]),
        (
            {**HARBOR, "harbor_project": "team"},
            "username",
            ["create, list and delete robots", "project", "repository:pull", "project:read"],
        ),
        (
            {**HARBOR, "harbor_projects": ["team", "tools"]},
            "username",
            ["create, list and delete robots", "system", "repository:pull", "project:read"],
        ),
        (
            {"provider": "digitalocean", "registry": "team"},
            "token",
            ["registry:read", "registry:update", "no other"],
        ),
        ({"provider": "gitlab", "group": "team"}, "token", ["Owner of the group"]),
        ({"provider": "gitlab", "project": "team/app"}, "token", ["Maintainer or Owner of the project"]),
    ],
)
def test_the_description_of_an_upstream_secret_names_the_rights_that_the_vendor_requires(
    content: dict[str, object], field: str, rights: list[str]
) -> None:
    text = parse(content, where="here").upstream_fields()[field]
    assert [right for right in rights if right not in text] == []
