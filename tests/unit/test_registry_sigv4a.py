"""The SigV4A signature for JFrog, compared with AWS's own implementations."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from regcred.registry import sigv4a
from regcred.registry.interface import AwsCredentials
from regcred.registry.providers.artifactory import CALLER_IDENTITY_URL

KEY_ID, SECRET = "AKISORANDOMAASORANDOM", "q+jcrXGc+0zWN6uzclKVhvMmUsIfRPa4rlRandom"
TOKEN = "TOKEN/abc=="
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
BY_AWSCRT = (
    "3045022100a1ed10f48722cfc8fe13743e4cd32c96f6fb994b85235178886187ca4c1abfde"
    "0220141fb76d5d202dae33ff8a81de99f406d9bf7797570f92b05529bee22fa73a82"
)
"""The signature of awscrt for the same request (V4_ASYMMETRIC, region ``*``, no body header)."""


def public_key() -> ec.EllipticCurvePublicKey:
    return ec.derive_private_key(sigv4a.private_scalar(KEY_ID, SECRET), ec.SECP256R1()).public_key()


def to_sign(headers: dict[str, str]) -> bytes:
    canonical = (
        "GET\n/\nAction=GetCallerIdentity&Version=2011-06-15\nhost:sts.amazonaws.com\n"
        f"x-amz-date:{headers['X-Amz-Date']}\nx-amz-region-set:*\nx-amz-security-token:{TOKEN}\n\n"
        f"host;x-amz-date;x-amz-region-set;x-amz-security-token\n{hashlib.sha256(b'').hexdigest()}"
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return f"AWS4-ECDSA-P256-SHA256\n{headers['X-Amz-Date']}\n20261128/sts/aws4_request\n{digest}".encode()


def signed() -> dict[str, str]:
    credentials = AwsCredentials(KEY_ID, SecretStr(SECRET), SecretStr(TOKEN), NOW)
    return sigv4a.signed(CALLER_IDENTITY_URL, credentials, service="sts", now=NOW)


def test_the_derived_key_is_that_of_the_aws_sdk() -> None:
    """The keys and the point come from aws-sdk-go-v2 (internal/v4a, TestDeriveECDSAKeyPairFromSecret)."""
    point = public_key().public_numbers()
    assert point.x == 0x15D242CEEBF8D8169FD6A8B5A746C41140414C3B07579038DA06AF89190FFFCB
    assert point.y == 0x515242CEDD82E94799482E4C0514B505AFCCF2C0C98D6A553BF539F424C5EC0


def test_our_signature_and_that_of_awscrt_sign_the_same_text() -> None:
    headers = signed()
    ours = headers["Authorization"].partition("Signature=")[2]
    for signature in (ours, BY_AWSCRT):
        public_key().verify(bytes.fromhex(signature), to_sign(headers), ec.ECDSA(hashes.SHA256()))


def test_four_headers_are_signed_for_all_regions() -> None:
    headers = signed()
    assert set(headers) == {"Authorization", "X-Amz-Date", "X-Amz-Region-Set", "X-Amz-Security-Token"}
    assert headers["X-Amz-Region-Set"] == "*"
    assert headers["Authorization"].startswith(
        f"AWS4-ECDSA-P256-SHA256 Credential={KEY_ID}/20261128/sts/aws4_request, "
        "SignedHeaders=host;x-amz-date;x-amz-region-set;x-amz-security-token, Signature="
    )
