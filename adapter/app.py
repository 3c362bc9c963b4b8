"""The composition root of the serving process: builds, starts, drains, stops.

Owns the signals. Servers only read the store; the loop runs in a process of its own
(see supervisor.py) and nothing here waits for it.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from starlette.routing import Route

from . import __version__
from .clock import Clock, SystemClock, boot_id
from .config import ApiSettings, HealthSettings, Settings
from .deciding import Deciding
from .external_metrics.access import Authorizer
from .external_metrics.api import create_api
from .external_metrics.auth import Authenticator
from .external_metrics.gate import Guard, KubernetesGuard, OpenGuard
from .external_metrics.server import ApiServer
from .external_metrics.trust import Trust, TrustKeeper
from .health import Readiness, build_health_app
from .heap import settle_heap
from .keda.server import KedaServer
from .keeper import StateKeeper
from .kept_state import StateStore
from .kube.place import in_cluster
from .publish import SERVED_METRICS
from .role import Alone, Role
from .state_file import StateFile
from .store import Store
from .supervisor import LoopProcess
from .telemetry import Telemetry
from .tls import ServingTls

if TYPE_CHECKING:
    from .cluster import Cluster
    from .kube.transport import KubeTransport

__all__ = ["serve"]

logger = logging.getLogger(__name__)

# Between "not ready" and closing the doors: a load balancer needs a moment to look away.
DRAIN_S = 1.0
GRPC_GRACE_S = 5.0


async def serve(
    settings: Settings,
    settings_path: Path | None,
    *,
    log_arguments: Sequence[str] = (),
    clock: Clock | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return."""
    clock = clock or SystemClock()
    stop = _stop_on_signals()
    store = Store(clock, metrics=SERVED_METRICS)
    # The stack ends first: what it holds has a task in the group, which waits for all.
    async with asyncio.TaskGroup() as group, AsyncExitStack() as stack:
        transport = await stack.enter_async_context(_connected(settings))
        cluster = _cluster(settings, transport, clock)
        role: Role = cluster.role if cluster is not None else Alone()
        telemetry = Telemetry(
            CollectorRegistry(), store=store, clock=clock, version=__version__, leads=role.leads
        )
        readiness = Readiness(store, clock, notes=cluster.notes if cluster is not None else tuple)
        keeper = StateKeeper(_stores(settings, cluster), clock, boot_id=boot_id(), leads=role.leads)
        await keeper.restore(store)
        tls = ServingTls(settings.api, state_dir=settings.state_dir, clock=clock)
        background: list[Callable[[], Coroutine[None, None, object]]]
        background = [telemetry.follow, tls.renew, keeper.run, partial(_settle, store)]
        if cluster is not None:
            await cluster.share_certificate(tls)
            telemetry.watch_api_service(cluster.foreign_api_service)
            background += [partial(cluster.run, tls), partial(cluster.announce, store)]
        guard, problem = await stack.enter_async_context(
            _guarded(settings, transport, clock, group, tls.trust_clients)
        )
        routes = cluster.routes(keeper) if cluster is not None else ()
        checks = _checks(readiness, problem)
        api = _api(
            settings.api,
            store,
            clock,
            tls,
            guard=guard,
            checks=checks,
            telemetry=telemetry,
            routes=routes,
        )
        health = _health(settings.health, telemetry, readiness)
        keda = KedaServer(settings.keda, store, served=telemetry.request_counter("keda"))
        telemetry.watch_streams(lambda: keda.scaler.open_streams)

        tasks = [group.create_task(work()) for work in background]
        servers = [group.create_task(api.serve()), group.create_task(health.serve())]
        if settings.keda.enabled:
            await keda.start()
        deciding = Deciding(
            role,
            LoopProcess(settings_path, log_arguments=log_arguments),
            store,
            keeper,
            clock,
            tick_failed=telemetry.tick_failed,
            # Who is alone leads, and is never asked to follow.
            follow=lambda: cluster.follow(keeper, store, tls) if cluster else asyncio.sleep(0),
        )
        part = group.create_task(deciding.run(stop))
        logger.info(
            "serving",
            extra={"api": api.address[1], "health": health.address[1], "keda": keda.port},
        )
        await stop.wait()
        await _drained(readiness, keda, part)
        api.stop()
        health.stop()
        await asyncio.gather(*servers)
        for task in tasks:
            task.cancel()
    logger.info("stopped")


