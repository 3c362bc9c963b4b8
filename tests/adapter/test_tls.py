import asyncio
import contextlib
import socket
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from adapter.config import ApiSettings, ApiTlsFiles
from adapter.errors import ConfigError
from adapter.self_made import PAIR_LIFE, PAIR_RENEWAL
from adapter.tls import ServingTls
from tests.helpers.clocks import ManualClock
from tests.helpers.pki import SERVER, Credential, TestAuthority


def clock_now() -> ManualClock:
    return ManualClock(unix_offset_s=time.time() - 1000.0)


def self_made(state_dir: Path | None = None, clock: ManualClock | None = None) -> ServingTls:
    settings = ApiSettings(host="127.0.0.1")
    return ServingTls(settings, state_dir=state_dir, clock=clock or clock_now())


@contextlib.contextmanager
def listening(context: ssl.SSLContext) -> Iterator[int]:
    """Run a TLS listener that answers every connection with the peer's certificate length."""

    def serve() -> None:
        while True:
            try:
                raw, _ = server.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), context.wrap_socket(raw, server_side=True) as tls:
                tls.sendall(str(len(tls.getpeercert(binary_form=True) or b"")).encode())

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@dataclass(frozen=True)
class Seen:
    certificate: bytes
    version: str
    protocol: str | None
    client_certificate_bytes: int


def connect(port: int, context: ssl.SSLContext, *, name: str = "localhost") -> Seen:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as raw,
        context.wrap_socket(raw, server_hostname=name) as tls,
    ):
        answer = tls.recv(100)
        return Seen(
            tls.getpeercert(binary_form=True),
            tls.version(),
            tls.selected_alpn_protocol(),
            int(answer),
        )


def trusting(pem: bytes) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=pem.decode())


def unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class TestSelfMade:
    @pytest.mark.parametrize("name", ["wva.wva-system.svc", "localhost", "127.0.0.1"])
    def test_clients_with_the_bundle_accept_it_under_its_names(self, name):
        tls = self_made()
        with listening(tls.context) as port:
            assert connect(port, trusting(tls.bundle_pem), name=name).certificate

    def test_and_under_no_other(self):
        tls = self_made()
        with listening(tls.context) as port, pytest.raises(ssl.SSLCertVerificationError):
            connect(port, trusting(tls.bundle_pem), name="wva.wva-system.svc.cluster.local")

    def test_it_is_renewed_without_a_restart_under_the_same_bundle(self):
        clock = clock_now()
        tls = self_made(clock=clock)
        bundle = tls.bundle_pem
        with listening(tls.context) as port:
            before = connect(port, unchecked()).certificate
            tls.refresh()
            assert connect(port, unchecked()).certificate == before
            clock.advance((PAIR_LIFE - PAIR_RENEWAL + timedelta(hours=1)).total_seconds())
            tls.refresh()
            assert connect(port, unchecked()).certificate != before
            assert tls.bundle_pem == bundle

    def test_the_state_folder_keeps_it_over_a_restart_readable_by_the_owner_alone(self, tmp_path):
        folder = tmp_path / "state"
        first, second = self_made(folder), self_made(folder)
        assert first.bundle_pem == second.bundle_pem == (folder / "ca.crt").read_bytes()
        with listening(first.context) as one, listening(second.context) as two:
            assert connect(one, unchecked()).certificate == connect(two, unchecked()).certificate
        (kept,) = folder.glob("*.json")
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert len(list(folder.iterdir())) == 2, "no half-written files are left"

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"tls.crt": "x"}', '{"tls.crt": 5}'])
    def test_a_broken_state_is_made_anew_and_said(self, tmp_path, content, caplog):
        (tmp_path / "serving-certificates.json").write_text(content)
        tls = self_made(tmp_path)
        assert "can't be used, new certificates are made" in caplog.text
        with listening(tls.context) as port:
            assert connect(port, trusting(tls.bundle_pem)).certificate

    def test_no_private_key_is_left_in_a_file(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        self_made()
        assert list(tmp_path.iterdir()) == []


class Files:
    """A certificate and key on disk, as a Secret's mount has them."""

    def __init__(self, folder: Path) -> None:
        self.paths = ApiTlsFiles(cert_file=folder / "tls.crt", key_file=folder / "tls.key")
        self.authority = TestAuthority()

    def issue(self, name: str) -> Credential:
        return self.authority.issue(name, uses=(SERVER,))

    def write(self, credential: Credential, *, key: Credential | None = None) -> None:
        for path, text in (
            (self.paths.cert_file, credential.pem),
            (self.paths.key_file, (key or credential).key_pem),
        ):
            temporary = path.with_suffix(".new")
            temporary.write_text(text)
            temporary.replace(path)

    def serving(self) -> ServingTls:
        settings = ApiSettings(host="127.0.0.1", tls=self.paths)
        return ServingTls(settings, state_dir=None, clock=clock_now())


class TestFiles:
    def test_they_are_served_and_the_bundle_is_somebody_else_s(self, tmp_path):
        files, one = Files(tmp_path), None
        one = files.issue("one")
        files.write(one)
        tls = files.serving()
        assert tls.bundle_pem == b""
        with listening(tls.context) as port:
            assert connect(port, unchecked()).certificate == one.der

    def test_new_files_are_served_to_new_connections(self, tmp_path):
        files = Files(tmp_path)
        one, two = files.issue("one"), files.issue("two")
        files.write(one)
        tls = files.serving()
        with listening(tls.context) as port:
            files.write(two)
            assert connect(port, unchecked()).certificate == one.der
            tls.refresh()
            assert connect(port, unchecked()).certificate == two.der

    def test_half_a_pair_is_not_served_and_the_whole_one_is_when_it_comes(self, tmp_path, caplog):
        files = Files(tmp_path)
        one, two = files.issue("one"), files.issue("two")
        files.write(one)
        tls = files.serving()
        with listening(tls.context) as port:
            files.write(two, key=one)
            tls.refresh()
            assert connect(port, unchecked()).certificate == one.der
            assert "the old one stays" in caplog.text
            files.write(two)
            tls.refresh()
            assert connect(port, unchecked()).certificate == two.der

    def test_a_fault_is_said_once(self, tmp_path, caplog):
        files = Files(tmp_path)
        files.write(files.issue("one"))
        tls = files.serving()
        files.paths.key_file.unlink()
        for _ in range(3):
            tls.refresh()
        assert len([r for r in caplog.records if "the old one stays" in r.getMessage()]) == 1

    def test_bad_files_at_the_start_are_an_error_that_names_them(self, tmp_path):
        with pytest.raises(ConfigError, match=r"can't serve the certificate .*tls\.crt"):
            Files(tmp_path).serving()

    async def test_the_watch_looks_again_and_again(self, tmp_path, monkeypatch):
        monkeypatch.setattr("adapter.tls.POLL_S", 0.005)
        files = Files(tmp_path)
        files.write(files.issue("one"))
        tls = files.serving()
        stamp = tls._stamp
        task = asyncio.ensure_future(tls.renew())
        files.write(files.issue("two"))
        async with asyncio.timeout(5):
            while tls._stamp == stamp:
                await asyncio.sleep(0.005)
        task.cancel()


class TestHandshake:
    @pytest.mark.parametrize(
        ("version", "name"),
        [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")],
    )
    def test_accepted_versions(self, version, name):
        context = unchecked()
        context.minimum_version = context.maximum_version = version
        with listening(self_made().context) as port:
            assert connect(port, context).version == name

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
    def test_older_versions_are_refused(self):
        context = unchecked()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with listening(self_made().context) as port, pytest.raises((ssl.SSLError, OSError)):
            connect(port, context)

    def test_the_protocol_is_http_1_1(self):
        context = unchecked()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with listening(self_made().context) as port:
            assert connect(port, context).protocol == "http/1.1"


@dataclass(frozen=True)
class Authorities:
    authorities_pem: str


class TestClientCertificates:
    def client(self, credential: Credential, folder: Path) -> ssl.SSLContext:
        context = unchecked()
        credential.load_into(context, folder)
        return context

    def test_none_is_asked_for_until_it_is_known_whom_to_trust(self, tmp_path):
        tls, authority = self_made(), TestAuthority()
        client = self.client(authority.issue("alice"), tmp_path)
        with listening(tls.context) as port:
            assert connect(port, client).client_certificate_bytes == 0
            tls.trust_clients(Authorities(authority.pem))
            assert connect(port, client).client_certificate_bytes > 0
            assert connect(port, unchecked()).client_certificate_bytes == 0

    def test_a_new_authority_is_trusted_beside_the_old_one(self, tmp_path):
        tls, old, new = self_made(), TestAuthority("old"), TestAuthority("new")
        tls.trust_clients(Authorities(old.pem))
        tls.trust_clients(Authorities(new.pem))
        tls.trust_clients(Authorities(new.pem))
        with listening(tls.context) as port:
            for authority in (old, new):
                client = self.client(authority.issue("alice"), tmp_path)
                assert connect(port, client).client_certificate_bytes > 0

    def test_an_unknown_authority_s_is_refused_in_the_handshake(self, tmp_path):
        tls = self_made()
        tls.trust_clients(Authorities(TestAuthority().pem))
        client = self.client(TestAuthority("rogue").issue("alice"), tmp_path)
        with listening(tls.context) as port, pytest.raises((ssl.SSLError, OSError, ValueError)):
            connect(port, client)

    def test_without_any_authority_nothing_changes(self):
        tls = self_made()
        tls.trust_clients(Authorities(""))
        assert tls.context.verify_mode is ssl.CERT_NONE
