"""Sign-in of the Lambda functions: by keys that Vault fetches from the issuer and, on HashiCorp Vault, by a
signed request."""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import jwt
import pytest
import requests
import trustme
from pydantic import SecretStr

from realparts.procs import Processes, free_ports
from regcred.errors import RefusedError, TransientError
from regcred.vault.kv2 import connect, signed_in
from regcred.vault.login import AwsIamLogin, AwsKeys
from regcred.vault.platform import LambdaIamTrust, LambdaTrust, apply_platform, plan_platform
from regcred.vault.platform.system import TRANSIT
from regcred.vault.records.system import ACCESS_KEY
from regcred.vault.transit import TransitSigner

from . import identities
from .conftest import Keys, Real, new_keys, short


@dataclass
class Issuer:
    """Serves a key set over TLS, as the issuer of an AWS account does."""

    url: str
    ca_pem: str
    keys: list[Keys] = field(default_factory=list)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    authority = trustme.CA()
    issuer = Issuer("", authority.cert_pem.bytes().decode())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            jwks = [
                {
                    **jwt.algorithms.RSAAlgorithm.to_jwk(keys.private.public_key(), as_dict=True),
                    "kid": str(at),
                }
                for at, keys in enumerate(issuer.keys)
            ]
            body = json.dumps({"keys": jwks}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    issuer.url = f"https://127.0.0.1:{server.server_address[1]}"
    yield issuer
    server.shutdown()
    server.server_close()


def test_the_issuers_keys_are_fetched_and_the_platform_stays_as_declared(real: Real, issuer: Issuer) -> None:
    signer = new_keys()
    issuer.keys = [signer]
    trust = LambdaTrust(
        issuer=issuer.url,
        audience="vault",
        dispatch=[identities.DISPATCH],
        rotate=[identities.ROTATE, f"{identities.ROTATE}-canary"],
        jwks_url=f"{issuer.url}/.well-known/jwks.json",
        jwks_ca_pem=issuer.ca_pem,
    )
    platform = real.platform.with_declaration(lambda_jwt=trust)
    try:
        apply_platform(real.client(), platform)
        assert [str(action) for action in plan_platform(real.client(), platform) if action.changed] == []
        for role in trust.rotate:
            token = identities.web_identity_token(signer, role, iss=issuer.url, aud="vault")
            kv = identities.open_as(real, identities.lambda_login("rotate", token))
            assert kv.version("upstream/payments/never") == 0
        forged = identities.web_identity_token(new_keys(), identities.ROTATE, iss=issuer.url, aud="vault")
        with pytest.raises(RefusedError, match="none of the keys at jwks_url verifies its signature"):
            identities.open_as(real, identities.lambda_login("rotate", forged)).version(
                "upstream/payments/never"
            )
    finally:
        real.reset()


@pytest.mark.hashicorp
def test_a_second_issuer_that_was_added_by_hand_is_found_and_removed(hashicorp: Real, issuer: Issuer) -> None:
    """HashiCorp Vault takes several JWK sets, and each of them could sign as the cluster."""
    issuer.keys = [new_keys()]
    root, platform = hashicorp.client(), hashicorp.platform
    pairs = [{"jwks_url": f"{issuer.url}/.well-known/jwks.json", "jwks_ca_pem": issuer.ca_pem}]
    try:
        hashicorp.vault.call("POST", "auth/regcred-cluster-c1/config", {"jwks_pairs": pairs})
        planned = [str(action) for action in plan_platform(root, platform)]
        assert (
            "update settings of the sign-in method regcred-cluster-c1 (jwks_pairs, jwt_validation_pubkeys)"
        ) in planned
        apply_platform(root, platform, prune=True)
        assert plan_platform(root, platform) == []
        held = hashicorp.vault.call("GET", "auth/regcred-cluster-c1/config")["data"]
        assert held["jwks_pairs"] == []
    finally:
        hashicorp.reset()


@dataclass
class Moto:
    """A moto server as AWS STS and IAM, with an IAM role for each function."""

    url: str
    processes: Processes
    arns: dict[str, str] = field(default_factory=dict)

    def client(self, name: str) -> Any:
        return boto3.client(name, region_name="us-east-1", endpoint_url=self.url)

    def login(self, role: str, server_id: str = "vault.lab", *, caller: str = "") -> AwsIamLogin:
        """Sign in with a role of Vault, with the IAM role `caller`, or else the one of the same name."""
        session = self.client("sts").assume_role(
            RoleArn=self.arns[caller or role], RoleSessionName="function"
        )
        made = session["Credentials"]
        secret, token = (SecretStr(made[name]) for name in ("SecretAccessKey", "SessionToken"))
        keys = AwsKeys(made["AccessKeyId"], secret, token)
        return AwsIamLogin("regcred-lambda-iam", role, lambda: keys, server_id=server_id)


@pytest.fixture
def moto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moto]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    (port,) = free_ports(1)
    moto = Moto(f"http://127.0.0.1:{port}", Processes(tmp_path))
    moto.processes.start(
        "moto",
        [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        ready=lambda: requests.get(f"{moto.url}/moto-api/", timeout=2).ok,
    )
    try:
        for name in ("dispatch", "rotate", "console", "token"):
            made = moto.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")
            moto.arns[name] = made["Role"]["Arn"]
        yield moto
    finally:
        moto.processes.sweep()


@pytest.fixture
def trusting(hashicorp: Real, moto: Moto) -> Iterator[Real]:
    """A HashiCorp Vault where each function signs in by its IAM role."""
    arns = {name: [arn] for name, arn in moto.arns.items()}
    trust = LambdaIamTrust(
        server_id="vault.lab",
        sts_endpoint=moto.url,
        sts_region="us-east-1",
        iam_endpoint=moto.url,
        resolve_unique_ids=False,
        **arns,
    )
    platform = hashicorp.platform.with_declaration(system_registry=True, lambda_iam=trust)
    try:
        apply_platform(hashicorp.client(), platform)
        assert [str(action) for action in plan_platform(hashicorp.client(), platform) if action.changed] == []
        yield hashicorp
    finally:
        hashicorp.vault.call("DELETE", f"sys/mounts/{TRANSIT}")
        hashicorp.reset()


@pytest.mark.hashicorp
def test_each_function_signs_in_to_hashicorp_vault_by_its_iam_role(trusting: Real, moto: Moto) -> None:
    for role, path in (
        ("dispatch", "credentials/payments/_index"),
        ("rotate", "rotations/payments/never"),
        ("console", "console/sealing"),
        ("token", "system/config"),
    ):
        assert connect(trusting.server, moto.login(role), sleep=short).version(path) == 0, role
    signer = TransitSigner(signed_in(trusting.server, moto.login("token")), TRANSIT, ACCESS_KEY)
    assert signer.sign(b"what the token server signs")


@pytest.mark.hashicorp
def test_the_error_contains_the_reason_why_hashicorp_vault_refuses_an_iam_role(
    trusting: Real, moto: Moto
) -> None:
    for refused, message in (
        (moto.login("dispatch", caller="rotate"), "the role is not bound to this IAM role"),
        (moto.login("nobody", caller="rotate"), "the role does not exist there"),
        (moto.login("rotate", ""), "the server id header is missing or wrong"),
        (moto.login("rotate", "elsewhere"), "the server id header is missing or wrong"),
    ):
        with pytest.raises(RefusedError, match=message):
            connect(trusting.server, refused, sleep=short).version("rotations/payments/never")


@pytest.mark.hashicorp
def test_an_outage_of_sts_is_not_a_refusal_by_hashicorp_vault(trusting: Real, moto: Moto) -> None:
    login = moto.login("rotate")
    moto.processes.stop("moto")
    kv = connect(trusting.server, login, sleep=short)
    with pytest.raises(TransientError, match="can't reach AWS STS"):
        kv.version("rotations/payments/never")
