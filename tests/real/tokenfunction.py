"""The system registry and the requests to its token server as a Lambda function."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlencode

import boto3
from fakes.function_url import event
from pydantic import SecretStr

from realparts.lambda_ import Function
from realparts.stack import Stack
from realparts.system_registry import TOKEN_HOST
from regcred.vault.http import Server
from regcred.vault.kv2 import VaultKeyValue, signed_in
from regcred.vault.login import TokenLogin
from regcred.vault.platform import ensure_project, load
from regcred.vault.records.declared import ProjectPolicy
from regcred.vault.store import Store

PROJECT, OTHER = "lambdas", "others"
AUDIENCE_OF_TOKENS = f"https://{TOKEN_HOST}"


def start_system(stack: Stack) -> None:
    """Start the system registry, and set up two projects with roles."""
    stack.up(["vault", "aws", "lambda", "system"])
    root = signed_in(Server(stack.vault.addr), TokenLogin(lambda: SecretStr(stack.vault.root_token)))
    store = Store(VaultKeyValue(root))
    for name in (PROJECT, OTHER):
        ensure_project(root, load(stack.platform), name)
        role = stack.project_role(name)
        store.change_project(name, lambda _, role=role: ProjectPolicy(role_arn=role))


def send(
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
    return send(function, "/v1/credentials", method="POST", authorization=authorization, body=body)
