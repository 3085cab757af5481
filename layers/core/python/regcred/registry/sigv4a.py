"""Signs GetCallerIdentity by AWS Signature Version 4A, as a proof of identity for other services.

botocore signs SigV4A only with awscrt, a native package of 12 MB. For this one request, 40 lines over
``cryptography`` are enough, which the layer contains anyway. Contract:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html and the signer of aws-sdk-go-v2
(internal/v4a), which JFrog's clients include (github.com/jfrog/jfrog-registry-operator, internal/sign).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit

from regcred.registry.interface import AwsCredentials
from regcred.registry.optional_packages import needed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

ALGORITHM = "AWS4-ECDSA-P256-SHA256"
REGION_SET = "*"
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order of the curve P-256."""

_EMPTY = hashlib.sha256(b"").hexdigest()
_COUNTER_MAX = 255


def private_scalar(access_key_id: str, secret_access_key: str) -> int:
    """Derive the private key for the signature from an access key.

    The derivation in counter mode (NIST SP 800-108) is repeated until the key fits the curve.
    """
    key = b"AWS4A" + secret_access_key.encode()
    for counter in range(1, _COUNTER_MAX):
        context = access_key_id.encode() + bytes([counter])
        message = b"\x00\x00\x00\x01" + ALGORITHM.encode() + b"\x00" + context + b"\x00\x00\x01\x00"
        candidate = int.from_bytes(hmac.digest(key, message, "sha256"))
        if candidate < _ORDER - 2:
            return candidate + 1
    raise AssertionError("254 attempts gave no valid key, which is practically impossible")


def signed(url: str, credentials: AwsCredentials, *, service: str, now: datetime) -> dict[str, str]:
    """The headers of a signed GET without a body, for all regions.

    Args:
        url: The address. Its query is part of the signature.
        credentials: The caller's credentials.
        service: The service's name in the scope, as in ``sts``.
        now: The current time. AWS compares it with its own (15 minutes).

    Raises:
        MalformedError: This deployment does not include ``cryptography``.
    """
    with needed("cryptography", extra="all", field="auth"):
        from cryptography.hazmat.primitives.asymmetric import ec
    key = ec.derive_private_key(
        private_scalar(credentials.access_key_id, credentials.secret_access_key.get_secret_value()),
        ec.SECP256R1(),
    )
    moment = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "host": urlsplit(url).netloc,
        "x-amz-date": moment,
        "x-amz-region-set": REGION_SET,
        "x-amz-security-token": credentials.session_token.get_secret_value(),
    }
    scope = f"{moment[:8]}/{service}/aws4_request"
    canonical = hashlib.sha256(_canonical(url, headers).encode()).hexdigest()
    signature = _signature(key, f"{ALGORITHM}\n{moment}\n{scope}\n{canonical}")
    return {
        "Authorization": f"{ALGORITHM} Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={';'.join(sorted(headers))}, Signature={signature}",
        "X-Amz-Date": moment,
        "X-Amz-Region-Set": REGION_SET,
        "X-Amz-Security-Token": headers["x-amz-security-token"],
    }


def _canonical(url: str, headers: Mapping[str, str]) -> str:
    parts = urlsplit(url)
    query = "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}"
        for name, value in sorted(parse_qsl(parts.query, keep_blank_values=True))
    )
    lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
    return "\n".join(("GET", parts.path or "/", query, *lines, "", ";".join(sorted(headers)), _EMPTY))


def _signature(key: EllipticCurvePrivateKey, text: str) -> str:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return key.sign(text.encode(), ec.ECDSA(hashes.SHA256())).hex()
