"""A control plane of stock programs on loopback: etcd, kube-apiserver, kube-controller-manager.

Its flags are those of a cluster with an aggregation layer and RBAC. There is no scheduler
and no kubelet (`kubelet.py` plays them), so node-lifecycle stays off: nobody sends a node's
heartbeats.
"""

from collections.abc import Iterable
from pathlib import Path

import httpx

from .authorities import Authorities
from .daemons import Daemon, free_port

__all__ = ["ControlPlane"]

FAST_SYNC_S = 2.0


class ControlPlane:
    """Starts everything, gives access to it, and restarts parts of it."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder = folder
        self.programs = programs
        self.authorities = Authorities(folder / "pki")
        self.url = f"https://127.0.0.1:{free_port()}"
        self.hpa_sync_s = FAST_SYNC_S
        self._etcd_url = f"http://127.0.0.1:{free_port()}"
        admin = self.authorities.client("admin", "system:masters")
        self.admin_context = self.authorities.context(admin)
        self.admin_kubeconfig = self.authorities.kubeconfig_of_certificate("admin", self.url, admin)
        self.etcd = self._daemon("etcd", self._etcd_flags())
        self.api_server = self._daemon("kube-apiserver", self._api_server_flags())
        self.controller_manager = self._daemon(
            "kube-controller-manager", self._controller_manager_flags()
        )

    def start(self) -> None:
        self.etcd.start()
        self.etcd.wait_ready(lambda: _answers(f"{self._etcd_url}/health"), within_s=60)
        self.start_api_server()
        self.start_controller_manager()

    def stop(self) -> None:
        for each in (self.controller_manager, self.api_server, self.etcd):
            each.stop()

    def start_api_server(self, *more_flags: str) -> None:
        self.launch_api_server(*more_flags)
        self.await_api_server()

    def launch_api_server(self, *more_flags: str) -> None:
        self.api_server = self._daemon("kube-apiserver", self._api_server_flags(more_flags))
        self.api_server.start()

    def await_api_server(self) -> None:
        self.api_server.wait_ready(
            lambda: _answers(f"{self.url}/readyz", verify=self.admin_context), within_s=120
        )

    def start_controller_manager(self, *more_flags: str, hpa_sync_s: float = FAST_SYNC_S) -> None:
        self.hpa_sync_s = hpa_sync_s
        flags = self._controller_manager_flags(more_flags)
        self.controller_manager = self._daemon("kube-controller-manager", flags)
        self.controller_manager.start()

    def restart_controller_manager(self, *flags: str, hpa_sync_s: float = FAST_SYNC_S) -> None:
        self.controller_manager.stop()
        self.start_controller_manager(*flags, hpa_sync_s=hpa_sync_s)

    @property
    def logs(self) -> list[Path]:
        return sorted(self.folder.glob("*.log"))

    def _daemon(self, program: str, flags: Iterable[str]) -> Daemon:
        log = self.folder / f"{program}.log"
        return Daemon(program, [str(self.programs / program), *flags], log=log)

    def _etcd_flags(self) -> list[str]:
        peer = f"http://127.0.0.1:{free_port()}"
        return [
            "--name=e2e",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={self._etcd_url}",
            f"--advertise-client-urls={self._etcd_url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=e2e={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _api_server_flags(self, more: Iterable[str] = ()) -> list[str]:
        pki = self.authorities.path
        return [
            f"--etcd-servers={self._etcd_url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--secure-port={self.url.rpartition(':')[2]}",
            f"--tls-cert-file={pki('apiserver.crt')}",
            f"--tls-private-key-file={pki('apiserver.key')}",
            f"--client-ca-file={pki('ca.crt')}",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki('service-accounts.crt')}",
            f"--service-account-signing-key-file={pki('service-accounts.key')}",
            f"--requestheader-client-ca-file={pki('front-proxy-ca.crt')}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={pki('front-proxy-client.crt')}",
            f"--proxy-client-key-file={pki('front-proxy-client.key')}",
            *more,
        ]

    def _controller_manager_flags(self, more: Iterable[str] = ()) -> list[str]:
        pki = self.authorities
        user = "system:kube-controller-manager"
        kubeconfig = pki.kubeconfig_of_certificate(
            "controller-manager", self.url, pki.client(user, user)
        )
        return [
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            "--leader-elect=false",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={pki.path('service-accounts.key')}",
            f"--root-ca-file={pki.path('ca.crt')}",
            "--controllers=*,-node-lifecycle-controller,-node-ipam-controller",
            f"--horizontal-pod-autoscaler-sync-period={self.hpa_sync_s:g}s",
            *more,
        ]


def _answers(url: str, **options: object) -> bool:
    try:
        answer = httpx.get(url, timeout=2, trust_env=False, **options)  # type: ignore[arg-type]
    except httpx.HTTPError:
        return False
    return answer.status_code == 200
