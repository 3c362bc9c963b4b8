"""A stock KEDA on a control plane: its manifests applied, its two programs as plain processes.

The programs have the rights and flags of KEDA's own Deployments; what differs is where they
listen. Certificates between them, which KEDA's operator would make into a Secret, are files.
"""

import base64
import subprocess
from pathlib import Path

import yaml

from tests.end_to_end.control_plane.cluster import ControlPlane
from tests.end_to_end.control_plane.daemons import Daemon, free_port, wait_until
from tests.end_to_end.control_plane.kube_api import Kube, eventually, path_of
from tests.end_to_end.control_plane.objects import API_SERVICE, api_service, external_name
from tests.helpers.pki import CLIENT, SERVER, TestAuthority

from .binaries import MANIFESTS

__all__ = ["Keda"]

NAMESPACE = "keda"
ACCOUNT = "keda-operator"
METRICS_SERVICE = "keda-metrics-apiserver"
# The processes below stand for the first two; the rest leads to pods that aren't there.
LEFT_OUT = {"Deployment", "Service", "ValidatingWebhookConfiguration", "APIService"}


class Keda:
    """KEDA's operator and metrics server."""

    def __init__(self, programs: Path, plane: ControlPlane, folder: Path) -> None:
        self._programs, self._plane, self._folder = programs, plane, folder
        self._authority = TestAuthority("KEDA")
        self._port = free_port()
        self._certificates = folder / "keda-certificates"
        self.operator: Daemon
        self.metrics_server: Daemon

    def install(self) -> None:
        """Apply KEDA's definitions and rights, as `kubectl apply --server-side` would."""
        kubectl = str(self._plane.programs / "kubectl")
        text = (self._programs / MANIFESTS).read_text(encoding="utf-8")
        kept = [each for each in yaml.safe_load_all(text) if each["kind"] not in LEFT_OUT]
        command = [kubectl, f"--kubeconfig={self._plane.admin_kubeconfig}", "apply"]
        done = subprocess.run(
            [*command, "--server-side", "--force-conflicts", "--filename=-"],
            input=yaml.safe_dump_all(kept).encode(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        # KEDA's programs look for their kinds once, and again only after ten seconds.
        known = [*command[:-1], "wait", "--for=condition=Established", "--timeout=60s"]
        names = ("scaledobjects.keda.sh", "scaledjobs.keda.sh")
        # One that is so new that it has no condition yet is an error for `kubectl wait`.
        wait_until(
            lambda: subprocess.run([*known, "crd", *names], check=False).returncode == 0,
            within_s=60,
            what=f"{' and '.join(names)} are established",
        )

    async def start(self, kube: Kube) -> None:
        """Start both programs, with the rights of KEDA's service account."""
        self._write_certificates()
        token = await kube.token(ACCOUNT, namespace=NAMESPACE)
        kubeconfig = self._plane.authorities.kubeconfig_of_token("keda", self._plane.url, token)
        between = f"127.0.0.1:{free_port()}"
        self.operator = self._daemon(
            "keda",
            kubeconfig,
            "--zap-log-level=debug",
            "--metrics-bind-address=0",
            "--health-probe-bind-address=0",
            f"--metrics-service-bind-address={between}",
            f"--cert-dir={self._certificates}",
        )
        self.metrics_server = self._daemon(
            "keda-adapter",
            kubeconfig,
            "--port=0",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--metrics-service-address={between}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--lister-kubeconfig={kubeconfig}",
            f"--client-ca-file={self._certificates / 'ca.crt'}",
            f"--tls-cert-file={self._certificates / 'tls.crt'}",
            f"--tls-private-key-file={self._certificates / 'tls.key'}",
            f"--cert-dir={self._certificates}",
        )
        self.operator.start()
        self.metrics_server.start()

    async def register(self, kube: Kube) -> None:
        """Lead external.metrics.k8s.io to the metrics server, and wait until it answers."""
        where = {"name": METRICS_SERVICE, "namespace": NAMESPACE}
        bundle = base64.b64encode(self._authority.pem.encode()).decode()
        await kube.apply(external_name(port=self._port, **where))
        await kube.apply(api_service(port=self._port, ca_bundle=bundle, **where))
        path = path_of("APIService", API_SERVICE, version="apiregistration.k8s.io/v1")

        def available(found: dict) -> bool:  # type: ignore[type-arg]
            assert self.operator.running, self.operator.tail()
            assert self.metrics_server.running, self.metrics_server.tail()
            conditions = found.get("status", {}).get("conditions", [])
            return any(c["type"] == "Available" and c["status"] == "True" for c in conditions)

        await eventually(
            lambda: kube.get(path), available, within_s=90, what="KEDA's APIService is Available"
        )

    def stop(self) -> None:
        for name in ("metrics_server", "operator"):
            if (daemon := getattr(self, name, None)) is not None:
                daemon.stop()

    def _daemon(self, name: str, kubeconfig: Path, *flags: str) -> Daemon:
        return Daemon(
            name,
            [str(self._programs / name), *flags],
            log=self._folder / f"{name}.log",
            environment={
                "KUBECONFIG": str(kubeconfig),
                "POD_NAMESPACE": NAMESPACE,
                "WATCH_NAMESPACE": "",
                "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
            },
        )

    def _write_certificates(self) -> None:
        self._certificates.mkdir(exist_ok=True)
        leaf = self._authority.issue(
            ACCOUNT,
            uses=(CLIENT, SERVER),
            hosts=("127.0.0.1", "localhost", f"{METRICS_SERVICE}.{NAMESPACE}.svc"),
        )
        pages = {"ca.crt": self._authority.pem, "tls.crt": leaf.pem, "tls.key": leaf.key_pem}
        for name, text in pages.items():
            (self._certificates / name).write_text(text, encoding="utf-8")
