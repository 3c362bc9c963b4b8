"""The gRPC listener for KEDA: sockets, certificates, health, reflection; no answers.

KEDA holds one connection per scaler address, with many idle streams on it, and sends no
keep-alive pings itself, so we do: a path that died is noticed here within half a minute.
"""

import logging
from collections.abc import Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from adapter.config import KedaSettings
from adapter.errors import AdapterError
from adapter.store import Store

from ._generated import externalscaler_pb2, externalscaler_pb2_grpc
from .credentials import server_credentials
from .servicer import ExternalScaler

__all__ = ["SERVICE", "KedaServer", "ListenError"]

logger = logging.getLogger(__name__)

SERVICE = externalscaler_pb2.DESCRIPTOR.services_by_name["ExternalScaler"].full_name

_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Clients may ping, too, without being sent away as a nuisance.
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    # A trigger's metadata is small, and whoever sends more is not KEDA.
    ("grpc.max_receive_message_length", 256 * 1024),
    # Or a second process would silently share the port and answer every other request.
    ("grpc.so_reuseport", 0),
)
# Streams included: one per ScaledObject and trigger, and twice that for StreamMetricSpec.
_MAX_CONCURRENT_RPCS = 20_000


class ListenError(AdapterError):
    """The address can't be listened on."""


class KedaServer:
    """Serves the external scaler from `start` to `stop`.

    Parameters
    ----------
    settings : KedaSettings
    store : Store
        Where decisions are read.
    served : callable
        Told the gRPC code of every answer.
    """

    def __init__(
        self,
        settings: KedaSettings,
        store: Store,
        *,
        served: Callable[[str], None] = lambda _code: None,
    ) -> None:
        self._settings = settings
        self.scaler = ExternalScaler(store, namespaces=settings.namespaces, served=served)
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen; `port` is then the port, which the settings may leave open (0).

        Raises
        ------
        ConfigError
            If a certificate can't be used.
        ListenError
            If the address is taken or isn't ours.
        """
        credentials = server_credentials(self._settings)
        server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_MAX_CONCURRENT_RPCS)
        externalscaler_pb2_grpc.add_ExternalScalerServicer_to_server(self.scaler, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        address = _address(self._settings.host, self._settings.port)
        try:
            if credentials is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, credentials)
        except RuntimeError as exc:
            raise ListenError(
                f"cannot listen on {address} for KEDA: {exc}; set keda.host or keda.port, or "
                "keda.enabled: false"
            ) from exc
        await server.start()
        self._server = server
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        logger.info("KEDA scaler listening", extra={"address": address, "port": self.port})

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, end streams, and give calls under way `grace_s` to finish."""
        server, self._server = self._server, None
        if server is None:
            return
        await self._health.enter_graceful_shutdown()
        self.scaler.drain()
        await server.stop(grace_s)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
