"""What is switched off is off: the decision no longer sees it."""

import numpy as np

from adapter.catalog import build_catalog
from adapter.commands.replay_wva import Adapter
from bench.proof_variations import ABLATIONS
from simulator.world import World

from ..simulator.replays import scenario


def test_without_the_kv_bound_no_memory_is_read_and_none_runs_out():
    changed = ABLATIONS["no KV bound (kv_capacity_tokens endless)"](scenario())
    world = World(changed.scenario, seed=1, compiled=False)
    adapter = Adapter.of(changed.settings, world)
    world.advance(10.0)
    snapshot = adapter.snapshot(world)
    assert not snapshot.replica["kv_capacity_tokens"].present.any()
    assert snapshot.replica["running_requests"].present.any()
    assert (build_catalog(changed.settings).kv_capacity_tokens == 1e9).all()


def test_sizing_for_the_median_is_what_is_promised_to_half():
    changed = ABLATIONS["no tail sizing (percentile 50)"](scenario())
    np.testing.assert_array_equal(build_catalog(changed.settings).slo.percentile_ratio, 0.5)
