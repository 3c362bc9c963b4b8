import time

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from adapter.errors import UnauthorizedError
from adapter.external_metrics import certificates
from adapter.external_metrics.certificates import CertificatePool, Subject
from tests.helpers.pki import CLIENT, SERVER, TestAuthority

NOW = time.time()
DAY = 86_400.0
CA = TestAuthority()
POOL = CertificatePool(CA.pem)


def verify(credential, *, pool=POOL, unix_s=NOW, intermediates=()) -> Subject:
    return pool.verify((credential.der, *(one.der for one in intermediates)), unix_s)


def test_the_subject_is_name_and_organizations():
    credential = CA.issue("alice", organizations=("dev", "ops"))
    assert verify(credential) == Subject("alice", ("dev", "ops"))


@pytest.mark.parametrize(
    "uses",
    [
        pytest.param((CLIENT,), id="client"),
        pytest.param((SERVER, CLIENT), id="both"),
        pytest.param((ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), id="any"),
        pytest.param(None, id="not-limited"),
    ],
)
def test_uses_that_include_clients(uses):
    assert verify(CA.issue("alice", uses=uses)).common_name == "alice"


@pytest.mark.parametrize(
    ("credential", "why"),
    [
        pytest.param(CA.issue("a", uses=(SERVER,)), "not for client", id="server-certificate"),
        pytest.param(CA.issue("a", days=(-2, -1)), "not valid", id="expired"),
        pytest.param(CA.issue("a", days=(1, 2)), "not valid", id="not-yet-valid"),
        pytest.param(TestAuthority("other").issue("a"), "refused", id="other-authority"),
        pytest.param(
            TestAuthority("ca").issue("a"), "refused", id="other-authority-of-the-same-name"
        ),
        pytest.param(TestAuthority("other").credential, "refused", id="self-signed"),
    ],
)
def test_refused(credential, why):
    with pytest.raises(UnauthorizedError, match=why):
        verify(credential)


def test_an_authority_that_is_none_vouches_for_nobody():
    fake = TestAuthority("no-ca", ca=False)
    with pytest.raises(UnauthorizedError):
        verify(fake.issue("a"), pool=CertificatePool(fake.pem))


def test_an_intermediate_is_used_where_it_is_presented_or_known():
    intermediate = TestAuthority("between", issuer=CA)
    leaf = intermediate.issue("alice")
    assert verify(leaf, intermediates=[intermediate.credential]).common_name == "alice"
    assert verify(leaf, pool=CertificatePool(CA.pem + intermediate.pem)).common_name == "alice"
    with pytest.raises(UnauthorizedError):
        verify(leaf)


def test_a_client_certificate_can_t_sign_another():
    leaf = CA.issue("alice")
    forged = TestAuthority("alice")
    with pytest.raises(UnauthorizedError):
        verify(forged.issue("admin"), intermediates=[leaf])


@pytest.mark.parametrize("chain", [(b"",), (b"not DER",), (b"\x30\x00",)])
def test_garbage_is_refused(chain):
    with pytest.raises(UnauthorizedError):
        POOL.verify(chain, NOW)


def test_a_bundle_of_several_authorities_trusts_each_and_may_hold_comments():
    other = TestAuthority("other")
    pool = CertificatePool(f"# alt: Zertifikat für alles\n{CA.pem}\nnoise\n{other.pem}")
    assert verify(CA.issue("a"), pool=pool).common_name == "a"
    assert verify(other.issue("b"), pool=pool).common_name == "b"
    assert pool.pem.isascii()
    assert len(x509.load_pem_x509_certificates(pool.pem.encode())) == 2


@pytest.mark.parametrize(
    "pem", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_what_is_no_bundle_is_an_error(pem):
    with pytest.raises(ValueError):
        CertificatePool(pem)


def test_a_verdict_is_kept_for_a_minute_and_then_taken_again():
    pool = CertificatePool(CA.pem)
    credential = CA.issue("alice", days=(-1, 1))
    assert verify(credential, pool=pool).common_name == "alice"
    assert len(pool._verdicts) == 1
    assert verify(credential, pool=pool, unix_s=NOW + 59).common_name == "alice"
    assert pool._verdicts[(credential.der,)][0] == NOW
    with pytest.raises(UnauthorizedError, match="not valid"):
        verify(credential, pool=pool, unix_s=NOW + 2 * DAY)


def test_verdicts_are_bounded(monkeypatch):
    monkeypatch.setattr(certificates, "MAX_VERDICTS", 3)
    pool = CertificatePool(CA.pem)
    for i in range(5):
        verify(CA.issue(str(i)), pool=pool)
    assert len(pool._verdicts) == 3
