"""Credentials of the providers, verified on a real Distribution registry and used by a real client, crane."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from contract.registry.harness import Bench, vendor_id
from fakes.vendors import basic, federated, harbor, static, tokens
from fakes.vendors.aws import Aws
from fakes.vendors.basic import BasicToken
from fakes.vendors.distribution import distribution
from fakes.vendors.federated import Cloudsmith, QuayFederated, System
from fakes.vendors.harbor import Harbor
from fakes.vendors.jfrog import JfrogOidc
from fakes.vendors.network import Network
from fakes.vendors.static import GhcrToken
from fakes.vendors.tokens import Gitlab
from fakes.vendors.vendor import PROJECT_ROLE, Vendor
from pydantic import SecretStr

from realparts.aws import ACCOUNT, OTHER_ACCOUNT
from realparts.build import binary
from realparts.images import push_pause
from realparts.stack import Stack
from regcred.adapters.sts import ProjectIdentity
from regcred.cli.app import run
from regcred.credential import Credential
from regcred.registry.catalog import provider_for
from regcred.registry.interface import Identity, MintContext, Verdict, Verification
from regcred.registry.parsing import parse
from regcred.registry.verify import RegistryVerifier
from regcred.registry_reference import Reference

HOST = "registry.example.com"
ROTATE = f"arn:aws:iam::{ACCOUNT}:role/regcred-rotate"
PROJECT = f"arn:aws:iam::{ACCOUNT}:role/regcred/payments"
PULL = f"arn:aws:iam::{OTHER_ACCOUNT}:role/regcred/pull"
ECR = {"provider": "ecr", "regions": ["eu-central-1"], "probe": "team/app:1"}


@pytest.fixture(scope="module")
def registries(stack: Stack) -> Stack:
    stack.up(["registry", "aws"])
    push_pause(stack.registry, "team/app")
    return stack


@pytest.fixture
def internet(registries: Stack, monkeypatch: pytest.MonkeyPatch) -> Stack:
    for name, value in registries.internet.environment.items():
        monkeypatch.setenv(name, value)
    return registries


def minted(
    content: Mapping[str, Any], *, upstream: Mapping[str, str] | None = None, identity: Identity | None = None
) -> Credential:
    definition = parse(content, where="here")
    context = MintContext(
        reference=Reference("payments", "main"),
        now=lambda: datetime.now(UTC),
        identity=identity,
        upstream={name: SecretStr(value) for name, value in (upstream or {}).items()},
    )
    return provider_for(definition.provider).mint(definition, context)


def verified(content: Mapping[str, Any], credential: Credential) -> Verification:
    return RegistryVerifier().verify(parse(content, where="here"), credential)


def pulls(
    credential: Credential, image: str, folder: Path, environment: Mapping[str, str] | None = None
) -> bool:
    """Whether a real client pulls the image with the credential."""
    (folder / "config.json").write_text(credential.dockerconfigjson().get_secret_value())
    environment = {**os.environ, **(environment or {}), "DOCKER_CONFIG": str(folder), "HOME": str(folder)}
    done = subprocess.run(
        [binary("crane"), "pull", image, str(folder / "image.tar")],
        env=environment,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def basic_definition(**more: Any) -> dict[str, Any]:
    return {"provider": "basic", "hosts": [HOST], "probe": "team/app:1", **more}


def test_a_basic_login_pulls_until_it_is_revoked(internet: Stack, tmp_path: Path) -> None:
    password = internet.registry.add_user("puller", pull=["team/*"])
    credential = minted(basic_definition(), upstream={"username": "puller", "password": password})
    assert verified(basic_definition(), credential).verdict is Verdict.CAN_PULL
    assert pulls(credential, f"{HOST}/team/app:1", tmp_path)
    internet.registry.revoke_user("puller")
    assert verified(basic_definition(), credential).verdict is Verdict.REFUSED
    assert not pulls(credential, f"{HOST}/team/app:1", tmp_path)


def test_a_basic_login_that_can_push_is_detected(internet: Stack) -> None:
    password = internet.registry.add_user("pusher", push=["team/*"])
    credential = minted(basic_definition(), upstream={"username": "pusher", "password": password})
    verification = verified(basic_definition(), credential)
    assert verification.verdict is Verdict.WIDER, verification.detail


@pytest.mark.parametrize(("rights", "result"), [("pull", "passed"), ("push", "failed")])
def test_a_selftest_fails_for_a_login_that_can_push(
    internet: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str], rights: str, result: str
) -> None:
    password = internet.registry.add_user("tester", **{rights: ["team/*"]})
    definition, secret = tmp_path / "basic.yaml", tmp_path / "secret.yaml"
    definition.write_text(json.dumps(basic_definition()))
    secret.write_text(json.dumps({"username": "tester", "password": password}))
    code = run(["selftest", "-f", str(definition), "--secret-file", str(secret), "-o", "json"])
    out, err = capsys.readouterr()
    checks = {item["check"]: item["result"] for item in json.loads(out)["checks"]}
    assert checks == {"mint": "passed", "pull": "passed", "nothing more": result, "revoke": "not-run"}
    assert code == int(result == "failed")
    assert password not in out + err


def test_a_basic_login_for_more_than_the_repositories_is_detected(internet: Stack) -> None:
    content = basic_definition(repositories=["team/"])
    narrow = internet.registry.add_user("puller", pull=["team/*"])
    credential = minted(content, upstream={"username": "puller", "password": narrow})
    assert verified(content, credential).verdict is Verdict.CAN_PULL
    wide = internet.registry.add_user("reader", pull=["*"])
    verification = verified(content, minted(content, upstream={"username": "reader", "password": wide}))
    assert verification.verdict is Verdict.WIDER, verification.detail


def test_a_login_for_other_repositories_is_refused(internet: Stack) -> None:
    password = internet.registry.add_user("stranger", pull=["other/*"])
    credential = minted(basic_definition(), upstream={"username": "stranger", "password": password})
    assert verified(basic_definition(), credential).verdict is Verdict.REFUSED


def test_a_missing_image_and_throttling_are_inconclusive(internet: Stack) -> None:
    password = internet.registry.add_user("puller", pull=["team/*"])
    credential = minted(basic_definition(), upstream={"username": "puller", "password": password})
    absent = basic_definition(probe="team/app:absent")
    assert verified(absent, credential).verdict is Verdict.INCONCLUSIVE
    internet.registry.throttle(HOST, 60)
    try:
        assert verified(basic_definition(), credential).verdict is Verdict.INCONCLUSIVE
    finally:
        internet.registry.throttle(HOST, 0)


@pytest.fixture
def project(internet: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProjectIdentity]:
    """The identity of a project as in the Lambda function: the role of rotate assumes the project's role."""
    aws = internet.aws
    aws.add_role(ROTATE)
    may = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": PULL}],
    }
    aws.add_role(PROJECT, trusted=ROTATE, external_id="payments", tags={"project": "payments"}, policy=may)
    aws.add_role(PULL, trusted=PROJECT, external_id="payments")
    for name, value in aws.session_environment(ROTATE, "rotate").items():
        monkeypatch.setenv(name, value)
    yield ProjectIdentity("payments", PROJECT)
    aws.set_ecr_token_lifetime(43200)


