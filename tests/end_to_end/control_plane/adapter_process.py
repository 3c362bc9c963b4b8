"""The adapter as its own process: a settings file, a service account's kubeconfig, a log."""

import base64
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from .cluster import ControlPlane
from .daemons import Daemon, free_port
from .kube_api import Kube, eventually
from .objects import METRIC, api_service, external_name

__all__ = ["AdapterProcess", "quick_settings"]

NAMESPACE = "wva-system"
SERVICE_ACCOUNT = "wva"


def quick_settings(**more: Any) -> dict[str, Any]:
    """Return settings for cold starts of seconds: what waits for them is shortened to match."""
    return {
        "interval_s": 1,
        "max_decision_age_s": 6,
        "hold_s": 6,
        "down_window_s": 6,
        "hpa_tolerance": 0.0,
        "sources": {"scrape": {"timeout_s": 1, "window_s": 5}},
        "service_classes": {"chat": {"priority": 1, "slo": {"ttft_ms": 2000, "itl_ms": 34}}},
        "brakes": {"warm_up_s": 2, "max_scale_down_ratio": 1.0, "max_scale_up_factor": 100},
        **more,
    }


class AdapterProcess:
    """`python -m adapter serve`, reached by the API server through a Service and an APIService."""

    def __init__(
        self, plane: ControlPlane, kube: Kube, folder: Path, settings: Mapping[str, Any]
    ) -> None:
        self.plane = plane
        self.kube = kube
        self.folder = folder
        self.port, self.keda_port, self.health_port = free_port(), free_port(), free_port()
        self.state = folder / "state"
        self.settings_path = folder / "wva.yaml"
        self.settings = {
            **settings,
            "state_dir": str(self.state),
            "api": {"host": "127.0.0.1", "port": self.port},
            "keda": {"host": "127.0.0.1", "port": self.keda_port},
            "health": {"host": "127.0.0.1", "port": self.health_port},
        }
        self.daemon: Daemon | None = None
        self.environment: dict[str, str] = {}
        self.service_account = (NAMESPACE, SERVICE_ACCOUNT)
        self.api_url = plane.url  # where it reaches the API server
        self._health = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.health_port}", timeout=2, trust_env=False
        )

    async def start(self, *, registered: bool = True) -> None:
        """Start it with a fresh token, and make the API server know where it is."""
        self.write_settings()
        namespace, account = self.service_account
        token = await self.kube.token(account, namespace=namespace)
        kubeconfig = self.plane.authorities.kubeconfig_of_token("wva", self.api_url, token)
        command = [sys.executable, "-m", "adapter", "serve", "--settings", str(self.settings_path)]
        self.daemon = Daemon(
            "adapter",
            command,
            log=self.folder / "adapter.log",
            environment={"KUBECONFIG": str(kubeconfig), **self.environment},
        )
        self.daemon.start()
        if registered:
            await self.register()

    async def register(self) -> None:
        """Create what leads the API server to it, and wait until it finds it available."""
        # An API server that finds nobody asks again ever more rarely.
        await eventually(lambda: self.answers("/livez"), within_s=60, what="the adapter listens")
        await self.kube.apply(external_name(port=self.port))
        bundle = base64.b64encode(await self._bundle()).decode()
        await self.kube.apply(api_service(port=self.port, ca_bundle=bundle))
        await self.available()

    async def ready(self, *, within_s: float = 30.0) -> None:
        """Wait until its pod would be ready: a Service leads nobody to it before."""
        await eventually(
            lambda: self.answers("/readyz"), within_s=within_s, what="the pod is ready"
        )

    async def available(self, *, within_s: float = 45.0) -> None:
        await eventually(
            self.availability,
            lambda condition: condition["status"] == "True",
            within_s=within_s,
            what="the APIService is Available",
        )

    async def availability(self) -> Mapping[str, Any]:
        path = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"
        conditions = (await self.kube.get(path)).get("status", {}).get("conditions", [])
        unknown = {"status": "Unknown", "message": ""}
        return next((each for each in conditions if each["type"] == "Available"), unknown)

    def write_settings(self, **changes: Any) -> None:
        """Write the settings file, whole at once, as a mounted ConfigMap changes."""
        self.settings |= changes
        part = self.settings_path.with_suffix(".part")
        part.write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        part.replace(self.settings_path)

    async def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.stop()
        await self._health.aclose()

    def kill(self) -> None:
        assert self.daemon is not None
        self.daemon.kill()

    def terminate(self) -> None:
        assert self.daemon is not None
        self.daemon.terminate()

    def context(self) -> ssl.SSLContext:
        """Return what a client of the adapter's own port uses, without a certificate."""
        return ssl.create_default_context(cafile=str(self.state / "ca.crt"))

    async def figures(self, metric: str = METRIC) -> dict[str, float]:
        """Return a metric of its own /metrics by variant; empty while it can't be asked."""
        try:
            page = (await self._health.get("/metrics")).text
        except httpx.HTTPError:
            return {}
        found: dict[str, float] = {}
        for line in page.splitlines():
            if line.startswith(f"{metric}{{"):
                labels, _, value = line.partition("} ")
                name = labels.partition('variant_name="')[2].partition('"')[0]
                found[name] = float(value)
        return found

    async def explain(self, variant: str, *, namespace: str) -> dict[str, Any]:
        """Return why a variant's number is what it is, asked as an administrator."""
        token = await self.kube.token("reader", namespace=namespace)
        async with httpx.AsyncClient(verify=self.context(), trust_env=False, timeout=5) as client:
            answer = await client.get(
                f"https://127.0.0.1:{self.port}/explain/{namespace}/{variant}?format=json",
                headers={"Authorization": f"Bearer {token}"},
            )
        assert answer.is_success, f"explain: {answer.status_code} {answer.text[:300]}"
        return answer.json()

    async def answers(self, probe: str) -> bool:
        """Return whether a probe of the pod's succeeds."""
        return (await self._health.get(probe)).is_success

    async def _bundle(self) -> bytes:
        path = self.state / "ca.crt"
        return path.read_bytes() if path.exists() else b""
