"""TLS for the scaler's listener: certificates from files, followed when they are renewed."""

import logging
import ssl
from pathlib import Path

import grpc

from adapter.config import KedaSettings, TlsFiles
from adapter.errors import ConfigError

__all__ = ["server_credentials"]

logger = logging.getLogger(__name__)


def server_credentials(settings: KedaSettings) -> grpc.ServerCredentials | None:
    """Return TLS credentials, with client certificates if a CA for them is given.

    None means plaintext. The files are looked at before each handshake, so a renewed
    certificate is used by the next connection.

    Raises
    ------
    ConfigError
        If the files can't be used, or a client CA is given without a certificate of our own.
    """
    if settings.tls is None:
        if settings.client_ca_file is not None:
            raise ConfigError(
                "keda.client_ca_file needs keda.tls: clients are checked over TLS only"
            )
        return None
    files = _CertificateFiles(settings.tls, settings.client_ca_file)
    return grpc.dynamic_ssl_server_credentials(
        files.load(),
        files.changed,
        require_client_authentication=settings.client_ca_file is not None,
    )


class _CertificateFiles:
    """Key, certificate and client CA as they were last used."""

    def __init__(self, tls: TlsFiles, client_ca_file: Path | None) -> None:
        self._tls = tls
        self._client_ca_file = client_ca_file
        self._used: tuple[bytes, bytes, bytes | None] | None = None

    def load(self) -> grpc.ServerCertificateConfiguration:
        """Return what the files hold."""
        content = self._read()
        self._check()
        self._used = content
        key, certificate, client_ca = content
        return grpc.ssl_server_certificate_configuration(
            [(key, certificate)], root_certificates=client_ca
        )

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what the files hold if it is new and good; called by gRPC's own threads."""
        try:
            if self._read() == self._used:
                return None
            renewed = self.load()
        except ConfigError as exc:
            # Key and certificate are two files: between the two writes they don't match.
            logger.warning("KEDA scaler: certificate not renewed, the old one stays: %s", exc)
            return None
        logger.info("KEDA scaler: certificate renewed from %s", self._tls.cert_file)
        return renewed

    def _read(self) -> tuple[bytes, bytes, bytes | None]:
        try:
            return (
                self._tls.key_file.read_bytes(),
                self._tls.cert_file.read_bytes(),
                self._client_ca_file.read_bytes() if self._client_ca_file is not None else None,
            )
        except OSError as exc:
            raise ConfigError(f"cannot read the certificates under keda: {exc}") from exc

    def _check(self) -> None:
        """Try the files with Python's TLS: gRPC would take anything and fail at handshakes."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # A password, or OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self._tls.cert_file, self._tls.key_file, password="")
        except (OSError, ValueError) as exc:
            raise ConfigError(
                f"keda.tls: {self._tls.cert_file} and {self._tls.key_file} are no certificate "
                f"with its unencrypted key: {exc}"
            ) from exc
        if self._client_ca_file is None:
            return
        try:
            context.load_verify_locations(self._client_ca_file)
        except OSError as exc:
            raise ConfigError(
                f"keda.client_ca_file: {self._client_ca_file} holds no CA certificate: {exc}"
            ) from exc
