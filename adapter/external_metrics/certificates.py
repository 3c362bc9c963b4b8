"""Client certificates against one pool of authorities, by us and not by the handshake.

The TLS layer admits a certificate of any authority that we know, and Python 3.11 doesn't
say which one signed it. Identity hangs on exactly that: a certificate of the cluster's
ordinary CA with the front proxy's name must not pass for the front proxy. So each pool
verifies on its own, and a subject alternative name isn't asked for.

Path building and signatures: cryptography's X.509 verification. Client use: RFC 5280,
section 4.2.1.12.
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import UnauthorizedError

__all__ = ["CertificatePool", "Subject"]

# A verdict is taken again after this long, so that a certificate expires on a kept
# connection too; and so many are remembered, one per connection in practice.
VERDICT_TTL_S = 60.0
MAX_VERDICTS = 1024


@dataclass(frozen=True, slots=True)
class Subject:
    """Who a verified certificate says its owner is."""

    common_name: str
    organizations: tuple[str, ...]


class CertificatePool:
    """The authorities of one PEM bundle.

    Raises
    ------
    ValueError
        If the bundle holds something else, or nothing.
    """

    def __init__(self, pem: str) -> None:
        authorities = x509.load_pem_x509_certificates(pem.encode())
        # Written anew: a bundle may hold comments, which the TLS layer refuses.
        self.pem = "".join(one.public_bytes(Encoding.PEM).decode() for one in authorities)
        self._store = verification.Store(authorities)
        self._verdicts: OrderedDict[tuple[bytes, ...], tuple[float, Subject | str]] = OrderedDict()

    def verify(self, chain: tuple[bytes, ...], unix_s: float) -> Subject:
        """Return the subject of `chain` (DER, leaf first) if an authority here vouches for it.

        Raises
        ------
        UnauthorizedError
            If none does, or the certificate isn't valid now or isn't for clients.
        """
        kept = self._verdicts.get(chain)
        if kept is None or not 0 <= unix_s - kept[0] < VERDICT_TTL_S:
            kept = (unix_s, self._judge(chain, unix_s))
            self._verdicts[chain] = kept
            if len(self._verdicts) > MAX_VERDICTS:
                self._verdicts.popitem(last=False)
        verdict = kept[1]
        if isinstance(verdict, str):
            raise UnauthorizedError(verdict)
        return verdict

    def _judge(self, chain: tuple[bytes, ...], unix_s: float) -> Subject | str:
        """Return the subject, or why there is none."""
        try:
            leaf, *intermediates = map(x509.load_der_x509_certificate, chain)
            verifier = (
                verification.PolicyBuilder()
                .store(self._store)
                .time(datetime.fromtimestamp(unix_s, tz=UTC))
                .extension_policies(ca_policy=_authority_policy(), ee_policy=_client_policy())
                .build_client_verifier()
            )
            verifier.verify(leaf, intermediates)
            return Subject(
                common_name=next(iter(_attributes(leaf, NameOID.COMMON_NAME)), ""),
                organizations=_attributes(leaf, NameOID.ORGANIZATION_NAME),
            )
        except (ValueError, verification.VerificationError) as exc:
            return f"the client certificate is refused: {exc}"


def _authority_policy() -> verification.ExtensionPolicy:
    """Return what an authority must be: marked as one. The rest is the cluster's affair."""
    any_criticality = verification.Criticality.AGNOSTIC
    return (
        verification.ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, any_criticality, _must_be_authority)
        .may_be_present(x509.KeyUsage, any_criticality, _must_sign_certificates)
    )


def _client_policy() -> verification.ExtensionPolicy:
    """Return what a client must be: fit for client use, if its uses are limited at all."""
    return verification.ExtensionPolicy.permit_all().may_be_present(
        x509.ExtendedKeyUsage, verification.Criticality.AGNOSTIC, _must_be_for_clients
    )


def _must_be_authority(
    _policy: verification.Policy, _certificate: x509.Certificate, constraints: x509.BasicConstraints
) -> None:
    if not constraints.ca:
        raise ValueError("its issuer is no certificate authority")


def _must_sign_certificates(
    _policy: verification.Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("its issuer may not sign certificates")


def _must_be_for_clients(
    _policy: verification.Policy,
    _certificate: x509.Certificate,
    usage: x509.ExtendedKeyUsage | None,
) -> None:
    allowed = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if usage is not None and allowed.isdisjoint(usage):
        raise ValueError("it is not for client authentication")


def _attributes(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> tuple[str, ...]:
    return tuple(str(one.value) for one in certificate.subject.get_attributes_for_oid(oid))
