"""What an adapter in a cluster has beside its decisions: a leader, shared state, an APIService.

Events and statuses are told in every cluster, the rest as the settings ask. Loaded only where
there is one: the Kubernetes client takes half a second and 46 MB.
"""

import asyncio
import logging
import socket
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.routing import Route

from .announce.announcer import Announcer
from .clock import Clock
from .config import Settings
from .external_metrics.state_stream import STREAM_PATH, state_stream
from .follower import Follower
from .keeper import StateKeeper
from .kept_state import StateStore
from .kube.api_service import ApiServiceKeeper
from .kube.election import Election
from .kube.serving_secret import ServingSecret
from .kube.state_maps import StateMaps
from .kube.transport import KubeTransport
from .role import Alone
from .self_made import serving_names
from .store import Store
from .tls import ServingTls

__all__ = ["Cluster"]

logger = logging.getLogger(__name__)

# Names that the Roles in manifests/ know.
SECRET_SUFFIX, OWNER_SUFFIX = "-tls", "-api-service"
LOOK_S = 10.0
# Starting doesn't wait longer for a Secret: an own certificate serves until it is there.
SECRET_PATIENCE_S = 5.0


class Cluster:
    """The parts of one replica that talk to Kubernetes, as the settings ask for them.

    Parameters
    ----------
    settings : Settings
    transport : KubeTransport
    clock : Clock
    """

    def __init__(self, settings: Settings, transport: KubeTransport, clock: Clock) -> None:
        self._settings, self._transport, self._clock = settings, transport, clock
        self._several = settings.high_availability.enabled
        api = settings.api
        self._names = serving_names(
            service=api.service_name, namespace=api.service_namespace, host=api.host
        )
        self.role = self._election() if self._several else Alone()
        self._follower: Follower | None = None
        self._secret = (
            ServingSecret(
                transport,
                namespace=api.service_namespace,
                name=f"{api.service_name}{SECRET_SUFFIX}",
                names=self._names,
                clock=clock,
            )
            if self._several and api.tls is None
            else None
        )
        self._api_service: ApiServiceKeeper | None = None
        self._announcer: Announcer | None = None

    def stores(self) -> Sequence[StateStore]:
        """Return where states are kept in the cluster."""
        if not self._several:
            return ()
        api = self._settings.api
        return (StateMaps(self._transport, namespace=api.service_namespace, name=api.service_name),)

    def routes(self, keeper: StateKeeper) -> Sequence[Route]:
        """Return what other replicas read."""
        if not self._several:
            return ()
        return (Route(STREAM_PATH, state_stream(keeper, self.role.leads)),)

    async def share_certificate(self, tls: ServingTls) -> None:
        """Serve what the replicas share, if that is to be had soon."""
        if self._secret is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(SECRET_PATIENCE_S):
                shared = await self._secret.obtain()
                if shared is not None:
                    tls.take(shared)

    async def run(self, tls: ServingTls) -> None:
        """Take part in the election, and look after certificates and the APIService."""
        self._api_service = self._new_api_service(lambda: tls.bundle_pem)
        async with asyncio.TaskGroup() as group:
            if isinstance(self.role, Election):
                group.create_task(self.role.run())
            group.create_task(self._look_after(tls))

    async def follow(self, keeper: StateKeeper, store: Store, tls: ServingTls) -> None:
        """Take what the leader publishes, until cancelled."""
        assert isinstance(self.role, Election)  # noqa: S101 - nobody follows alone
        election = self.role
        self._follower = Follower(
            keeper,
            store,
            leader_address=lambda: election.leader_address,
            authorization=self._transport.authorization,
            context=tls.client_context,
            path=STREAM_PATH,
            server_name=self._names[0],
            clock=self._clock,
        )
        try:
            await self._follower.run()
        finally:
            self._follower = None

    async def announce(self, store: Store) -> None:
        """Tell the cluster of decisions while this replica leads, until cancelled."""
        self._announcer = Announcer(
            self._transport,
            store,
            self._clock,
            leads=self.role.leads,
            instance=socket.gethostname(),
        )
        await self._announcer.run()

    def foreign_api_service(self) -> bool:
        """Return whether the APIService is somebody else's."""
        return self._api_service is not None and bool(self._api_service.foreign_owner)

    def notes(self) -> tuple[str, ...]:
        """Return what is amiss here and keeps nobody from being served."""
        said = {
            "lease": self.role.problem if isinstance(self.role, Election) else "",
            "following": self._follower.problem if self._follower is not None else "",
            "secret": self._secret.problem if self._secret is not None else "",
            "api service": self._api_service.problem if self._api_service is not None else "",
            "events": self._announcer.problem if self._announcer is not None else "",
        }
        return tuple(f"{what}: {problem}" for what, problem in said.items() if problem)

    async def _look_after(self, tls: ServingTls) -> None:
        while True:
            leads = self.role.leads()
            if self._secret is not None:
                shared = await (
                    self._secret.renew(self._announce) if leads else self._secret.obtain()
                )
                if shared is not None:
                    tls.take(shared)
            if leads and self._api_service is not None:
                await self._api_service.ensure()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    # A new leader looks at once.
                    await self.role.until(leads=not self.role.elected)

    async def _announce(self, bundle: bytes) -> None:
        if self._api_service is not None:
            await self._api_service.ensure(bundle)

    def _new_api_service(self, bundle: Callable[[], bytes]) -> ApiServiceKeeper | None:
        api = self._settings.api
        if not api.manage_api_service:
            return None
        return ApiServiceKeeper(
            self._transport,
            service=api.service_name,
            namespace=api.service_namespace,
            port=api.service_port,
            cluster_role=f"{api.service_name}{OWNER_SUFFIX}",
            bundle=bundle,
        )

    def _election(self) -> Election:
        wanted, api = self._settings.high_availability, self._settings.api
        return Election(
            self._transport,
            namespace=api.service_namespace,
            name=wanted.lease,
            identity=f"{socket.gethostname()}_{uuid.uuid4().hex[:12]}",
            address=wanted.address or _own_address(api.host, api.port, self._transport.host),
            clock=self._clock,
        )


def _own_address(host: str, port: int, api_server: str) -> str:
    """Return where others reach this process: the address that the API server sees."""
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - compared, not bound
        to = urlsplit(api_server)
        family = socket.getaddrinfo(to.hostname, to.port or 443, type=socket.SOCK_DGRAM)[0][0]
        # Connecting a datagram socket sends nothing; it chooses the route.
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((to.hostname, to.port or 443))
            host = probe.getsockname()[0]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