@pytest.mark.parametrize(
    "host",
    [
        f"{OTHER_ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com",
        f"{OTHER_ACCOUNT}.dkr-ecr.eu-central-1.on.aws",
    ],
)
def test_ecr_of_another_account_can_be_pulled_from_by_each_host_name(
    project: ProjectIdentity, tmp_path: Path, host: str
) -> None:
    content = {**ECR, "role_arn": PULL, "repositories": ["team/"]}
    credential = minted(content, identity=project)
    verification = verified(content, credential)
    assert verification.verdict is Verdict.CAN_PULL, verification.detail
    # crane does not support keys with a path. They only limit where the kubelet sends a login.
    whole = minted({**ECR, "role_arn": PULL}, identity=project)
    assert pulls(whole, f"{host}/team/app:1", tmp_path)


def test_an_ecr_login_ends_at_its_expiry(internet: Stack, project: ProjectIdentity, tmp_path: Path) -> None:
    internet.aws.set_ecr_token_lifetime(3)
    credential = minted({**ECR, "role_arn": PULL}, identity=project)
    assert credential.expires_at is not None
    assert verified(ECR, credential).verdict is Verdict.CAN_PULL
    time.sleep(max(0.0, (credential.expires_at - datetime.now(UTC)).total_seconds()) + 0.5)
    assert verified(ECR, credential).verdict is Verdict.REFUSED
    assert not pulls(credential, f"{OTHER_ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com/team/app:1", tmp_path)


