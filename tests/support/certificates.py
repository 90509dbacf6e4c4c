"""Certificates for tests: an authority of our own and what it signs."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: str
    key: str

    def write(self, directory: Path) -> Path:
        """Writes `tls.crt` and `tls.key` as kubelet does it for a Secret of type kubernetes.io/tls."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "tls.crt").write_text(self.certificate)
        (directory / "tls.key").write_text(self.key)
        return directory


class Authority:
    """A certificate authority."""

    def __init__(self, name: str = "hospital-ca") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self.certificate = _pem(self._built(self._name, self._key.public_key(), -1, 1, ca=True).sign(self._key, hashes.SHA256()))

    def issue(self, name: str = "pacs.example", *hosts: str, days: float = 1) -> Pair:
        """A certificate for host names and addresses, for both ends of a connection; with a negative `days` it is over."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._built(_named(name), key.public_key(), min(-1.0, days - 1), days, ca=False)
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        return Pair(_pem(builder.sign(self._key, hashes.SHA256())), private_pem(key))

    def server_context(self, directory: Path, *hosts: str, days: float = 1, clients: bool = False) -> ssl.SSLContext:
        """TLS for a server with these names; `clients`: only for those who show a certificate of this authority."""
        pair = self.issue("server", *(hosts or ("127.0.0.1",)), days=days).write(directory)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair / "tls.crt", pair / "tls.key")
        if clients:
            context.load_verify_locations(cadata=self.certificate)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _built(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, start: float, end: float, *, ca: bool) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now + timedelta(days=start)).not_valid_after(now + timedelta(days=end))
        return builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)


def private_pem(key: ec.EllipticCurvePrivateKey, password: bytes = b"") -> str:
    """The key as PKCS #8, encrypted when there is a password."""
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption).decode()


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
