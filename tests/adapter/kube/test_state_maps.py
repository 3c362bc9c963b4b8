"""The state in ConfigMaps: whole or not at all, within the size of objects, nothing left over."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.errors import AdapterError, KubeApiError, StateError
from adapter.kube.state_maps import MAX_PARTS, PART_BYTES, StateMaps
from tests.helpers.fake_cluster import failure, fake_cluster, transport_to

ROOT = Path(__file__).resolve().parents[3]
FOLDER = "/api/v1/namespaces/wva-system/configmaps"


@pytest.fixture
async def cluster():
    async with fake_cluster() as fake:
        yield fake


@pytest.fixture
async def maps(cluster):
    async with transport_to(cluster.url) as transport:

        def new() -> StateMaps:
            return StateMaps(transport, namespace="wva-system", name="wva")

        yield new


def names(cluster) -> list[str]:
    return sorted(path.rpartition("/")[2] for path in cluster.objects)


async def test_nothing_is_there_at_first(maps):
    assert await maps().load() is None


@pytest.mark.parametrize("size", [1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES])
async def test_what_was_saved_is_loaded_by_another_with_its_age(cluster, maps, size):
    data = bytes(range(256)) * (size // 256 + 1)
    await maps().save(data[:size])
    cluster.now += timedelta(seconds=42)
    kept = await maps().load()
    assert kept.data == data[:size]
    assert kept.age_s == 42.0


async def test_every_object_is_below_900_kilobytes(cluster, maps):
    await maps().save(bytes(5 * PART_BYTES - 1))
    sizes = [len(json.dumps(each)) for each in cluster.objects.values()]
    assert len(sizes) == 5
    assert max(sizes) < 900_000


async def test_two_sets_take_turns_and_parts_that_are_not_needed_go(cluster, maps):
    keeper = maps()
    await keeper.save(bytes(2 * PART_BYTES))
    await keeper.save(b"two")
    assert names(cluster) == ["wva-state-0", "wva-state-1", "wva-state-8"]
    await keeper.save(b"three")
    assert names(cluster) == ["wva-state-0", "wva-state-8"]
    assert (await maps().load()).data == b"three"


@given(st.integers(0, 5), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_a_writer_that_ends_anywhere_leaves_the_state_before_or_the_new_one(after, one, two):
    async def scenario() -> None:
        async with fake_cluster() as cluster, transport_to(cluster.url) as transport:
            old, new = b"o" * (one * PART_BYTES), b"n" * (two * PART_BYTES)
            await StateMaps(transport, namespace="wva-system", name="wva").save(old)
            left = after

            def fault(method, _path):
                nonlocal left
                if method in {"POST", "PUT", "DELETE"}:
                    left -= 1
                    return failure(503, "ServiceUnavailable", "gone") if left < 0 else None
                return None

            cluster.fault = fault
            writer = StateMaps(transport, namespace="wva-system", name="wva")
            try:
                await writer.save(new)
                done = True
            except AdapterError:
                done = False
            cluster.fault = None
            kept = await StateMaps(transport, namespace="wva-system", name="wva").load()
            assert kept.data in {old, new}
            assert kept.data == new or not done

    asyncio.run(scenario())


async def test_a_new_leader_writes_on_and_the_old_one_notices(cluster, maps):
    old, new = maps(), maps()
    await old.save(b"1")
    await old.save(b"2")
    await new.save(b"3")
    with pytest.raises(KubeApiError, match="modified"):
        await old.save(b"4")
    assert (await maps().load()).data == b"3"
    await old.save(b"5")  # asked for what is there first
    assert (await maps().load()).data == b"5"


async def test_config_maps_that_were_lost_are_written_again(cluster, maps):
    keeper = maps()
    await keeper.save(b"1")
    await keeper.save(b"2")
    cluster.objects.clear()
    with pytest.raises(KubeApiError):
        await keeper.save(b"3")
    await keeper.save(b"4")
    assert (await maps().load()).data == b"4"


async def test_a_part_that_was_deleted_by_hand_stops_nothing(cluster, maps):
    keeper = maps()
    await keeper.save(bytes(2 * PART_BYTES))
    del cluster.objects[f"{FOLDER}/wva-state-0"]
    keeper = maps()
    assert await keeper.load() is None
    await keeper.save(bytes(3 * PART_BYTES))
    assert len((await maps().load()).data) == 3 * PART_BYTES


async def test_an_object_of_somebody_else_with_such_a_name_is_passed_over(cluster, maps):
    keeper = maps()
    await keeper.save(b"1")
    cluster.put(f"{FOLDER}/wva-state-8", {"data": {"theirs": "1"}})
    assert (await maps().load()).data == b"1"


async def test_only_objects_that_the_role_names_are_asked_for(cluster, maps):
    names = {f"wva-state-{number}" for number in range(2 * MAX_PARTS)}
    await maps().save(bytes(MAX_PARTS * PART_BYTES))
    await maps().save(bytes(MAX_PARTS * PART_BYTES))
    assert set(cluster.objects) == {f"{FOLDER}/{name}" for name in names}
    asked = {path for method, path in cluster.requests if method != "POST"}
    assert asked <= {f"{FOLDER}/{name}" for name in names}
    role = next(
        rule
        for rule in yaml.safe_load((ROOT / "manifests/base/role.yaml").read_text())["rules"]
        if rule["resources"] == ["configmaps"] and "resourceNames" in rule
    )
    assert set(role["resourceNames"]) == names


async def test_content_that_is_not_ours_is_told(cluster, maps):
    await maps().save(b"1")
    cluster.objects[f"{FOLDER}/wva-state-0"]["binaryData"] = {"part": "%%%"}
    with pytest.raises(StateError, match="can't be read"):
        await maps().load()


async def test_what_is_too_large_is_told(maps):
    with pytest.raises(StateError, match="above the bound"):
        await maps().save(bytes(MAX_PARTS * PART_BYTES + 1))
