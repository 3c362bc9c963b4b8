"""Who may read decisions, with a real cluster's reviews: cases 45 to 52 of the protocol notes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
import pytest
import pytest_asyncio

from tests.helpers.pki import TestAuthority

from .cluster import ControlPlane
from .kube_api import eventually, path_of
from .objects import METRIC
from .outcomes import Outcome
from .shared_stage import resting, with_certificate
from .stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

MASTERS = {"X-Remote-User": "system:masters", "X-Remote-Group": "system:masters"}
RBAC = "rbac.authorization.k8s.io"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(
    plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    async with resting(plane, tmp_path_factory.mktemp("access")) as stage:
        yield stage


@dataclass(frozen=True)
class Caller:
    """Somebody at the adapter's own port, and what they get."""

    code: int
    says: str = ""
    authority: str = ""  # who signed the certificate; empty: no certificate
    name: str = "somebody"
    organizations: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)


CALLERS = {
    "nobody": Caller(403, 'User "system:anonymous" cannot list resource'),
    "headers without a certificate": Caller(403, '"system:anonymous"', headers=MASTERS),
    "a user's certificate with headers of a master": Caller(
        403, 'User "somebody"', authority="cluster", headers=MASTERS
    ),
    "a master's certificate": Caller(200, authority="cluster", organizations=("system:masters",)),
    "the front proxy": Caller(
        200, authority="front_proxy", name="front-proxy-client", headers=MASTERS
    ),
    "a front proxy of another name": Caller(
        401, "Unauthorized", authority="front_proxy", name="intruder", headers=MASTERS
    ),
    "a user's certificate that has the front proxy's name": Caller(
        403, 'User "front-proxy-client"', authority="cluster", name="front-proxy-client",
        headers=MASTERS,
    ),
    "a wrong token": Caller(401, "Unauthorized", headers={"Authorization": "Bearer nonsense"}),
}  # fmt: skip


@pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS.keys())
async def test_a_caller_is_let_in_or_refused(lab: Stage, outcome: Outcome, caller: Caller) -> None:
    credential = None
    if caller.authority:
        authority: TestAuthority = getattr(lab.world.plane.authorities, caller.authority)
        credential = authority.issue(caller.name, organizations=caller.organizations)
    answer = await _read(lab, credential=credential, headers=caller.headers)
    assert answer.status_code == caller.code, answer.text
    if caller.code != 200:
        assert answer.json()["kind"] == "Status"
        assert caller.says in answer.json()["message"]


async def test_a_certificate_of_an_unknown_authority_ends_the_handshake(
    lab: Stage, outcome: Outcome
) -> None:
    with pytest.raises(httpx.TransportError):
        await _read(lab, credential=TestAuthority("elsewhere").issue("admin"), headers=MASTERS)


async def test_all_group_lines_count(lab: Stage, outcome: Outcome) -> None:
    await _grant(lab, "by-group", {"kind": "Group", "name": "team-c", "apiGroup": RBAC})
    proxy = lab.world.plane.authorities.front_proxy.issue("front-proxy-client")
    groups = [("X-Remote-Group", name) for name in ("team-a", "team-b", "team-c")]
    extra = ("X-Remote-Extra-Authentication.kubernetes.io%2fcredential-Id", "JTI=1")
    headers = [("X-Remote-User", "kim"), *groups, extra]
    answer = await _read(lab, credential=proxy, headers=headers)
    assert answer.status_code == 200, answer.text


async def test_a_token_counts_as_long_as_its_owner_may(lab: Stage, outcome: Outcome) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    await lab.kube.apply({**account, "metadata": {"name": "kim", "namespace": lab.namespace}})
    token = await lab.kube.token("kim", namespace=lab.namespace)
    headers = {"Authorization": f"Bearer {token}"}
    refused = await _read(lab, headers=headers)
    assert refused.status_code == 403
    user = f"system:serviceaccount:{lab.namespace}:kim"
    assert refused.json()["message"] == (
        f'{METRIC}.external.metrics.k8s.io is forbidden: User "{user}" cannot list resource '
        f'"{METRIC}" in API group "external.metrics.k8s.io" in the namespace "{lab.namespace}"'
    )
    subject = {"kind": "ServiceAccount", "name": "kim", "namespace": lab.namespace}
    path = await _grant(lab, "by-account", subject)
    # What was refused is remembered for 10 s, and so is what was allowed.
    await _until(lab, headers, 200)
    await lab.kube.delete(path)
    await _until(lab, headers, 403)


async def test_through_the_api_server_the_caller_keeps_their_own_name(
    lab: Stage, outcome: Outcome
) -> None:
    kubectl = lab.world.kubectl
    raw = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{lab.namespace}/{METRIC}"
    reader = f"system:serviceaccount:{lab.namespace}:reader"
    assert (await kubectl("get", "--raw", raw, f"--as={reader}")).code == 0
    refused = await kubectl("get", "--raw", raw, "--as=stranger")
    assert refused.code == 1
    assert 'User "stranger" cannot list resource' in refused.error


async def _read(lab: Stage, *, credential: object = None, headers: object = None) -> httpx.Response:
    context = with_certificate(lab, credential)
    url = (
        f"https://127.0.0.1:{lab.adapter.port}/apis/external.metrics.k8s.io/v1beta1"
        f"/namespaces/{lab.namespace}/{METRIC}"
    )
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        return await client.get(url, headers=headers or {})


async def _until(lab: Stage, headers: dict[str, str], code: int) -> None:
    await eventually(
        lambda: _read(lab, headers=headers),
        lambda answer: answer.status_code == code,
        within_s=15,
        every_s=0.5,
        what=f"the token gets {code}",
    )


async def _grant(lab: Stage, name: str, subject: dict[str, str]) -> str:
    """Bind the role `reader` of the namespace; return the binding's path."""
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": lab.namespace},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "reader"},
        "subjects": [subject],
    }
    await lab.kube.apply(binding)
    return path_of("RoleBinding", name, version=f"{RBAC}/v1", namespace=lab.namespace)