def test_a_role_that_may_push_is_narrowed_by_the_session_policy(
    internet: Stack, project: ProjectIdentity
) -> None:
    everything = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}],
    }
    internet.aws.add_role(PULL, trusted=PROJECT, external_id="payments", policy=everything)
    content = {**ECR, "role_arn": PULL, "repositories": ["team/"]}
    verification = verified(content, minted(content, identity=project))
    assert verification.verdict is Verdict.CAN_PULL, verification.detail


def test_a_project_role_that_can_push_to_its_own_ecr_is_detected(
    internet: Stack, project: ProjectIdentity
) -> None:
    everything = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "ecr:*", "Resource": "*"}],
    }
    trust = {"trusted": ROTATE, "external_id": "payments", "tags": {"project": "payments"}}
    internet.aws.add_role(PROJECT, policy=everything, **trust)
    verification = verified(ECR, minted(ECR, identity=project))
    assert verification.verdict is Verdict.WIDER, verification.detail


@pytest.fixture
def vendor(
    request: pytest.FixtureRequest, registries: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Vendor]:
    network = Network(tmp_path)
    for name, value in network.environment.items():
        monkeypatch.setenv(name, value)
    for module in (basic, federated, harbor, static, tokens):
        monkeypatch.setattr(module, "OciRegistry", distribution(registries.registry))
    yield request.param(network, Aws(network.clock))
    network.close()


@pytest.mark.parametrize(
    "vendor", [BasicToken, GhcrToken, Gitlab, Harbor, System], ids=vendor_id, indirect=True
)
def test_the_credential_of_each_vendor_pulls_from_a_real_registry(vendor: Vendor, tmp_path: Path) -> None:
    bench = Bench(vendor)
    credential = bench.mint()
    verification = bench.verify(credential)
    assert verification.verdict is Verdict.CAN_PULL, verification.detail
    whole = Credential(
        provider=credential.provider,
        logins=tuple(
            type(login)(login.username, login.password, tuple(key.partition("/")[0] for key in login.hosts))
            for login in credential.logins[:1]
        ),
        issued_at=credential.issued_at,
    )
    assert pulls(whole, f"{vendor.hosts[0]}/team/app:1", tmp_path)
    if vendor.revocable:
        bench.revoke(credential)
        assert bench.verify(credential).verdict is Verdict.REFUSED


class StsIssuer:
    """The issuer of the project as a vendor sees it: only its public keys."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def check_identity_token(self, token: str, *, audience: str, subject: str) -> bool:
        """Whether the token is of the project's role and for this audience."""
        return self.identity_of(token, audience=audience) is not None

    def identity_of(self, token: str, *, audience: str | None = None) -> str | None:
        """The role that the stand-ins trust, if the token is of the project's role.

        See :meth:`fakes.vendors.aws.Aws.identity_of`.
        """
        key, _ = self._stack.aws.web_identity_public_keys
        issuer = self._stack.aws.web_identity_issuer()
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=audience,
                issuer=issuer,
                options={"verify_aud": audience is not None, "require": ["exp", "aud", "sub"]},
            )
        except jwt.PyJWTError:
            return None
        return PROJECT_ROLE if claims["sub"] == PROJECT else None


@pytest.mark.parametrize("vendor", [QuayFederated, Cloudsmith, JfrogOidc, System], ids=vendor_id)
def test_a_vendor_accepts_the_identity_that_sts_signs_for_the_projects_role(
    vendor: type[Vendor],
    project: ProjectIdentity,
    internet: Stack,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Network(tmp_path)
    may = [{"Effect": "Allow", "Action": "sts:GetWebIdentityToken", "Resource": "*"}]
    trust = {"trusted": ROTATE, "external_id": "payments", "tags": {"project": "payments"}}
    internet.aws.add_role(PROJECT, policy={"Version": "2012-10-17", "Statement": may}, **trust)
    for name, value in network.environment.items():
        monkeypatch.setenv(name, value)
    made = vendor(network, StsIssuer(internet))
    credential = minted(made.definition, identity=project)
    assert verified(made.definition, credential).verdict is Verdict.CAN_PULL
    network.close()
