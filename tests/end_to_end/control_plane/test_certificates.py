"""Certificates that change in mid-run: the adapter's own and the API server's proxy's."""

import asyncio
import base64
import ssl
from pathlib import Path

from cryptography import x509

from tests.helpers.pki import SERVER, Credential, TestAuthority

from .engines import variant
from .kube_api import eventually
from .objects import api_service, external_name
from .outcomes import Outcome
from .stage import World, new_namespace, staged
from .test_outages import following

SERVICE = "wva.wva-system.svc"


def write_pair(folder: Path, credential: Credential) -> dict[str, str]:
    files = {"cert_file": folder / "tls.crt", "key_file": folder / "tls.key"}
    files["cert_file"].write_text(credential.pem)
    files["key_file"].write_text(credential.key_pem)
    return {name: str(path) for name, path in files.items()}


async def served_issuer(port: int) -> str:
    pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    return x509.load_pem_x509_certificate(pem.encode()).issuer.rfc4514_string()


async def test_a_certificate_is_replaced_without_a_failed_read(
    world: World, outcome: Outcome
) -> None:
    """As cert-manager does it: the bundle has both authorities first, then the pair changes."""
    old, new = TestAuthority("authority-1"), TestAuthority("authority-2")
    chat = variant("chat", namespace=new_namespace())
    async with staged(world, [chat], least=2, reads=False) as stage:
        adapter = stage.adapter
        pair = write_pair(world.folder, old.issue("wva", uses=(SERVER,), hosts=(SERVICE,)))
        adapter.settings["api"]["tls"] = pair
        await adapter.start(registered=False)

        async def trust(pem: str) -> None:
            bundle = base64.b64encode(pem.encode()).decode()
            await stage.kube.apply(api_service(port=adapter.port, ca_bundle=bundle))

        await stage.kube.apply(external_name(port=adapter.port))
        await trust(old.pem)
        await adapter.available()
        await stage.follow()
        await stage.replicas("chat", 2)
        await trust(old.pem + new.pem)
        assert await served_issuer(adapter.port) == "CN=authority-1"
        write_pair(world.folder, new.issue("wva", uses=(SERVER,), hosts=(SERVICE,)))
        for _ in range(100):
            assert (await adapter.availability())["status"] == "True"
            assert (await stage.metric())["items"][0]["value"] == "2"
            if await served_issuer(adapter.port) == "CN=authority-2":
                break
            await asyncio.sleep(0.5)
        assert await served_issuer(adapter.port) == "CN=authority-2"
        await trust(new.pem)
        await adapter.available()
        assert (await stage.metric())["items"][0]["value"] == "2"
        outcome.failures = await stage.witness.failures()
        assert outcome.failures == []
        assert adapter.daemon is not None
        assert adapter.daemon.running


async def test_the_front_proxys_authority_is_rotated(world: World, outcome: Outcome) -> None:
    """The API server comes back with a proxy certificate of an authority unknown before."""
    plane = world.plane
    chat = variant("chat", namespace=new_namespace())
    async with staged(world, [chat], least=2) as stage:
        await stage.replicas("chat", 2)
        rotated = TestAuthority("front-proxy-ca-2")
        plane.authorities.write("front-proxy-ca-2.crt", rotated.pem)
        plane.authorities.write_pair("front-proxy-2", rotated.issue("front-proxy-client"))
        files = plane.authorities.path
        flags = (
            f"--requestheader-client-ca-file={files('front-proxy-ca-2.crt')}",
            f"--proxy-client-cert-file={files('front-proxy-2.crt')}",
            f"--proxy-client-key-file={files('front-proxy-2.key')}",
        )
        await restart(world, *flags)
        try:
            await stage.adapter.available(within_s=60)
            value = await eventually(
                stage.metric, within_s=60, every_s=1.0, what="the metric through the new proxy"
            )
            assert value["items"][0]["value"] == "2"
            await stage.until_condition(
                "chat", "ScalingActive", following, within_s=30, what="HPA follows"
            )
        finally:
            await restart(world)


async def restart(world: World, *flags: str) -> None:
    await asyncio.to_thread(world.plane.api_server.stop)
    world.plane.launch_api_server(*flags)
    await asyncio.to_thread(world.plane.await_api_server)
