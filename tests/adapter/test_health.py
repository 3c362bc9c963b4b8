"""The side door over real HTTP: probes that mean what they say, and /metrics."""

import asyncio
import math

import httpx
import pytest
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from adapter.health import FIRST_WITHIN_S, Readiness, build_health_app
from adapter.publish import SERVED_METRICS
from adapter.store import Store
from adapter.telemetry import Telemetry
from tests.helpers.clocks import ManualClock
from tests.helpers.publications import publication_of

OPENMETRICS = {"accept": "application/openmetrics-text;version=1.0.0"}


class Rig:
    """The application behind uvicorn on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = Store(self.clock, metrics=SERVED_METRICS)
        registry = CollectorRegistry()
        Telemetry(registry, store=self.store, clock=self.clock, version="1.2.3")
        self.readiness = Readiness(self.store, self.clock)
        self.codes: list[str] = []
        app = build_health_app(registry, self.readiness, served=self.codes.append)
        config = uvicorn.Config(app, port=0, log_config=None, lifespan="off")
        self._server = uvicorn.Server(config)

    def publish(self, desired, **changes) -> None:
        publication = publication_of(desired, **changes)
        self.store.swap(publication, received_s=self.clock.monotonic_s())

    async def __aenter__(self):
        self._serving = asyncio.ensure_future(self._server.serve())
        while not self._server.started:
            await asyncio.sleep(0.005)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}")
        return self

    async def __aexit__(self, *_exc):
        await self.client.aclose()
        self._server.should_exit = True
        await self._serving

    async def get(self, path, **headers) -> httpx.Response:
        return await self.client.get(path, headers=headers)


@pytest.fixture
async def rig():
    async with Rig() as one:
        yield one


@pytest.mark.parametrize("path", ["/livez", "/healthz"])
async def test_alive_whatever_is_down(rig, path):
    response = await rig.get(path)
    assert (response.status_code, response.text) == (200, "ok")
    rig.readiness.drain()
    assert (await rig.get(path)).status_code == 200
    assert "[+]event loop" in (await rig.get(f"{path}?verbose")).text


async def test_not_ready_before_the_first_publication(rig):
    response = await rig.get("/readyz")
    assert response.status_code == 503
    assert "[-]publication: none yet" in response.text


async def test_who_never_has_a_decision_is_asked_in_the_end_to_say_why(rig):
    rig.clock.advance(FIRST_WITHIN_S)
    assert (await rig.get("/readyz")).status_code == 503
    rig.clock.advance(1.0)
    response = await rig.get("/readyz?verbose")
    assert response.status_code == 200
    assert "[!]publication: still none after 301 s" in response.text


async def test_a_loop_that_falls_silent_is_told_and_takes_nobody_out_of_the_service(rig):
    rig.publish({"default/llama": 5.0})
    response = await rig.get("/readyz")
    assert (response.status_code, response.text) == (200, "ok")
    rig.clock.advance(30.0)
    assert "[!]publication" not in (await rig.get("/readyz?verbose")).text
    rig.clock.advance(1.0)
    response = await rig.get("/readyz?verbose")
    assert response.status_code == 200
    assert "[!]publication: the decision loop has sent nothing for 31 s, above" in response.text
    rig.publish({"default/llama": 5.0})
    assert "[!]publication" not in (await rig.get("/readyz?verbose")).text


async def test_not_ready_as_soon_as_draining(rig):
    rig.publish({"default/llama": 5.0})
    rig.readiness.drain()
    response = await rig.get("/readyz")
    assert response.status_code == 503
    assert "[-]draining" in response.text
    assert "[+]publication: 1 variants" in response.text


async def test_stale_readings_are_told_and_do_not_make_it_unready(rig):
    why = "2 of 2 replicas silent: http://a (Timeout)"
    rig.publish({"default/a": 5.0, "default/b": 1.0}, age_s=math.inf, message=why)
    response = await rig.get("/readyz?verbose")
    assert response.status_code == 200
    assert f"[!]refused: 2 variants, the first is default/a: {why}" in response.text
    rig.publish({"default/a": 5.0}, age_s=40.0)
    verbose = (await rig.get("/readyz?verbose")).text
    assert "[!]held: 1 variants, the first is default/a" in verbose
    assert "[!]refused" not in verbose


@pytest.mark.parametrize(
    ("headers", "parse", "media"),
    [
        pytest.param({}, parse_text, "text/plain", id="text"),
        pytest.param(OPENMETRICS, parse_openmetrics, "application/openmetrics-text", id="open"),
    ],
)
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_metrics_are_negotiated(rig, headers, parse, media, encoding):
    rig.publish({f"default/v{i}": float(i) for i in range(1200)})
    response = await rig.get("/metrics", **headers, **{"accept-encoding": encoding})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith(media)
    assert response.headers.get("content-encoding", "identity") == encoding
    families = {family.name: family for family in parse(response.text)}
    values = {s.labels["variant_name"]: s.value for s in families["wva_desired_replicas"].samples}
    assert values == {f"v{i}": float(i) for i in range(1200)}
    assert rig.codes == ["200"]


async def test_a_scrape_does_not_keep_probes_waiting(rig):
    details = {"predicted.ttft_s": 0.1, "predicted.itl_s": 0.1, "power.modelled_w": 9.0}
    rig.publish({f"default/v{i}": float(i) for i in range(5000)}, details=details)
    scrape = asyncio.ensure_future(rig.get("/metrics"))
    answered = 0
    while not scrape.done():
        assert (await rig.get("/livez")).status_code == 200
        answered += 1
    assert scrape.result().status_code == 200
    assert answered >= 5


async def test_other_methods_and_paths_are_refused(rig):
    assert (await rig.client.post("/metrics")).status_code == 405
    assert (await rig.client.head("/readyz")).status_code == 503
    assert (await rig.get("/explain")).status_code == 404
