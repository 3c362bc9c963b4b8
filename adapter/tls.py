"""The TLS context of the API, always ready to serve: certificates change, it stays.

The certificate comes from files that somebody else renews, from what all replicas share
(see kube/serving_secret), or is made here (self_made) and kept in the state folder if there
is one, so that clients' bundle outlives a restart.
New connections use what is newest; a change that can't be used leaves what was.

Client certificates: asked for once it is known whom to trust, never required. OpenSSL
then refuses certificates of unknown authorities in the handshake; which of the known
ones signed is decided elsewhere, on the certificate. An authority that was withdrawn
still passes the handshake, and nothing else.
"""

import asyncio
import contextlib
import json
import logging
import os
import ssl
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from .clock import Clock
from .config import ApiSettings, ApiTlsFiles, TlsFiles
from .errors import ConfigError
from .self_made import SelfMade, ServingPair, renewed, serving_names

__all__ = ["ClientAuthorities", "ServingTls", "server_context"]

logger = logging.getLogger(__name__)

POLL_S = 10.0

_STATE_FILE = "serving-certificates.json"
_BUNDLE_FILE = "ca.crt"


class ClientAuthorities(Protocol):
    """Whose client certificates get through the handshake."""

    @property
    def authorities_pem(self) -> str:
        """Return the authorities, PEM; empty for none."""
        ...


class ServingTls:
    """Holds the context and keeps its certificate current.

    Attributes
    ----------
    context : ssl.SSLContext
        For the listener; changed in place.
    bundle_pem : bytes
        What clients must trust; empty with certificate files without a `ca_file`, whose
        owner knows.

    Raises
    ------
    ConfigError
        If the certificate files can't be used.
    """

    def __init__(self, settings: ApiSettings, *, state_dir: Path | None, clock: Clock) -> None:
        self._files = settings.tls
        self._names = serving_names(
            service=settings.service_name,
            namespace=settings.service_namespace,
            host=settings.host,
        )
        self._state_dir = state_dir
        self._clock = clock
        self._stamp: tuple[tuple[int, ...], ...] = ()
        self._self_made: SelfMade | None = None
        self._shared = False
        self.context = server_context()
        if self._files is not None:
            self._stamp = _stamp(self._files)
            _load_files(self.context, self._files)
        else:
            self._self_made = _read_state(state_dir)
            self._serve(renewed(self._self_made, self._names, self._now()))

    @property
    def bundle_pem(self) -> bytes:
        if self._self_made is not None:
            return self._self_made.bundle_pem
        return _ca_file(self._files) if self._files is not None else b""

    def client_context(self) -> ssl.SSLContext:
        """Return a context for connections to other replicas, which serve the same."""
        bundle = self.bundle_pem.decode("ascii", "replace")
        return ssl.create_default_context(cadata=bundle or None)

    def take(self, shared: SelfMade) -> None:
        """Serve what all replicas share, from now on; it is renewed by whoever shares it."""
        self._shared = True
        if shared != self._self_made:
            self._serve(shared)
            logger.info("serving the certificate that the replicas share")

    def trust_clients(self, authorities: ClientAuthorities) -> None:
        """Ask new connections for a certificate, of these authorities or earlier ones."""
        pem = authorities.authorities_pem
        if pem:
            self.context.load_verify_locations(cadata=pem)
            self.context.verify_mode = ssl.CERT_OPTIONAL

    async def renew(self) -> None:
        """Look after the certificate until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            self.refresh()

    def refresh(self) -> None:
        """Take new certificate files into use, or renew what is self-made, if due."""
        if self._files is not None:
            self._reload(self._files)
            return
        if self._shared:
            return
        state = renewed(self._self_made, self._names, self._now())
        if state is not self._self_made:
            self._serve(state)
            logger.info("the self-made serving certificate was renewed")

    def _reload(self, files: TlsFiles) -> None:
        stamp = _stamp(files)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            # The files are replaced one after the other: try the pair apart from the
            # connections, which would fail with half of one.
            _load_files(server_context(), files)
            _load_files(self.context, files)
        except ConfigError as exc:
            logger.error("the new certificate is not used, the old one stays: %s", exc)
            return
        logger.info("serving the new certificate in %s", files.cert_file)

    def _serve(self, state: SelfMade) -> None:
        with _as_file(state.pair) as path:
            self.context.load_cert_chain(path)
        if self._state_dir is not None and state is not self._self_made:
            _write_state(self._state_dir, state)
        self._self_made = state

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.unix_s(), tz=UTC)


def server_context() -> ssl.SSLContext:
    """Return a context for servers without a certificate yet: TLS 1.2 and later."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # As in Go, a bundle's certificate is trusted whether or not it signed itself.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load_files(context: ssl.SSLContext, files: TlsFiles) -> None:
    try:
        context.load_cert_chain(files.cert_file, files.key_file)
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"can't serve the certificate {files.cert_file} with the key {files.key_file}: {exc}"
        ) from exc


def _ca_file(files: ApiTlsFiles) -> bytes:
    if files.ca_file is None:
        return b""
    try:
        return files.ca_file.read_bytes()
    except OSError as exc:
        logger.error("api.tls.ca_file can't be read, clients aren't told of it: %s", exc)
        return b""


def _stamp(files: TlsFiles) -> tuple[tuple[int, ...], ...]:
    """Return what changes when the files do; a Secret's update changes the inodes."""
    stamps: list[tuple[int, ...]] = []
    for path in (files.cert_file, files.key_file):
        try:
            status = path.stat()
            stamps.append((status.st_mtime_ns, status.st_size, status.st_ino))
        except OSError:
            stamps.append(())
    return tuple(stamps)


@contextlib.contextmanager
def _as_file(pair: ServingPair) -> Iterator[str]:
    """Give the pair a path, which OpenSSL insists on; in memory where the system can."""
    content = pair.certificate_pem + pair.key_pem
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("wva-tls")
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile() as file:  # readable by the owner alone
        file.write(content)
        file.flush()
        yield file.name


def _read_state(folder: Path | None) -> SelfMade | None:
    """Return what was kept; None if there is nothing, or nothing that can be used."""
    path = folder / _STATE_FILE if folder is not None else None
    if path is None or not path.exists():
        return None
    try:
        kept = json.loads(path.read_text(encoding="ascii"))
        return SelfMade.from_mapping({name: text.encode() for name, text in kept.items()})
    except (OSError, ValueError, AttributeError, ConfigError) as exc:
        logger.warning("%s can't be used, new certificates are made: %s", path, exc)
        return None


def _write_state(folder: Path, state: SelfMade) -> None:
    """Keep the state, whole or not at all, and the bundle beside it for clients."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps({name: pem.decode() for name, pem in state.to_mapping().items()})
    _write_whole(folder / _STATE_FILE, content.encode(), mode=0o600)
    _write_whole(folder / _BUNDLE_FILE, state.bundle_pem, mode=0o644)


def _write_whole(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file so that whoever reads it finds all of it, or what was there before."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
    Path(file.name).replace(path)
