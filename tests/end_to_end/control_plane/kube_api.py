"""The tests' own client of the API server: JSON in, JSON out, as administrator or another."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

__all__ = ["ApiError", "Kube", "Kubectl", "KubectlResult", "eventually", "path_of"]

FIELD_MANAGER = "e2e"
CLUSTER_SCOPED = {
    "APIService",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "Namespace",
    "Node",
}
MERGE = "application/merge-patch+json"

Seen = TypeVar("Seen")


def path_of(kind: str, name: str = "", *, version: str = "v1", namespace: str = "") -> str:
    """Return the path of an object, or of a whole kind; `version` is "v1" or "apps/v1"."""
    start = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    scope = f"/namespaces/{namespace}" if namespace else ""
    plural = kind.lower()
    plural = f"{plural[:-1]}ies" if plural.endswith("y") else f"{plural}s"
    return f"{start}{scope}/{plural}" + (f"/{name}" if name else "")


class ApiError(AssertionError):
    """The API server said no; the message has its words."""


class Kube:
    """Talks to the API server at `url`."""

    def __init__(self, url: str, context: ssl.SSLContext, *, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.client = httpx.AsyncClient(
            base_url=url, verify=context, timeout=60, headers=headers, trust_env=False
        )

    async def close(self) -> None:
        await self.client.aclose()

    async def call(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
    ) -> Any:
        """Return the answer's document; an error of the API server fails the test with its words."""
        content = None if body is None else json.dumps(body)
        answer = await self.client.request(
            method, path, content=content, headers={"Content-Type": content_type}
        )
        if not answer.is_success:
            raise ApiError(f"{method} {path}: {answer.status_code} {answer.text[:600]}")
        return answer.json()

    async def get(self, path: str) -> Any:
        return await self.call("GET", path)

    async def find(self, path: str) -> Any | None:
        """Return an object, None if there is none."""
        answer = await self.client.get(path)
        if answer.status_code == 404:
            return None
        assert answer.is_success, f"GET {path}: {answer.status_code} {answer.text[:600]}"
        return answer.json()

    async def apply(self, thing: Mapping[str, Any]) -> Any:
        """Create an object, or make it what `thing` says (server-side apply)."""
        path = self._path(thing)
        query = f"?fieldManager={FIELD_MANAGER}&force=true"
        return await self.call(
            "PATCH", path + query, thing, content_type="application/apply-patch+yaml"
        )

    async def patch(self, path: str, change: Mapping[str, Any]) -> Any:
        return await self.call("PATCH", path, change, content_type=MERGE)

    async def delete(self, path: str, **options: Any) -> None:
        answer = await self.client.request(
            "DELETE",
            path,
            content=json.dumps({"kind": "DeleteOptions", "apiVersion": "v1", **options}),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code in {200, 202, 404}, f"DELETE {path}: {answer.text[:600]}"

    async def token(self, service_account: str, *, namespace: str) -> str:
        """Return a token of a service account, as a kubelet would ask for it."""
        base = path_of("ServiceAccount", service_account, namespace=namespace)
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 7200},
        }
        return (await self.call("POST", f"{base}/token", body))["status"]["token"]

    @staticmethod
    def _path(thing: Mapping[str, Any]) -> str:
        metadata = thing["metadata"]
        scoped = thing["kind"] not in CLUSTER_SCOPED
        return path_of(
            thing["kind"],
            metadata["name"],
            version=thing["apiVersion"],
            namespace=metadata.get("namespace", "default") if scoped else "",
        )


@dataclass(frozen=True)
class KubectlResult:
    """How one call of kubectl ended."""

    code: int
    out: str
    error: str


class Kubectl:
    """The stock command, with a kubeconfig."""

    def __init__(self, program: Path, kubeconfig: Path, home: Path) -> None:
        self._program = program
        self._environment = {"KUBECONFIG": str(kubeconfig), "HOME": str(home), "PATH": "/usr/bin"}

    async def __call__(
        self, *arguments: str, stdin: str = "", within_s: float = 60.0
    ) -> KubectlResult:
        process = await asyncio.create_subprocess_exec(
            str(self._program),
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
        )
        try:
            out, error = await asyncio.wait_for(process.communicate(stdin.encode()), within_s)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"kubectl {' '.join(arguments)}: no end in {within_s} s") from None
        assert process.returncode is not None
        return KubectlResult(process.returncode, out.decode(), error.decode())


async def eventually(
    look: Callable[[], Awaitable[Seen]],
    holds: Callable[[Seen], object] = bool,
    *,
    within_s: float,
    what: str,
    every_s: float = 0.1,
) -> Seen:
    """Return the first of what is seen that holds; fail with the last one when time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while True:
        seen: Any = None
        try:
            seen = await look()
            if holds(seen):
                return seen
        except (httpx.HTTPError, ApiError, KeyError, IndexError) as exc:
            seen = repr(exc)
        if loop.time() > deadline:
            raise AssertionError(
                f"not within {within_s:g} s: {what}; last seen: {str(seen)[:1500]}"
            )
        await asyncio.sleep(every_s)
