"""JSON Web Tokens whose signature comes from elsewhere, and the keys that verify them. Pure.

Contracts: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7638 (thumbprint).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

ALGORITHM = "ES256"
COORDINATE_BYTES = 32
"""The length in bytes of a coordinate of a P-256 point."""


def encode(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def assemble(header: Mapping[str, Any], claims: Mapping[str, Any], sign: Callable[[bytes], str]) -> str:
    """A compact JWS.

    Args:
        header: Its header, without ``alg``.
        claims: Its payload.
        sign: Makes the signature of the signing input, base64url without padding.
    """
    head = encode(_json({"alg": ALGORITHM, **header}))
    signing_input = f"{head}.{encode(_json(claims))}"
    return f"{signing_input}.{sign(signing_input.encode())}"


def jwk(pem: str) -> dict[str, str]:
    """A public key as a JWK.

    Raises:
        ValueError: it is not a P-256 key.
    """
    key = serialization.load_pem_public_key(pem.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("is not an ECDSA key on P-256")  # noqa: TRY004 - a wrong value, not a wrong call
    point = key.public_numbers()
    x, y = (number.to_bytes(COORDINATE_BYTES, "big") for number in (point.x, point.y))
    return {"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)}


def thumbprint(key: Mapping[str, str]) -> str:
    """The thumbprint of a P-256 JWK (RFC 7638). It is the key's ID."""
    members = {name: key[name] for name in ("crv", "kty", "x", "y")}
    return encode(hashlib.sha256(_json(dict(sorted(members.items())))).digest())


def key_id(token: str) -> str:
    """The ``kid`` in a token's header; empty if there is none.

    It only selects the key. The token is not verified.

    Raises:
        ValueError: the header can't be read.
        RecursionError: it is nested too deeply.
    """
    head = token.partition(".")[0]
    header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    return str(header.get("kid", "")) if isinstance(header, dict) else ""


@lru_cache(maxsize=16)
def x5c(pem: str) -> tuple[str, ...]:
    """A certificate in the form of the header ``x5c``: base64 of its DER form."""
    der = x509.load_pem_x509_certificate(pem.encode()).public_bytes(serialization.Encoding.DER)
    return (base64.b64encode(der).decode(),)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
