import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509 import verification

from adapter.errors import ConfigError
from adapter.self_made import (
    AUTHORITY_LIFE,
    AUTHORITY_RENEWAL,
    BACKDATE,
    BUNDLE_LEAD,
    PAIR_LIFE,
    PAIR_RENEWAL,
    SelfMade,
    renewed,
    serving_names,
)

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
NAMES = ("wva.wva-system.svc",)
SECOND = timedelta(seconds=1)


def verifies(state: SelfMade, bundle: bytes, now: datetime, name: str = NAMES[0]) -> bool:
    """Return whether a client that holds `bundle` accepts what is served."""
    store = verification.Store(x509.load_pem_x509_certificates(bundle))
    builder = verification.PolicyBuilder().store(store).time(now)
    try:
        builder.build_server_verifier(x509.DNSName(name)).verify(state.pair.certificate, [])
    except verification.VerificationError:
        return False
    return True


@pytest.mark.parametrize(
    ("host", "names"),
    [
        pytest.param("0.0.0.0", ("s.n.svc",), id="all-interfaces"),
        pytest.param("10.0.0.7", ("s.n.svc",), id="one-interface"),
        pytest.param("127.0.0.1", ("s.n.svc", "localhost", "127.0.0.1"), id="loopback"),
        pytest.param("localhost", ("s.n.svc", "localhost", "127.0.0.1"), id="loopback-by-name"),
        pytest.param("::1", ("s.n.svc", "localhost", "127.0.0.1", "::1"), id="loopback-of-ipv6"),
    ],
)
def test_names(host, names):
    assert serving_names(service="s", namespace="n", host=host) == names


def test_the_certificate_is_for_exactly_its_names():
    state = renewed(None, ("s.n.svc", "localhost", "127.0.0.1"), NOW)
    names = state.pair.certificate.extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    ).value
    assert names.get_values_for_type(x509.DNSName) == ["s.n.svc", "localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.0.0.1")]
    assert verifies(state, state.bundle_pem, NOW, "s.n.svc")
    assert not verifies(state, state.bundle_pem, NOW, "s.n.svc.cluster.local")


def test_nothing_is_made_while_nothing_is_due():
    state = renewed(None, NAMES, NOW)
    assert renewed(state, NAMES, NOW + timedelta(hours=1)) is state
    assert renewed(state, NAMES, NOW + PAIR_LIFE - PAIR_RENEWAL - SECOND) is state


def test_the_certificate_is_renewed_before_its_end_and_the_authority_stays():
    state = renewed(None, NAMES, NOW)
    later = NOW + PAIR_LIFE - PAIR_RENEWAL + SECOND
    following = renewed(state, NAMES, later)
    assert following.pair.certificate != state.pair.certificate
    assert following.authorities == state.authorities
    assert verifies(following, state.bundle_pem, later)


def test_other_names_are_a_new_certificate():
    state = renewed(None, NAMES, NOW)
    assert verifies(renewed(state, ("other.svc",), NOW), state.bundle_pem, NOW, "other.svc")


def test_authorities_overlap_so_that_no_client_is_ever_without():
    """A new authority is announced before it signs, and the old one stays until its end."""
    state = renewed(None, NAMES, NOW)
    began = NOW + AUTHORITY_LIFE - AUTHORITY_RENEWAL + SECOND
    state = renewed(state, NAMES, began - timedelta(days=40))
    old_bundle = state.bundle_pem
    announced = renewed(state, NAMES, began)
    assert len(announced.authorities) == 2
    assert old_bundle in announced.bundle_pem
    assert verifies(announced, old_bundle, began), "still signed by what clients have"
    moment = began + BUNDLE_LEAD + SECOND
    signed = renewed(announced, NAMES, moment)
    assert not verifies(signed, old_bundle, moment)
    assert verifies(signed, announced.bundle_pem, moment)
    ended = NOW + AUTHORITY_LIFE + SECOND
    last = renewed(signed, NAMES, ended)
    assert len(last.authorities) == 1
    assert verifies(last, last.bundle_pem, ended)


def test_every_day_of_twenty_years_is_served_to_clients_a_day_behind():
    """Whoever took the bundle of the day before accepts what is served today."""
    state = renewed(None, NAMES, NOW)
    for week in range(1, 20 * 52):
        now = NOW + timedelta(days=7 * week)
        before = renewed(state, NAMES, now - timedelta(days=1))
        state = renewed(before, NAMES, now)
        certificate = state.pair.certificate
        assert certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc
        if week % 13 == 0:
            assert verifies(state, before.bundle_pem, now)
        assert any(
            authority.certificate.subject == certificate.issuer for authority in before.authorities
        )
        assert len(state.authorities) <= 2


def test_after_a_long_sleep_everything_is_new():
    state = renewed(None, NAMES, NOW)
    later = NOW + 2 * AUTHORITY_LIFE
    following = renewed(state, NAMES, later)
    assert set(following.authorities).isdisjoint(state.authorities)
    assert verifies(following, following.bundle_pem, later)


def test_it_is_valid_a_little_earlier_for_clients_whose_clock_is_behind():
    state = renewed(None, NAMES, NOW)
    assert verifies(state, state.bundle_pem, NOW - BACKDATE + SECOND)


def test_the_state_survives_a_round_trip():
    state = renewed(None, NAMES, NOW)
    state = renewed(state, NAMES, NOW + AUTHORITY_LIFE - AUTHORITY_RENEWAL + SECOND)
    assert SelfMade.from_mapping(state.to_mapping()) == state


@pytest.mark.parametrize("key", ["tls.crt", "tls.key", "ca.crt", "ca.key"])
@pytest.mark.parametrize(
    "change",
    [pytest.param(lambda _: None, id="missing"), pytest.param(lambda _: b"garbage", id="garbage")],
)
def test_a_broken_state_is_an_error(key, change):
    data = renewed(None, NAMES, NOW).to_mapping()
    value = change(data.pop(key))
    if value is not None:
        data[key] = value
    with pytest.raises(ConfigError, match="can't be used"):
        SelfMade.from_mapping(data)


def test_a_key_that_is_another_s_is_an_error():
    one, other = renewed(None, NAMES, NOW), renewed(None, NAMES, NOW)
    mixed = {**one.to_mapping(), "tls.key": other.to_mapping()["tls.key"]}
    with pytest.raises(ConfigError, match="can't be used"):
        SelfMade.from_mapping(mixed)
