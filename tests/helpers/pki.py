"""Certificates of every good and bad kind, for tests of who is let in."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True)
class Credential:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @cached_property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @cached_property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @cached_property
    def key_pem(self) -> str:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    def load_into(self, context: ssl.SSLContext, folder: Path) -> None:
        path = folder / f"{self.certificate.serial_number}.pem"
        path.write_text(self.pem + self.key_pem)
        context.load_cert_chain(path)


class TestAuthority:
    """An authority; `issue` makes whatever is asked for, good or not."""

    __test__ = False

    def __init__(self, name: str = "ca", *, issuer: "TestAuthority | None" = None, ca: bool = True):
        key = ec.generate_private_key(ec.SECP256R1())
        signer = issuer.credential.key if issuer else key
        parent = issuer.credential.certificate.subject if issuer else _name(name)
        certificate = (
            _builder(_name(name), parent, key, days=(-30, 30))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(signer, hashes.SHA256())
        )
        self.credential = Credential(certificate, key)

    @property
    def pem(self) -> str:
        return self.credential.pem

    def issue(
        self,
        name: str,
        *,
        organizations: tuple[str, ...] = (),
        uses: tuple[x509.ObjectIdentifier, ...] | None = (CLIENT,),
        days: tuple[float, float] = (-1, 10),
        hosts: tuple[str, ...] = (),
    ) -> Credential:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(
            _name(name, organizations), self.credential.certificate.subject, key, days=days
        )
        if uses is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(uses)), critical=False)
        if hosts:
            alternatives = x509.SubjectAlternativeName([_host(host) for host in hosts])
            builder = builder.add_extension(alternatives, critical=False)
        return Credential(builder.sign(self.credential.key, hashes.SHA256()), key)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(common_name: str, organizations: tuple[str, ...] = ()) -> x509.Name:
    return x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in organizations),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(subject, issuer, key, *, days) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )
