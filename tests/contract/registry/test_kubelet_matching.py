"""The kubelet's own code finds a minted credential for every image of its registry, and for no other host."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from contract.registry.harness import VENDORS, Bench, vendor_id
from fakes.vendors.aws import Aws
from fakes.vendors.network import Network
from fakes.vendors.vendor import Vendor
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from realparts.build import binary
from regcred import image_name
from regcred.credential import Credential, Login
from regcred.registry import ecr_hosts
from regcred.registry.definition import BaseDefinition
from regcred.registry.parsing import parse
from regcred.registry.providers.ecr import EcrDefinition


class Kubelet:
    """The kubelet's keyring, over one process that lives as long as the tests."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def users(self, *credentials: Credential, images: list[str]) -> list[list[str]]:
        """For each image, the users that the kubelet would try, in order."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        secrets = [item.dockerconfigjson().get_secret_value() for item in credentials]
        self._process.stdin.write(json.dumps({"secrets": secrets, "images": images}) + "\n")
        self._process.stdin.flush()
        found: list[list[str]] = json.loads(self._process.stdout.readline())["users"]
        return found


@pytest.fixture(scope="session")
def kubelet() -> Iterator[Kubelet]:
    process = subprocess.Popen([binary("keyring")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield Kubelet(process)
    assert process.stdin is not None
    process.stdin.close()
    process.wait(timeout=10)


label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
host = st.tuples(st.lists(label, min_size=2, max_size=4), st.sampled_from(["", ":5000", ":443"])).map(
    lambda parts: ".".join(parts[0]) + parts[1]
)
path = st.lists(st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+)?", fullmatch=True), min_size=1, max_size=3).map(
    "/".join
)
scope = st.tuples(path, st.sampled_from(["", "/"])).map("".join)
region = st.sampled_from(
    [
        "eu-central-1",
        "us-east-1",
        "us-gov-west-1",
        "cn-north-1",
        "us-iso-east-1",
        "us-isob-east-1",
        "eusc-de-east-1",
    ]
)
account = st.from_regex(r"[0-9]{12}", fullmatch=True)


def minted(definition: BaseDefinition, hosts: tuple[str, ...]) -> Credential:
    return Credential(
        provider=definition.provider,
        logins=(Login("puller", SecretStr("secret"), definition.keys(hosts)),),
        issued_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def images(definition: BaseDefinition, name: str) -> list[str]:
    """Images that the definition covers, at this host."""
    scopes = definition.scopes() or ("any/thing",)
    return [f"{name}/{item}app:1" if item.endswith("/") else f"{name}/{item}:1" for item in scopes]


def similar_hosts(name: str) -> list[str]:
    """Hosts that look like this one."""
    bare, _, port = name.partition(":")
    first, _, rest = bare.partition(".")
    found = [
        f"x{bare}",
        f"{bare}.evil.net",
        f"evil.{bare}",
        f"{first}x.{rest}",
        f"{bare}:{int(port or 0) + 1}",
    ]
    return found + ([bare] if port else [f"{bare}:443"])


def check(kubelet: Kubelet, definition: BaseDefinition, hosts: tuple[str, ...]) -> None:
    credential = minted(definition, hosts)
    covered = [image for name in hosts for image in images(definition, name)]
    assert all(users and set(users) == {"puller"} for users in kubelet.users(credential, images=covered))
    others = [other for name in hosts for other in similar_hosts(name) if other not in hosts]
    foreign = [image for name in others for image in images(definition, name)]
    assert kubelet.users(credential, images=foreign) == [[] for _ in foreign]


@settings(deadline=None, max_examples=150)
@given(
    hosts=st.lists(host, min_size=1, max_size=3, unique=True), scopes=st.lists(scope, max_size=3, unique=True)
)
def test_any_basic_definition_is_found_at_its_hosts_and_at_no_other(
    kubelet: Kubelet, hosts: list[str], scopes: list[str]
) -> None:
    definition = parse({"provider": "basic", "hosts": hosts, "repositories": scopes}, where="here")
    check(kubelet, definition, tuple(hosts))


@settings(deadline=None, max_examples=150)
@given(account=account, region=region, scopes=st.lists(scope, max_size=3, unique=True))
def test_any_ecr_definition_is_found_at_every_alias_and_at_no_other(
    kubelet: Kubelet, account: str, region: str, scopes: list[str]
) -> None:
    content = {"provider": "ecr", "regions": [region], "account": account, "repositories": scopes}
    definition = parse(content, where="here")
    assert isinstance(definition, EcrDefinition)
    check(kubelet, definition, ecr_hosts.hosts(account, region, frozenset(definition.endpoints)))


@settings(deadline=None, max_examples=150)
@given(host=host, scope=scope, other=path)
def test_a_credential_for_a_prefix_is_not_found_for_other_repositories(
    kubelet: Kubelet, host: str, scope: str, other: str
) -> None:
    assume(not other.startswith(scope))
    definition = parse({"provider": "basic", "hosts": [host], "repositories": [scope]}, where="here")
    assert kubelet.users(minted(definition, (host,)), images=[f"{host}/{other}:1"]) == [[]]


@pytest.mark.parametrize("vendor", VENDORS, ids=vendor_id)
def test_each_vendors_credential_is_found_at_its_hosts(
    kubelet: Kubelet, vendor: type[Vendor], network: Network, aws: Aws
) -> None:
    bench = Bench(vendor(network, aws))
    credential = bench.mint()
    users = {login.username for login in credential.logins}
    covered = [image for name in bench.vendor.hosts for image in images(bench.definition, name)]
    assert all(found and set(found) <= users for found in kubelet.users(credential, images=covered))
    others = [
        image for name in ("registry.evil.net", "localhost:5000") for image in images(bench.definition, name)
    ]
    assert kubelet.users(credential, images=others) == [[] for _ in others]


def test_both_logins_of_a_static_registry_are_tried_while_one_is_replaced(kubelet: Kubelet) -> None:
    logins = tuple(Login(name, SecretStr(name), ("registry.example.com/team/",)) for name in ("old", "new"))
    credential = Credential(provider="basic", logins=logins, issued_at=datetime(2026, 1, 1, tzinfo=UTC))
    (found,) = kubelet.users(credential, images=["registry.example.com/team/app:1"])
    assert sorted(found) == ["new", "old"]


def test_docker_hubs_short_names_are_found(kubelet: Kubelet) -> None:
    definition = parse({"provider": "dockerhub", "auth": "static", "repositories": ["team/"]}, where="here")
    credential = minted(definition, ("docker.io", "index.docker.io"))
    assert kubelet.users(credential, images=["team/app:1", "docker.io/team/app", "other/app", "alpine"]) == [
        ["puller"],
        ["puller"],
        [],
        [],
    ]


@pytest.mark.parametrize("hosts", [["index.docker.io"], ["docker.io"], ["index.docker.io", "docker.io"]])
@pytest.mark.parametrize("scope", ["team/", "team/app"])
def test_a_typed_host_of_docker_hub_is_found_in_each_of_its_forms(
    kubelet: Kubelet, hosts: list[str], scope: str
) -> None:
    definition = parse({"provider": "basic", "hosts": hosts, "repositories": [scope]}, where="here")
    credential = minted(definition, tuple(hosts))
    names = ["team/app:1", "docker.io/team/app", "index.docker.io/team/app"]
    assert kubelet.users(credential, images=names) == [["puller"]] * 3
    assert kubelet.users(credential, images=["alpine", "other/app"]) == [[], []]


def test_an_ipv6_address_is_found_with_its_port(kubelet: Kubelet) -> None:
    definition = parse({"provider": "basic", "hosts": ["[2001:db8::1]:5000"]}, where="here")
    credential = minted(definition, ("[2001:db8::1]:5000",))
    assert kubelet.users(
        credential, images=["[2001:db8::1]:5000/team/app:1", "[2001:db8::2]:5000/team/app"]
    ) == [
        ["puller"],
        [],
    ]


hub = st.sampled_from(["docker.io", "index.docker.io", "registry-1.docker.io"])
odd_host = st.one_of(
    host,
    hub,
    st.sampled_from(
        ["localhost", "127.0.0.1:5000", "[2001:db8::1]:5000", "[2001:db8::1]", "r.io", "R.io", "r.io:443"]
    ),
)
key = st.tuples(
    st.sampled_from(["", "https://", "http://"]),
    st.one_of(odd_host, st.sampled_from(["*.io", "r.*", "?.io", "*", "*.docker.io"])),
    st.sampled_from(["", "/", "/v1/", "/v2/", "/library/", "/team/", "/team", "/v2/team/", "/alpine"]),
).map("".join)
image = st.tuples(
    st.one_of(st.just(""), odd_host.map(lambda name: f"{name}/")),
    st.sampled_from(["alpine", "library/alpine", "team/app", "team2/app", "v2/app", "localhost/app"]),
    st.sampled_from(["", ":1.0", f"@sha256:{'0' * 64}"]),
).map("".join)


@settings(deadline=None, max_examples=600)
@given(
    keys=st.lists(key, min_size=1, max_size=4, unique_by=lambda text: str(image_name.AuthKey.parse(text))),
    image=image,
)
def test_our_matching_finds_the_same_keys_as_the_kubelet(
    kubelet: Kubelet, keys: list[str], image: str
) -> None:
    logins = tuple(Login(f"user-{number}", SecretStr("x"), (text,)) for number, text in enumerate(keys))
    credential = Credential(provider="basic", logins=logins, issued_at=datetime(2026, 1, 1, tzinfo=UTC))
    (users,) = kubelet.users(credential, images=[image])
    assert [f"user-{keys.index(text)}" for text in image_name.matching_keys(keys, image)] == users


def test_two_projects_on_one_host_each_get_only_their_own_login(kubelet: Kubelet) -> None:
    host = "registry.example.com"
    both = [
        Credential(
            provider="basic",
            logins=(Login(name, SecretStr(name), (f"{host}/{name}/",)),),
            issued_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        for name in ("team", "team2")
    ]
    assert kubelet.users(*both, images=[f"{host}/team/app", f"{host}/team2/app"]) == [["team"], ["team2"]]
