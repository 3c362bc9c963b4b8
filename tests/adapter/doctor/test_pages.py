"""The adapter's own page, read back: what telemetry writes is what the doctor finds."""

import pytest
from prometheus_client import CollectorRegistry

from adapter.doctor.pages import explanations_of
from adapter.openmetrics import expose
from adapter.publish import SERVED_METRICS
from adapter.store import Store
from adapter.telemetry import Telemetry
from tests.helpers.clocks import ManualClock
from tests.helpers.publications import publication_of

DETAILS = {
    "input.ready_replicas": 2.0,
    "input.output_tokens_mean": 250.0,
    "measured.ttft_p95_s": 0.5,
    "measured.itl_p95_s": 0.04,
}


async def page(*, leads: bool = True, later_s: float = 0.0) -> str:
    registry, clock = CollectorRegistry(), ManualClock()
    store = Store(clock, metrics=SERVED_METRICS)
    Telemetry(registry, store=store, clock=clock, version="0", leads=lambda: leads)
    publication = publication_of({"default/llama": 3.0}, details=DETAILS)
    store.swap(publication, received_s=clock.monotonic_s())
    clock.advance(later_s)
    pieces = [piece async for piece in expose(registry, "text/plain").body]
    return b"".join(pieces).decode()


async def test_what_telemetry_writes_is_found():
    (found,) = explanations_of(await page()).values()
    assert found["freshness"] == {"state": "fresh"}
    assert found["inputs"]["ready_replicas"]["value"] == 2.0
    assert found["inputs"]["output_tokens_mean"]["value"] == 250.0
    assert found["measured"]["ttft_p95_s"]["value"] == 0.5
    assert found["measured"]["itl_p95_s"]["value"] == 0.04
    assert found["labels"]["variant_name"] == "llama"


async def test_an_old_decision_is_found_old():
    (found,) = explanations_of(await page(later_s=100.0)).values()
    assert found["freshness"] == {"state": "held"}


async def test_who_follows_says_nothing_of_variants():
    assert explanations_of(await page(leads=False)) == {}


def test_what_is_no_page_is_an_error():
    with pytest.raises(ValueError):
        explanations_of("<html>no</html>\n{")
