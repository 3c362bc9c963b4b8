"""TLS from KEDA to the adapter: an authority that is trusted, a certificate that is asked for."""

from pathlib import Path

import pytest

from tests.end_to_end.control_plane.engines import variant
from tests.end_to_end.control_plane.outcomes import Outcome
from tests.end_to_end.control_plane.stage import World, enough_for, new_namespace
from tests.helpers.pki import SERVER, TestAuthority

from .keda import Keda
from .objects import KEDA_API
from .stage import KedaStage, staged_with_keda


def serve_tls(own: KedaStage, folder: Path, authority: TestAuthority, *, mutual: bool) -> None:
    """Have the adapter listen for KEDA with a certificate, and perhaps ask for one."""
    pair = authority.issue("wva", uses=(SERVER,), hosts=("127.0.0.1",))
    files = {"tls.crt": pair.pem, "tls.key": pair.key_pem, "clients.crt": authority.pem}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    keda = own.stage.adapter.settings["keda"]
    keda["tls"] = {"cert_file": str(folder / "tls.crt"), "key_file": str(folder / "tls.key")}
    if mutual:
        keda["client_ca_file"] = str(folder / "clients.crt")


async def trust(own: KedaStage, data: dict[str, str]) -> dict[str, object]:
    """Create what KEDA reads of a Secret for a trigger; return the trigger's reference to it."""
    metadata = {"name": "wva", "namespace": own.stage.namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}
    await own.stage.kube.apply(secret)
    names = [{"parameter": key, "name": "wva", "key": key} for key in data]
    await own.stage.kube.apply(
        {
            "apiVersion": KEDA_API,
            "kind": "TriggerAuthentication",
            "metadata": metadata,
            "spec": {"secretTargetRef": names},
        }
    )
    return {"authenticationRef": {"name": "wva"}}


@pytest.mark.parametrize("mutual", [False, True], ids=["TLS", "mTLS"])
async def test_keda_asks_and_is_pushed_to_over(
    world: World, outcome: Outcome, keda: Keda, mutual: bool
) -> None:
    authority = TestAuthority("scaler")
    chat = variant("chat", namespace=new_namespace(), cold_start_s=0.5)
    async with staged_with_keda(world, [chat], least=0, replicas=0, starts=False) as own:
        serve_tls(own, world.folder, authority, mutual=mutual)
        await own.start_adapter()
        data = {"caCert": authority.pem}
        if mutual:
            client = authority.issue("keda")
            data |= {"tlsClientCert": client.pem, "tlsClientKey": client.key_pem}
        reference = await trust(own, data)
        await own.follow("chat", "external-push", trigger=reference, pollingInterval=30)
        own.stage.engines.set_rate(8.0)
        await own.stage.settled("chat", enough_for(8.0))
        # The first engine ever is refused until it has been read: failures are told, not judged.
        await own.stage.measure(outcome)


@pytest.mark.parametrize(
    ("mutual", "case"),
    [
        pytest.param(False, "another authority", id="an authority that did not sign it"),
        pytest.param(True, "no certificate", id="no certificate where one is asked for"),
        pytest.param(True, "a stranger's", id="a certificate of a stranger"),
    ],
)
async def test_keda_is_refused_with(
    world: World, outcome: Outcome, keda: Keda, mutual: bool, case: str
) -> None:
    authority, stranger = TestAuthority("scaler"), TestAuthority("stranger")
    chat = variant("chat", namespace=new_namespace())
    async with staged_with_keda(world, [chat], least=0, starts=False) as own:
        serve_tls(own, world.folder, authority, mutual=mutual)
        await own.start_adapter()
        data = {"caCert": (stranger if case == "another authority" else authority).pem}
        if case == "a stranger's":
            client = stranger.issue("keda")
            data |= {"tlsClientCert": client.pem, "tlsClientKey": client.key_pem}
        reference = await trust(own, data)
        with pytest.raises(AssertionError, match="Ready is True"):
            await own.follow("chat", "external-push", trigger=reference)
        assert await own.count("chat") == 1
