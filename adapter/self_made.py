"""Self-made serving certificates: an authority, what it signs, and when each is due.

Clients hold the authorities' bundle (the APIService's caBundle), so authorities overlap:
a new one is in the bundle for `BUNDLE_LEAD` before anything is signed by it, and an old
one stays there until it expires. State in, state out: nothing is read, kept or served.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .errors import ConfigError

__all__ = ["Authority", "SelfMade", "ServingPair", "renewed", "serving_names"]

AUTHORITY_LIFE = timedelta(days=3650)
AUTHORITY_RENEWAL = timedelta(days=365)  # before its end a successor joins the bundle
BUNDLE_LEAD = timedelta(days=1)
PAIR_LIFE = timedelta(days=90)
PAIR_RENEWAL = timedelta(days=30)
# Clocks differ: what is made now is valid from a little earlier.
BACKDATE = timedelta(hours=1)

_LOOPBACK_NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class ServingPair:
    """A certificate and its private key, PEM."""

    certificate_pem: bytes
    key_pem: bytes

    @property
    def certificate(self) -> x509.Certificate:
        """Return the certificate."""
        return x509.load_pem_x509_certificate(self.certificate_pem)


@dataclass(frozen=True, slots=True)
class Authority(ServingPair):
    """A certificate authority of our own."""

    def signs(self, certificate: x509.Certificate) -> bool:
        """Return whether `certificate` was signed by this authority."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except Exception:  # noqa: BLE001 - cryptography raises three kinds, all meaning no
            return False
        return True


@dataclass(frozen=True, slots=True)
class SelfMade:
    """Authorities, newest first, and the certificate that is served."""

    authorities: tuple[Authority, ...]
    pair: ServingPair

    @property
    def bundle_pem(self) -> bytes:
        """Return what clients must trust: every authority that is still valid."""
        return b"".join(authority.certificate_pem for authority in self.authorities)

    def to_mapping(self) -> dict[str, bytes]:
        """Return the state as named PEM texts, such as a Secret's data."""
        return {
            "tls.crt": self.pair.certificate_pem,
            "tls.key": self.pair.key_pem,
            "ca.crt": self.bundle_pem,
            "ca.key": b"".join(authority.key_pem for authority in self.authorities),
        }

    @classmethod
    def from_mapping(cls, data: Mapping[str, bytes]) -> Self:
        """Return the state that `to_mapping` wrote.

        Raises
        ------
        ConfigError
            If a part is missing or not what it should be.
        """
        try:
            certificates = x509.load_pem_x509_certificates(data["ca.crt"])
            keys = [f"{part}{_KEY_END}".encode() for part in _key_parts(data["ca.key"])]
            authorities = tuple(
                Authority(_pem(certificate), key)
                for certificate, key in zip(certificates, keys, strict=True)
            )
            state = cls(authorities, ServingPair(data["tls.crt"], data["tls.key"]))
            for pair in (*state.authorities, state.pair):
                _check_match(pair)
        except (KeyError, ValueError) as exc:
            raise ConfigError(f"the kept certificates can't be used: {exc!r}") from exc
        return state


def serving_names(*, service: str, namespace: str, host: str) -> tuple[str, ...]:
    """Return the names and addresses that the certificate is for.

    Exactly the Service's name as the aggregator verifies it; bound to loopback, also what
    a person on this machine would type.
    """
    names = (f"{service}.{namespace}.svc",)
    if not _is_loopback(host):
        return names
    return tuple(dict.fromkeys((*names, *_LOOPBACK_NAMES, host)))


def renewed(state: SelfMade | None, names: tuple[str, ...], now: datetime) -> SelfMade:
    """Return what to serve at `now`: `state` itself as long as nothing is due.

    Parameters
    ----------
    state : SelfMade or None
        What was served so far.
    names : tuple of str
        DNS names and IP addresses of the certificate.
    now : datetime
        Time, with a zone.
    """
    kept = state.authorities if state is not None else ()
    authorities = tuple(a for a in kept if a.certificate.not_valid_after_utc > now)
    if not authorities or authorities[0].certificate.not_valid_after_utc - now < AUTHORITY_RENEWAL:
        authorities = (_make_authority(now), *authorities)
    signer = _signer(authorities, now)
    pair = state.pair if state is not None else None
    if pair is None or _pair_is_due(pair, signer, names, now):
        pair = _make_pair(signer, names, now)
    if state is not None and authorities == state.authorities and pair is state.pair:
        return state
    return SelfMade(authorities, pair)


def _signer(authorities: tuple[Authority, ...], now: datetime) -> Authority:
    """Return the newest authority that clients have had time to learn of."""
    for authority in authorities:
        if now - authority.certificate.not_valid_before_utc - BACKDATE >= BUNDLE_LEAD:
            return authority
    return authorities[-1]


def _pair_is_due(
    pair: ServingPair, signer: Authority, names: tuple[str, ...], now: datetime
) -> bool:
    certificate = pair.certificate
    return (
        certificate.not_valid_after_utc - now < PAIR_RENEWAL
        or not signer.signs(certificate)
        or certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        != _alternative_names(names)
    )


def _make_authority(now: datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own for each: two of one name confuse path building.
    name = _name(f"wva-ca-{now:%Y%m%d%H%M%S}")
    builder = (
        _builder(name, name, key, now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
    )
    certificate = builder.sign(key, hashes.SHA256())
    return Authority(_pem(certificate), _key_pem(key))


def _make_pair(authority: Authority, names: tuple[str, ...], now: datetime) -> ServingPair:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    builder = (
        _builder(_name(names[0]), issuer.subject, key, now, PAIR_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_alternative_names(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            ),
            critical=False,
        )
    )
    signing_key = serialization.load_pem_private_key(authority.key_pem, password=None)
    assert isinstance(signing_key, ec.EllipticCurvePrivateKey)  # noqa: S101 - we made it
    return ServingPair(_pem(builder.sign(signing_key, hashes.SHA256())), _key_pem(key))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(names: tuple[str, ...]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_general_name(name) for name in names])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common_name: str) -> x509.Name:
    # The field holds 64 characters; clients read the alternative names.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


_KEY_END = "-----END PRIVATE KEY-----\n"


def _check_match(pair: ServingPair) -> None:
    """Raise ValueError unless the pair's key is its certificate's."""
    key = serialization.load_pem_private_key(pair.key_pem, password=None)
    if key.public_key() != pair.certificate.public_key():
        raise ValueError("a private key doesn't belong to its certificate")


def _key_parts(pem: bytes) -> list[str]:
    return pem.decode("ascii").split(_KEY_END)[:-1]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
