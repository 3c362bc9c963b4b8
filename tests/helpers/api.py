"""The external metrics API on a real TLS listener, in a thread with a loop of its own."""

import asyncio
import contextlib
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

import httpx
import uvloop

from adapter.config import ApiSettings, ApiTlsFiles
from adapter.external_metrics.access import Authorizer
from adapter.external_metrics.api import create_api
from adapter.external_metrics.auth import Authenticator
from adapter.external_metrics.gate import KubernetesGuard, OpenGuard
from adapter.external_metrics.request import API_PREFIX
from adapter.external_metrics.server import ApiServer
from adapter.external_metrics.trust import TrustKeeper
from adapter.kube.identity import Identity
from adapter.publish import SERVED_METRICS
from adapter.records import Publication
from adapter.store import Store
from adapter.tls import ServingTls

from .clocks import ManualClock
from .pki import Credential, TestAuthority
from .reviewer import FakeReviewer, trust_data

HPA = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
SERVICE = "wva.wva-system.svc"


class ApiHarness:
    """One running API; `call` runs something in its loop, `client` talks to it."""

    def __init__(
        self, *, open_to_all: bool = False, trust: bool = True, files: ApiTlsFiles | None = None
    ) -> None:
        self.clock = ManualClock(unix_offset_s=time.time() - 1000.0)
        self.folder = Path(tempfile.mkdtemp(prefix="wva-api-"))
        self.kube_ca = TestAuthority("kubernetes")
        self.proxy_ca = TestAuthority("front-proxy-ca")
        self.front_proxy = self.proxy_ca.issue("front-proxy-client")
        self.answers: list[tuple[str, int]] = []
        self.checks: dict[str, str] = {"decisions": ""}
        self._open = open_to_all
        self._with_trust = trust
        self._files = files
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        if self._with_trust and not self._open:
            self.wait(lambda: self.keeper.trust is not None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.call(self.server.stop)
        self._thread.join(20)
        assert not self._thread.is_alive()
        shutil.rmtree(self.folder)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.store = Store(self.clock, metrics=SERVED_METRICS)
        settings = ApiSettings(host="127.0.0.1", port=0, tls=self._files)
        self.tls = ServingTls(settings, state_dir=None, clock=self.clock)
        self.reviewer = FakeReviewer(self.trust() if self._with_trust else None)
        self.reviewer.allow(HPA, "list", "*")
        self.reviewer.allow("system:authenticated", "get", "*")
        self.keeper = TrustKeeper(
            self.reviewer, changed=self.tls.trust_clients, retry_s=(0.02, 0.05)
        )
        guard = KubernetesGuard(
            Authenticator(self.keeper, self.reviewer, clock=self.clock),
            Authorizer(self.reviewer, clock=self.clock),
        )
        app = create_api(
            self.store,
            clock=self.clock,
            guard=OpenGuard() if self._open else guard,
            checks=lambda: self.checks,
            adapter_version="1.2.3",
            observe=lambda kind, status: self.answers.append((kind, status)),
        )
        self.server = ApiServer(app, host="127.0.0.1", port=0, context=self.tls.context)
        self.port = self.server.address[1]
        following = asyncio.create_task(self.keeper.run())
        self._ready.set()
        await self.server.serve()
        following.cancel()

    def trust(self, *, names: tuple[str, ...] = ("front-proxy-client",)) -> dict[str, str]:
        return trust_data(
            front_proxy=self.proxy_ca.pem, clients=self.kube_ca.pem, names=list(names)
        )

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run `function` in the server's loop and return its result."""
        done: Future[Any] = Future()

        def run() -> None:
            try:
                done.set_result(function(*args, **kwargs))
            except BaseException as exc:
                done.set_exception(exc)

        self.loop.call_soon_threadsafe(run)
        return done.result(10)

    def wait(self, condition: Callable[[], bool], *, seconds: float = 5.0) -> None:
        deadline = time.monotonic() + seconds
        while not self.call(condition):
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.005)

    def publish(self, publication: Publication) -> None:
        self.call(self.store.swap, publication, received_s=self.clock.monotonic_s())

    def set_trust(self, data: dict[str, str] | None) -> None:
        """Change the ConfigMap and wait until the change is in force."""
        before = self.keeper.trust
        self.call(self.reviewer.set_trust, data)
        self.wait(lambda: self.keeper.trust is not before)

    def context(self, credential: Credential | None = None) -> ssl.SSLContext:
        bundle = self.tls.bundle_pem.decode()
        context = ssl.create_default_context(cadata=bundle or None)
        if not bundle:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if credential is not None:
            credential.load_into(context, self.folder)
        return context

    def client(self, credential: Credential | None = None, *, headers: Any = None) -> httpx.Client:
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            verify=self.context(credential),
            headers=headers,
            timeout=10,
            trust_env=False,
        )

    def proxied(self, user: str = HPA, *, groups: tuple[str, ...] = (), **changes: Any):
        """Return a client that comes as the aggregator does, for `user`."""
        lines = [("X-Remote-User", user), *(("X-Remote-Group", group) for group in groups)]
        return self.client(self.front_proxy, headers=lines, **changes)

    def raw(self, *parts: bytes, credential: Credential | None = None) -> bytes:
        """Send bytes on a connection of their own; return all that comes until it is closed."""
        context = self.context(credential)
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            for part in parts:
                tls.sendall(part)
            answer = b""
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while piece := tls.recv(65536):
                    answer += piece
            return answer


def metric_path(metric: str = "wva_desired_replicas", namespace: str = "lab") -> str:
    return f"{API_PREFIX}/namespaces/{namespace}/{metric}"


def service_account(name: str, *groups: str) -> Identity:
    return Identity(name, uid="7", groups=groups)