async def _drained(readiness: Readiness, keda: KedaServer, part: asyncio.Task[None]) -> None:
    """Turn new callers away, and wait until what is under way has ended."""
    readiness.drain()
    logger.info("draining")
    await asyncio.sleep(DRAIN_S)
    await keda.stop(GRPC_GRACE_S)
    # Whoever has a connection still asks over it until this process is gone.
    await part


def _api(
    settings: ApiSettings,
    store: Store,
    clock: Clock,
    tls: ServingTls,
    *,
    guard: Guard,
    checks: Callable[[], Mapping[str, str]],
    telemetry: Telemetry,
    routes: Sequence[Route],
) -> ApiServer:
    application = create_api(
        store,
        clock=clock,
        guard=guard,
        checks=checks,
        adapter_version=__version__,
        observe=_observer(telemetry),
        more=routes,
    )
    return ApiServer(application, host=settings.host, port=settings.port, context=tls.context)


def _health(settings: HealthSettings, telemetry: Telemetry, readiness: Readiness) -> ApiServer:
    application = build_health_app(
        telemetry.registry, readiness, served=telemetry.request_counter("health")
    )
    return ApiServer(application, host=settings.host, port=settings.port, context=None)


async def _settle(store: Store) -> None:
    """Give back what starting up used, once there is something to serve."""
    await store.changed(store.sequence)
    settle_heap()


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator["KubeTransport | None"]:
    """Give connections to the Kubernetes API if it knows the callers or the variants."""
    watches = settings.kubernetes.wanted(in_cluster=in_cluster())
    if settings.api.auth == "none" and not watches:
        yield None
        return
    # Half a second and 46 MB that only a cluster needs.
    from .kube.transport import connect

    async with connect() as transport:
        yield transport


def _cluster(
    settings: Settings, transport: "KubeTransport | None", clock: Clock
) -> "Cluster | None":
    if transport is None:
        return None
    from .cluster import Cluster

    return Cluster(settings, transport, clock)


def _stores(settings: Settings, cluster: "Cluster | None") -> Sequence[StateStore]:
    folder = [StateFile(settings.state_dir)] if settings.state_dir is not None else []
    return [*folder, *(cluster.stores() if cluster is not None else ())]


def _stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set, however often they come."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


@asynccontextmanager
async def _guarded(
    settings: Settings,
    transport: "KubeTransport | None",
    clock: Clock,
    group: asyncio.TaskGroup,
    trusted: Callable[[Trust], None],
) -> AsyncIterator[tuple[Guard, Callable[[], str]]]:
    """Give who decides about callers, and what keeps that from working, if anything."""
    if transport is None or settings.api.auth == "none":
        logger.warning("api.auth is none: whoever reaches %s may read", settings.api.host)
        yield OpenGuard(), lambda: ""
        return
    from .kube.reviews import KubeReviewer

    reviewer = KubeReviewer(transport)
    keeper = TrustKeeper(reviewer, changed=trusted)
    following = group.create_task(keeper.run())
    try:
        yield (
            KubernetesGuard(
                Authenticator(keeper, reviewer, clock=clock),
                Authorizer(reviewer, clock=clock),
            ),
            lambda: keeper.problem if keeper.trust is None else "",
        )
    finally:
        following.cancel()


def _checks(readiness: Readiness, problem: Callable[[], str]) -> Callable[[], Mapping[str, str]]:
    def checks() -> Mapping[str, str]:
        return {"decisions": "; ".join(readiness.failures()), "authentication": problem()}

    return checks


def _observer(telemetry: Telemetry) -> Callable[[str, int], None]:
    count = telemetry.request_counter("api")

    def observe(_kind: str, status: int) -> None:
        count(str(status))

    return observe
