"""Keys and certificates of the local parts. They are created once, in the stack's folder with mode 600."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def write_private(path: Path, content: bytes | str) -> Path:
    """Write a file that only its owner may read, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def private_pem(key: Key) -> bytes:
    """Return a private key as unencrypted PKCS 8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def public_pem(key: Key) -> str:
    """Return a key's public half as PEM."""
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode()


def rsa_key(path: Path) -> rsa.RSAPrivateKey:
    """Return the RSA key in this file. Create it at first use."""
    if not path.exists():
        write_private(path, private_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)))
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


def ec_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return the P-256 key in this file. Create it at first use."""
    return _ec_key(path, ec.SECP256R1())


def ec384_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return the P-384 key in this file. Create it at first use."""
    return _ec_key(path, ec.SECP384R1())


def _ec_key(path: Path, curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        write_private(path, private_pem(ec.generate_private_key(curve)))
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


class Authority:
    """A private certificate authority in a folder."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.certificate = directory / "ca.crt"
        self._key = ec_key(directory / "ca.key")
        if not self.certificate.exists():
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
            certificate = (
                _builder(subject, subject, self._key.public_key())
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(
                    x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
                )
                .add_extension(_usage(ca=True), critical=True)
                .sign(self._key, hashes.SHA256())
            )
            self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self._certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())

    def issue(
        self, name: str, *, user: str, groups: tuple[str, ...] = (), hosts: tuple[str, ...] = ()
    ) -> tuple[Path, Path]:
        """Issue a certificate, or return the existing one of this name.

        Args:
            name: the name of the files.
            user: the common name.
            groups: the organisations, which Kubernetes uses as groups.
            hosts: the DNS names and IP addresses of a server; none for a client certificate.

        Returns:
            The certificate's file and the key's file.
        """
        certificate_file, key_file = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        if certificate_file.exists():
            return certificate_file, key_file
        key = ec_key(key_file)
        subject = x509.Name(
            [
                *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups),
                x509.NameAttribute(NameOID.COMMON_NAME, user),
            ]
        )
        builder = _builder(subject, self._certificate.subject, key.public_key())
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_san(host) for host in hosts]), critical=False
            )
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return certificate_file, key_file


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=365))
    )


def _san(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
