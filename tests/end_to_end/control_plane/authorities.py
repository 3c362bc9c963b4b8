"""The cluster's authorities and certificates, and kubeconfigs that use them."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.helpers.pki import SERVER, Credential, TestAuthority

__all__ = ["Authorities"]

YEAR_DAYS = (-1.0, 365.0)


@dataclass
class Authorities:
    """Two authorities, as a cluster has them: one for people and programs, one for the proxy."""

    folder: Path
    cluster: TestAuthority = field(default_factory=lambda: TestAuthority("kubernetes"))
    front_proxy: TestAuthority = field(default_factory=lambda: TestAuthority("front-proxy-ca"))

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write("ca.crt", self.cluster.pem)
        self.write("front-proxy-ca.crt", self.front_proxy.pem)
        self.write_pair("apiserver", self._serving())
        self.write_pair("front-proxy-client", self.front_proxy.issue("front-proxy-client"))
        self.write_pair("service-accounts", self.cluster.issue("service-accounts"))
        self.write_pair("admin", self.client("admin", "system:masters"))

    def path(self, name: str) -> Path:
        return self.folder / name

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path

    def write_pair(self, name: str, credential: Credential) -> None:
        self.write(f"{name}.crt", credential.pem)
        self.write(f"{name}.key", credential.key_pem)

    def client(self, name: str, *organizations: str) -> Credential:
        return self.cluster.issue(name, organizations=organizations, days=YEAR_DAYS)

    def context(self, credential: Credential) -> ssl.SSLContext:
        """Return what a client of the API server uses that has this certificate."""
        context = ssl.create_default_context(cadata=self.cluster.pem)
        credential.load_into(context, self.folder)
        return context

    def kubeconfig_of_certificate(self, name: str, server: str, credential: Credential) -> Path:
        self.write_pair(name, credential)
        files = {
            "client-certificate": str(self.path(f"{name}.crt")),
            "client-key": str(self.path(f"{name}.key")),
        }
        return self._kubeconfig(name, server, files)

    def kubeconfig_of_token(self, name: str, server: str, token: str) -> Path:
        return self._kubeconfig(name, server, {"token": token})

    def _kubeconfig(self, name: str, server: str, user: dict[str, Any]) -> Path:
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "e2e",
            "clusters": [
                {
                    "name": "e2e",
                    "cluster": {
                        "server": server,
                        "certificate-authority": str(self.path("ca.crt")),
                    },
                }
            ],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": name}}],
        }
        return self.write(f"{name}.kubeconfig", yaml.safe_dump(document))

    def _serving(self) -> Credential:
        return self.cluster.issue(
            "kube-apiserver",
            uses=(SERVER,),
            days=YEAR_DAYS,
            hosts=("127.0.0.1", "localhost", "kubernetes.default.svc"),
        )
