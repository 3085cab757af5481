"""The public side of the signing keys. Pure.

Each version of a key has its own certificate authority, whose private key is discarded after one signature.

A registry that knows the authority (2.8 and 3, ``rootcertbundle``) uses the certificate in a token's header.
A registry that knows the JWK set (3, ``jwks``) uses the key's ID. No one can certify another key, because the
authority's private key is never stored.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from regcred.errors import MalformedError
from regcred.token import jose
from regcred.vault.records.system import SystemKey, SystemKeys

CERTIFICATE_LIFE = timedelta(days=3650)
"""The lifetime of certificates. A key is retired by removing it from the registry's bundle, not by expiry."""

CLOCK_SKEW = timedelta(minutes=5)


def certified(version: int, public_pem: str, *, signs_from: datetime, now: datetime) -> SystemKey:
    """The published form of a version of the signing key.

    Args:
        version: Its version in the transit engine.
        public_pem: Its public key.
        signs_from: The time from which it signs.
        now: The time.

    Raises:
        MalformedError: it is not an ECDSA key on P-256.
    """
    try:
        public_jwk = jose.jwk(public_pem)
    except ValueError as error:
        raise MalformedError(f"version {version} of the signing key {error}", field="type") from None
    kid = jose.thumbprint(public_jwk)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate(
        "regcred system registry authority", authority_key.public_key(), authority_key, None, now=now
    )
    subject_key = serialization.load_pem_public_key(public_pem.encode())
    if not isinstance(subject_key, ec.EllipticCurvePublicKey):
        raise MalformedError(f"version {version} of the signing key is no ECDSA key", field="type")
    leaf = _certificate(f"regcred token server {kid[:16]}", subject_key, authority_key, authority, now=now)
    return SystemKey(
        version=version,
        kid=kid,
        jwk=public_jwk,
        certificate=_pem(leaf),
        authority=_pem(authority),
        signs_from=signs_from,
    )


def with_access_keys(
    keys: SystemKeys, public_pems: dict[int, str], *, signs_from: datetime, now: datetime
) -> SystemKeys:
    """Add the versions that are newer than all published ones.

    Args:
        keys: The published keys.
        public_pems: By version, the public keys in PEM.
        signs_from: The time from which new versions sign. The very first version signs at once.
        now: The time.

    Raises:
        MalformedError: a key is not an ECDSA key on P-256.
    """
    newest = max((key.version for key in keys.keys), default=0)
    start = signs_from if keys.keys else now
    new = [
        certified(version, pem, signs_from=start, now=now)
        for version, pem in sorted(public_pems.items())
        if version > newest
    ]
    return keys.model_copy(update={"keys": [*keys.keys, *new]})


def with_login_keys(keys: SystemKeys, public_pems: dict[int, str]) -> SystemKeys:
    """Replace the keys for logins with these versions."""
    found = {}
    for version, pem in public_pems.items():
        public_jwk = jose.jwk(pem)
        found[jose.thumbprint(public_jwk)] = {**public_jwk, "version": str(version)}
    return keys.model_copy(update={"logins": found})


def retired(keys: SystemKeys, *, now: datetime, overlap: timedelta) -> SystemKeys:
    """Remove the keys that a newer key replaced more than ``overlap`` ago."""
    signing = keys.signing(now)
    if signing is None or now < signing.signs_from + overlap:
        return keys
    return keys.model_copy(update={"keys": [key for key in keys.keys if key.version >= signing.version]})


def _certificate(
    name: str,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    *,
    now: datetime,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    is_authority = issuer is None
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + CERTIFICATE_LIFE)
        .add_extension(
            x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_authority,
                key_cert_sign=is_authority,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(issuer_key, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
