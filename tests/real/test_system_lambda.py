"""The token server as a Lambda function: it signs in to Vault by a JWT of its role, and accepts identity
tokens of projects' roles."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import boto3
import pytest
import requests
from edges.test_console_handler import event
from infra.deployment import function_policies
from pydantic import SecretStr

from realparts.aws import REGION
from realparts.lambda_ import Function
from realparts.stack import AUDIENCE, Stack
from realparts.system_registry import HOST, TOKEN_HOST
from regcred.vault.http import Server
from regcred.vault.kv2 import VaultKeyValue, signed_in
from regcred.vault.login import TokenLogin
from regcred.vault.platform import ensure_project, load
from regcred.vault.platform.system import SystemPlatform
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.store import Store

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

PROJECT, OTHER = "lambdas", "others"
AUDIENCE_OF_TOKENS = f"https://{TOKEN_HOST}"


@pytest.fixture(scope="module")
def system(stack: Stack) -> Stack:
    stack.up(["vault", "aws", "lambda", "system"])
    root = signed_in(Server(stack.vault.addr), TokenLogin(lambda: SecretStr(stack.vault.root_token)))
    store = Store(VaultKeyValue(root))
    for name in (PROJECT, OTHER):
        ensure_project(root, load(stack.platform), name)
        role = stack.project_role(name)
        store.change_project(name, lambda _, role=role: ProjectPolicy(role_arn=role))
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


def ask(
    function: Function,
    path: str,
    *,
    method: str = "GET",
    authorization: str = "",
    body: Any = None,
    **query: str,
) -> tuple[int, Any]:
    """Send a request to the function URL, and return the status and the document."""
    request = event(path, method=method, query=urlencode(query))
    request["headers"] |= {"authorization": authorization} if authorization else {}
    if body is not None:
        request |= {"body": json.dumps(body), "isBase64Encoded": False}
        request["headers"]["content-type"] = "application/json"
    answer = function.invoke(request, timeout=280)
    text = answer.get("body") or ""
    if answer.get("isBase64Encoded"):
        text = base64.b64decode(text).decode()
    return answer["statusCode"], json.loads(text) if text else None


def basic(login: dict[str, str]) -> str:
    return "Basic " + base64.b64encode(f"{login['username']}:{login['password']}".encode()).decode()


def identity(system: Stack, project: str, *, algorithm: str = "RS256") -> str:
    """The header with a JWT of a project's role for the token server, from STS."""
    role = system.project_role(project)
    session = system.aws.session_environment(role, "rotate", seconds=3600)
    client = boto3.client(
        "sts",
        endpoint_url=session["AWS_ENDPOINT_URL"],
        region_name=session["AWS_REGION"],
        aws_access_key_id=session["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=session["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=session["AWS_SESSION_TOKEN"],
    )
    answer = client.get_web_identity_token(
        Audience=[AUDIENCE_OF_TOKENS], SigningAlgorithm=algorithm, DurationSeconds=300
    )
    return f"Bearer {answer['WebIdentityToken']}"


def mint(function: Function, authorization: str, *, project: str = PROJECT) -> tuple[int, Any]:
    body = {"project": project, "repositories": [], "expires_in": 3600}
    return ask(function, "/v1/credentials", method="POST", authorization=authorization, body=body)


def test_a_person_signs_in_by_the_function_and_the_registry_accepts_its_token(
    system: Stack, start: Callable[[], Function]
) -> None:
    function = start()
    person = system.system.person("lena", f"regcred-admins-{PROJECT}")
    client = signed_in(Server(system.vault.addr), TokenLogin(lambda: SecretStr(person)))
    vouched = SystemPlatform(client).identity_token().get_secret_value()
    status, login = ask(function, "/v1/logins", method="POST", authorization=f"Bearer {vouched}")
    assert status == 201
    scope = f"repository:{PROJECT}/none:pull"
    status, token = ask(function, "/token", authorization=basic(login), service=HOST, scope=scope)
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
    status, token = ask(function, "/token", authorization=basic(login), service=HOST, scope=scope)
    assert (status, token["scope"]) == (200, f"repository:{PROJECT}/web:pull")
    ended = ask(
        function,
        f"/v1/credentials/{login['id']}",
        method="DELETE",
        authorization=identity(system, PROJECT),
        project=PROJECT,
    )
    assert ended[0] == 204
    assert ask(function, "/token", authorization=basic(login), service=HOST, scope=scope)[0] == 401


def test_without_the_keys_of_the_issuer_a_project_gets_a_503(
    system: Stack, start: Callable[[], Function]
) -> None:
    function, issuer = start(), str(urlsplit(system.aws.web_identity_issuer()).hostname)
    system.internet.block(issuer)
    try:
        status, problem = mint(function, identity(system, PROJECT))
        assert status == 503
        assert issuer in problem["details"]
    finally:
        system.internet.unroute(issuer)
    assert mint(function, identity(system, PROJECT))[0] == 201
