"""The local stand-ins refuse what the real servers refuse. Otherwise tests on them would prove nothing."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from realparts.aws import ACCOUNT, OTHER_ACCOUNT
from realparts.build import binary
from realparts.lambda_ import FunctionError
from realparts.stack import Stack

pytestmark = pytest.mark.real

EXAMPLE = "registry.example.com"
ECR = f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com"
REPOSITORY = "realparts/app"
Pull = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def parts(aws_stack: Stack) -> Stack:
    aws_stack.push_image(REPOSITORY)
    aws_stack.aws.add_role(aws_stack.lambda_.role("rotate"))
    return aws_stack


@pytest.fixture
def crane(parts: Stack, tmp_path: Path) -> Pull:
    """Runs crane with a login for a host, over HTTPS and by the real name of the host."""

    def run(*args: str, host: str, user: str = "", password: str = "") -> subprocess.CompletedProcess[str]:
        auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        auths = {host: {"auth": auth}} if user else {}
        (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
        environment = {**os.environ, **parts.internet.environment, "DOCKER_CONFIG": str(tmp_path)}
        return subprocess.run(
            [binary("crane"), *args], env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture
def project(parts: Stack) -> Iterator[dict[str, str]]:
    """Credentials of the role of a project, by AssumeRole as rotate does it."""
    parts.project_role("realparts")
    yield assume(parts, "realparts")
    parts.aws.set_ecr_token_lifetime(43200)
    parts.aws.clear_faults()


def assume(parts: Stack, project: str, **more: Any) -> dict[str, str]:
    sts = parts.aws.client("sts", **rotate_session(parts))
    arguments: dict[str, Any] = {
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/regcred/{project}",
        "RoleSessionName": "test",
        "ExternalId": project,
        "Tags": [{"Key": "project", "Value": project}],
    }
    got = sts.assume_role(**arguments | more)["Credentials"]
    return {
        "aws_access_key_id": got["AccessKeyId"],
        "aws_secret_access_key": got["SecretAccessKey"],
        "aws_session_token": got["SessionToken"],
    }


def rotate_session(parts: Stack, *, seconds: float = 3600) -> dict[str, str]:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    given = parts.aws.session_environment(parts.lambda_.role("rotate"), "test", seconds=seconds)
    return {name.lower(): given[name] for name in names}


def ecr_login(parts: Stack, session: dict[str, str], **arguments: Any) -> str:
    data = parts.aws.client("ecr", **session).get_authorization_token(**arguments)["authorizationData"]
    return base64.b64decode(data[0]["authorizationToken"]).decode().removeprefix("AWS:")


def code_of(refused: pytest.ExceptionInfo[ClientError]) -> str:
    return str(refused.value.response["Error"]["Code"])


def test_a_user_pulls_until_revoked(parts: Stack, crane: Pull) -> None:
    password = parts.registry.add_user("revoked-soon", pull=["realparts/*"])
    reference = f"{EXAMPLE}/{REPOSITORY}:1"
    assert crane("manifest", reference, host=EXAMPLE, user="revoked-soon", password=password).returncode == 0
    parts.registry.revoke_user("revoked-soon")
    refused = crane("manifest", reference, host=EXAMPLE, user="revoked-soon", password=password)
    assert "the credential was revoked" in refused.stderr


def test_an_expired_user_is_refused_at_once(parts: Stack, crane: Pull) -> None:
    password = parts.registry.add_user("short-lived", pull=["realparts/*"], expires_in=0.01)
    time.sleep(0.02)
    refused = crane(
        "manifest", f"{EXAMPLE}/{REPOSITORY}:1", host=EXAMPLE, user="short-lived", password=password
    )
    assert "the credential has expired" in refused.stderr


def test_a_user_reaches_only_its_repositories_and_cannot_push(parts: Stack, crane: Pull) -> None:
    parts.push_image("elsewhere/app")
    login = {"user": "narrow", "password": parts.registry.add_user("narrow", pull=["realparts/*"])}
    elsewhere = crane("manifest", f"{EXAMPLE}/elsewhere/app:1", host=EXAMPLE, **login)
    pushed = crane("tag", f"{EXAMPLE}/{REPOSITORY}:1", "2", host=EXAMPLE, **login)
    anonymous = crane("manifest", f"{EXAMPLE}/{REPOSITORY}:1", host=EXAMPLE)
    assert all("UNAUTHORIZED" in result.stderr for result in (elsewhere, pushed, anonymous))


def test_an_ecr_login_pulls_until_it_expires(parts: Stack, crane: Pull, project: dict[str, str]) -> None:
    parts.aws.set_ecr_token_lifetime(2)
    login = {"user": "AWS", "password": ecr_login(parts, project)}
    issued = time.monotonic()
    assert crane("manifest", f"{ECR}/{REPOSITORY}:1", host=ECR, **login).returncode == 0
    time.sleep(max(0, 2 - (time.monotonic() - issued)))
    assert "has expired" in crane("manifest", f"{ECR}/{REPOSITORY}:1", host=ECR, **login).stderr


@pytest.mark.parametrize(
    "host",
    [f"{OTHER_ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com", f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"],
    ids=["other account", "other region"],
)
def test_an_ecr_login_does_not_work_in_another_account_or_region(
    parts: Stack, crane: Pull, project: dict[str, str], host: str
) -> None:
    login = {"user": "AWS", "password": ecr_login(parts, project)}
    assert (
        "not authorized to perform: ecr:BatchGetImage"
        in crane("manifest", f"{host}/{REPOSITORY}:1", host=host, **login).stderr
    )


def test_an_ecr_login_has_exactly_the_rights_of_its_role(
    parts: Stack, crane: Pull, project: dict[str, str]
) -> None:
    login = {"user": "AWS", "password": ecr_login(parts, project)}
    pushed = crane("tag", f"{ECR}/{REPOSITORY}:1", "2", host=ECR, **login)
    assert "not authorized to perform: ecr:PutImage" in pushed.stderr
    narrowed = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
            {
                "Effect": "Allow",
                "Action": "ecr:BatchGetImage",
                "Resource": "arn:aws:ecr:*:*:repository/other/*",
            },
        ],
    }
    session = assume(parts, "realparts", Policy=json.dumps(narrowed))
    login = {"user": "AWS", "password": ecr_login(parts, session)}
    refused = crane("manifest", f"{ECR}/{REPOSITORY}:1", host=ECR, **login)
    assert "not authorized to perform: ecr:BatchGetImage" in refused.stderr


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"aws_secret_access_key": "wrong"}, "InvalidSignatureException"),
        ({"aws_session_token": "wrong"}, "UnrecognizedClientException"),
        ({"aws_access_key_id": "ASIAUNKNOWN"}, "UnrecognizedClientException"),
    ],
)
def test_ecr_refuses_a_request_with_a_wrong_signature(
    parts: Stack, project: dict[str, str], changed: dict[str, str], code: str
) -> None:
    with pytest.raises(ClientError) as refused:
        ecr_login(parts, project | changed)
    assert code_of(refused) == code


def test_ecr_refuses_an_unsigned_request(parts: Stack) -> None:
    target = {"X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"}
    answer = requests.post(parts.aws.endpoint_url, headers=target, timeout=5)
    assert (answer.status_code, answer.json()["__type"]) == (400, "MissingAuthenticationTokenException")


def test_ecr_refuses_an_expired_session_and_a_role_without_the_permission(parts: Stack) -> None:
    with pytest.raises(ClientError) as expired:
        ecr_login(parts, rotate_session(parts, seconds=0))
    parts.aws.add_role(
        f"arn:aws:iam::{ACCOUNT}:role/regcred/powerless",
        external_id="powerless",
        trusted=parts.lambda_.role("rotate"),
        policy={
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
        },
    )
    with pytest.raises(ClientError) as powerless:
        ecr_login(parts, assume(parts, "powerless"))
    assert (code_of(expired), code_of(powerless)) == ("ExpiredTokenException", "AccessDeniedException")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"ExternalId": "another"}, "AccessDenied"),
        ({"Tags": [{"Key": "project", "Value": "another"}]}, "AccessDenied"),
        ({"Tags": []}, "AccessDenied"),
        ({"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/regcred/none"}, "AccessDenied"),
        ({"DurationSeconds": 7200}, "ValidationError"),
        ({"Policy": "{}"}, "MalformedPolicyDocument"),
        ({"Policy": json.dumps({"x": "y" * 2048})}, "ValidationError"),
    ],
)
def test_assume_role_checks_trust_durations_and_policies(
    parts: Stack, project: dict[str, str], changed: dict[str, Any], code: str
) -> None:
    assert project
    with pytest.raises(ClientError) as refused:
        assume(parts, "realparts", **changed)
    assert code_of(refused) == code


@pytest.mark.parametrize("by_account", [False, True], ids=["its-arn", "its-account"])
def test_a_role_that_is_created_again_is_trusted_only_if_the_policy_names_its_account(
    parts: Stack, *, by_account: bool
) -> None:
    """AWS stores the unique ID of a role whose ARN is in Principal."""
    asker = f"arn:aws:iam::{ACCOUNT}:role/regcred-again"
    target = f"arn:aws:iam::{ACCOUNT}:role/regcred/again"
    may = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": target}],
    }
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": {"AWS": asker}, "Action": "sts:AssumeRole"}
    if by_account:
        statement["Principal"] = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
        statement["Condition"] = {"ArnEquals": {"aws:PrincipalArn": asker}}

    def assume_target() -> str:
        session = parts.aws.session_environment(asker, "regcred")
        sts = parts.aws.client(
            "sts",
            aws_access_key_id=session["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=session["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=session["AWS_SESSION_TOKEN"],
        )
        try:
            sts.assume_role(RoleArn=target, RoleSessionName="again")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "assumed"

    parts.aws.add_role(asker, policy=may)
    parts.aws.add_role(target, trust={"Version": "2012-10-17", "Statement": [statement]})
    assert assume_target() == "assumed"
    parts.aws.remove_role(asker)
    parts.aws.add_role(asker, policy=may)
    assert assume_target() == ("assumed" if by_account else "AccessDenied")


def test_faults_are_seen_by_the_caller_and_end(parts: Stack, project: dict[str, str]) -> None:
    parts.aws.fault("GetAuthorizationToken", "refuse", times=1)
    with pytest.raises(ClientError) as refused:
        ecr_login(parts, project)
    assert code_of(refused) == "AccessDeniedException"
    assert ecr_login(parts, project)


def test_a_host_that_is_not_routed_is_refused_and_recorded(parts: Stack) -> None:
    session = requests.Session()
    session.trust_env = False
    with pytest.raises(requests.exceptions.ProxyError):
        session.get("https://elsewhere.example.org", proxies={"https": parts.internet.proxy_url}, timeout=5)
    refused = [event for event in parts.internet.events() if event["outcome"] == "refused"]
    assert "elsewhere.example.org" in {event["host"] for event in refused}


def test_a_function_can_import_its_layers_and_nothing_of_this_environment(
    parts: Stack, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(
        "def handler(event, context):\n"
        "    import boto3, regcred\n"
        "    who = boto3.client('sts').get_caller_identity()['Arn']\n"
        "    if event.get('import'):\n"
        "        __import__(event['import'])\n"
        "    return {'who': who, 'regcred': regcred.__file__}\n"
    )
    function = parts.lambda_.start("probe", {}, folder=tmp_path)
    try:
        answer = function.invoke({})
        with pytest.raises(FunctionError, match="No module named 'pytest'"):
            function.invoke({"import": "pytest"})
    finally:
        parts.lambda_.stop("probe")
    assert answer["who"].endswith(":assumed-role/regcred-probe/regcred-probe")
    assert answer["regcred"].endswith("layers/core/python/regcred/__init__.py")
