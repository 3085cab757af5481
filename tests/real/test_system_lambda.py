"""The token server as a Lambda function: it signs in to Vault by a JWT of its role, and accepts identity
tokens of projects' roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
import requests
from infra.deployment import function_policies
from pydantic import SecretStr
from real.tokenfunction import OTHER, PROJECT, basic, identity, mint, send, start_system

from realparts.aws import REGION
from realparts.lambda_ import Function
from realparts.stack import AUDIENCE, Stack
from realparts.system_registry import HOST
from regcred.vault.http import Server
from regcred.vault.kv2 import signed_in
from regcred.vault.login import TokenLogin
from regcred.vault.platform.system import SystemPlatform

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def system(stack: Stack) -> Stack:
    start_system(stack)
    return stack


@pytest.fixture
def start(system: Stack) -> Iterator[Callable[[], Function]]:
    """Starts the function with the environment and the policy that template.yaml gives it."""
    policy = function_policies(REGION, VaultAudience=AUDIENCE, Token="enabled")["token"]
    names = []

    def start() -> Function:
        names.append(f"token-{len(names)}")
        environment = system.function_environment("token")
        return system.lambda_.start("token", environment, instance=names[-1], policy=policy)

    yield start
    for name in names:
        system.lambda_.stop(name)


def test_a_person_signs_in_by_the_function_and_the_registry_accepts_its_token(
    system: Stack, start: Callable[[], Function]
) -> None:
    function = start()
    person = system.system.person("lena", f"regcred-admins-{PROJECT}")
    client = signed_in(Server(system.vault.addr), TokenLogin(lambda: SecretStr(person)))
    vouched = SystemPlatform(client).identity_token().get_secret_value()
    status, login = send(function, "/v1/logins", method="POST", authorization=f"Bearer {vouched}")
    assert status == 201
    scope = f"repository:{PROJECT}/none:pull"
    status, token = send(function, "/token", authorization=basic(login), service=HOST, scope=scope)
    assert (status, token["scope"]) == (200, scope)
    answer = requests.get(
        f"https://{HOST}/v2/{PROJECT}/none/manifests/1",
        headers={"Authorization": f"Bearer {token['token']}"},
        proxies={"https": system.internet.proxy_url},
        verify=str(system.internet.ca_bundle),
        timeout=20,
    )
    assert answer.status_code == 404, "it may pull, and there is no such image"


def test_a_projects_role_gets_one_login_for_each_jwt_and_ends_it(
    system: Stack, start: Callable[[], Function]
) -> None:
    function = start()
    issuer = urlsplit(system.aws.web_identity_issuer()).hostname
    for algorithm in ("RS256", "ES384"):
        vouched = identity(system, PROJECT, algorithm=algorithm)
        status, login = mint(function, vouched)
        assert status == 201, login
        assert mint(function, vouched)[0] == 401, "each JWT works once"
    assert any(item["host"] == issuer for item in system.internet.events()), "the keys came from the issuer"
    assert mint(function, identity(system, OTHER))[0] == 401
    assert mint(function, identity(system, PROJECT), project=OTHER)[0] == 401
    scope = f"repository:{PROJECT}/web:pull,push"
    status, token = send(function, "/token", authorization=basic(login), service=HOST, scope=scope)
    assert (status, token["scope"]) == (200, f"repository:{PROJECT}/web:pull")
    ended = send(
        function,
        f"/v1/credentials/{login['id']}",
        method="DELETE",
        authorization=identity(system, PROJECT),
        project=PROJECT,
    )
    assert ended[0] == 204
    assert send(function, "/token", authorization=basic(login), service=HOST, scope=scope)[0] == 401


def test_without_the_keys_of_the_issuer_a_project_gets_a_503(
    system: Stack, start: Callable[[], Function]
) -> None:
    # Vault itself must have the keys, because the new function signs in there.
    assert mint(start(), identity(system, PROJECT))[0] == 201
    function, issuer = start(), str(urlsplit(system.aws.web_identity_issuer()).hostname)
    system.internet.block(issuer)
    try:
        status, problem = mint(function, identity(system, PROJECT))
        assert status == 503
        assert issuer in problem["details"]
    finally:
        system.internet.unroute(issuer)
    assert mint(function, identity(system, PROJECT))[0] == 201
