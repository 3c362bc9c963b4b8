"""KEDA's external scaler contract over a real listener: cases 62 to 73 of the protocol notes.

The client is made from the proto; the one of case 73 from a descriptor of an old release.
"""

import asyncio
import contextlib
import gc
import resource
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Self

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from adapter.config import KedaSettings, TlsFiles
from adapter.errors import ConfigError
from adapter.keda._generated import externalscaler_pb2 as pb
from adapter.keda._generated import externalscaler_pb2_grpc as stubs
from adapter.keda.server import SERVICE, KedaServer, ListenError
from adapter.keda.servicer import ExternalScaler
from adapter.publish import SERVED_METRICS
from adapter.store import Store
from tests.helpers.certificates import Authority
from tests.helpers.clocks import ManualClock
from tests.helpers.publications import publication_of

DESIRED = "wva_desired_replicas"
VARIANT = {"variantName": "llama"}
UNARY = ("IsActive", "GetMetrics", "GetMetricSpec")


class Rig:
    """A store, a server on a free port of 127.0.0.1, and what it counted."""

    def __init__(self, **settings) -> None:
        self.clock = ManualClock()
        self.store = Store(self.clock, metrics=SERVED_METRICS)
        self.codes: list[str] = []
        self.settings = KedaSettings(host="127.0.0.1", port=0, **settings)
        self.server = KedaServer(self.settings, self.store, served=self.codes.append)
        self._channels: list[grpc.aio.Channel] = []

    def publish(self, desired: float, *, name: str = "team-a/llama", **changes) -> None:
        publication = publication_of({name: desired}, **changes)
        self.store.swap(publication, received_s=self.clock.monotonic_s())

    def stub(self, credentials=None, options=()) -> stubs.ExternalScalerStub:
        return stubs.ExternalScalerStub(self.channel(credentials, options))

    def channel(self, credentials=None, options=()) -> grpc.aio.Channel:
        address = f"localhost:{self.server.port}"
        if credentials is None:
            channel = grpc.aio.insecure_channel(address, options=options)
        else:
            channel = grpc.aio.secure_channel(address, credentials, options=options)
        self._channels.append(channel)
        return channel

    async def __aenter__(self) -> Self:
        await self.server.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for channel in self._channels:
            await channel.close()
        await self.server.stop(0.2)


def scaled_object(metadata=None, *, namespace="team-a", name="so"):
    return pb.ScaledObjectRef(name=name, namespace=namespace, scalerMetadata=metadata or VARIANT)


def metrics_request(metric=DESIRED, metadata=None, **changes):
    return pb.GetMetricsRequest(
        scaledObjectRef=scaled_object(metadata, **changes), metricName=metric
    )


async def call(stub, method, metadata=None, **changes):
    make = metrics_request if method == "GetMetrics" else scaled_object
    request = make(metadata=metadata, **changes)
    return await getattr(stub, method)(request, timeout=5)


async def failure(awaitable) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value


async def next_of(stream, timeout_s=2.0):
    return await asyncio.wait_for(stream.read(), timeout_s)


@pytest.fixture
async def rig():
    async with Rig() as one:
        yield one


# 62: the metric's specification


def spec_of(response):
    (spec,) = response.metricSpecs
    return (spec.metricName, spec.targetSize, spec.targetSizeFloat)


async def test_62_spec_is_answered_before_the_first_publication_and_stays_the_same(rig):
    stub = rig.stub()
    before = await call(stub, "GetMetricSpec")
    rig.publish(5)
    fresh = await call(stub, "GetMetricSpec")
    rig.clock.advance(1e4)
    refused = await call(stub, "GetMetricSpec")
    assert [spec_of(r) for r in (before, fresh, refused)] == [(DESIRED, 1, 1.0)] * 3


async def test_62_spec_names_the_metric_in_lower_case(rig):
    metadata = {**VARIANT, "metricName": "WVA_Utilization"}
    response = await call(rig.stub(), "GetMetricSpec", metadata)
    assert spec_of(response) == ("wva_utilization", 1, 1.0)


# 63: metric names


@pytest.mark.parametrize(
    "metric",
    [
        pytest.param(DESIRED, id="exact"),
        pytest.param(DESIRED.upper(), id="upper-case"),
        pytest.param("Wva_Desired_Replicas", id="mixed"),
        pytest.param(f"s0-{DESIRED}", id="with-the-triggers-index"),
        pytest.param("", id="none-is-the-triggers-own"),
    ],
)
async def test_63_metric_is_found_in_any_case(rig, metric):
    rig.publish(5)
    response = await rig.stub().GetMetrics(metrics_request(metric), timeout=5)
    (value,) = response.metricValues
    assert (value.metricName, value.metricValue, value.metricValueFloat) == (DESIRED, 5, 5.0)


async def test_63_unknown_metric_is_not_found_and_known_ones_are_told(rig):
    rig.publish(5)
    error = await failure(rig.stub().GetMetrics(metrics_request("nope"), timeout=5))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "'nope'" in error.details()
    assert DESIRED in error.details()


@pytest.mark.parametrize("method", UNARY)
async def test_63_unknown_metric_in_the_trigger_is_not_found(rig, method):
    rig.publish(5)
    error = await failure(call(rig.stub(), method, {**VARIANT, "metricName": "nope"}))
    assert error.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("method", ["IsActive", "GetMetrics"])
async def test_63_unknown_variant_is_not_found(rig, method):
    rig.publish(5)
    error = await failure(call(rig.stub(), method, {"variantName": "other"}))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "'other'" in error.details()
    assert "llama" in error.details()


# 64: both fields


@pytest.mark.parametrize(
    ("value", "integer", "decimal"),
    [
        pytest.param(0.0, 0, 0.0, id="zero-is-zero-in-both"),
        pytest.param(3.0, 3, 3.0, id="whole"),
        pytest.param(2.5, 3, 2.5, id="integer-is-rounded-up"),
        pytest.param(0.0004, 1, 0.001, id="never-rounded-to-zero"),
        pytest.param(9.1e15, 9_100_000_000_000_000, 9.1e15, id="large"),
    ],
)
async def test_64_integer_and_float_agree(rig, value, integer, decimal):
    rig.publish(value)
    response = await call(rig.stub(), "GetMetrics")
    (got,) = response.metricValues
    assert (got.metricValue, got.metricValueFloat) == (integer, decimal)
    active = await call(rig.stub(), "IsActive")
    assert active.result is (value > 0)


async def test_64_nothing_that_is_no_count_gets_out(rig):
    for value in (float("nan"), float("inf"), -4.0, 1e16):
        rig.publish(value)
        for method in ("GetMetrics", "IsActive"):
            error = await failure(call(rig.stub(), method))
            assert error.code() is grpc.StatusCode.UNAVAILABLE, value


# 65: what can't be obeyed


@pytest.mark.parametrize("method", ["IsActive", "GetMetrics"])
async def test_65_no_publication_is_unavailable(rig, method):
    error = await failure(call(rig.stub(), method))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "no decision has been published yet" in error.details()


@pytest.mark.parametrize("method", ["IsActive", "GetMetrics"])
async def test_65_stale_is_held_and_then_unavailable_with_the_reason(rig, method):
    rig.publish(0, current=2, message="2 of 2 replicas silent: http://a (Timeout)")
    rig.clock.advance(35.0)
    held = await call(rig.stub(), method)
    if method == "IsActive":
        assert held.result is True
    else:
        assert held.metricValues[0].metricValueFloat == 2.0
    rig.clock.advance(600.0)
    error = await failure(call(rig.stub(), method))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "max_decision_age_s" in error.details()
    rig.publish(1)
    assert await call(rig.stub(), method)


async def test_65_answers_are_counted_by_code(rig):
    await failure(call(rig.stub(), "IsActive"))
    rig.publish(1)
    await call(rig.stub(), "IsActive")
    assert rig.codes == ["UNAVAILABLE", "OK"]


# 66: metadata, and whose namespace


@pytest.mark.parametrize("method", UNARY)
@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        pytest.param({"variantname": "llama"}, "'variantname'", id="misspelt-key"),
        pytest.param({"variantName": ""}, "variantName", id="empty-value"),
        pytest.param({"variantName": "x" * 300}, "variantName", id="too-long"),
    ],
)
async def test_66_bad_metadata_is_invalid_and_names_the_key(rig, method, metadata, named):
    rig.publish(5)
    error = await failure(call(rig.stub(), method, metadata))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert named in error.details()


async def test_66_bad_metadata_ends_a_stream_too(rig):
    for method in ("StreamIsActive", "StreamMetricSpec"):
        stream = getattr(rig.stub(), method)(scaled_object({"nope": "x"}))
        error = await failure(next_of(stream))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("method", UNARY)
async def test_66_another_namespace_is_denied(rig, method):
    rig.publish(5)
    metadata = {**VARIANT, "namespace": "team-a"}
    error = await failure(call(rig.stub(), method, metadata, namespace="team-b"))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "keda.namespaces" in error.details()


@pytest.mark.parametrize("listed", [("team-a",), ("*",)], ids=["listed", "all"])
async def test_66_another_namespace_is_allowed_when_listed(listed):
    async with Rig(namespaces=listed) as rig:
        rig.publish(5)
        metadata = {**VARIANT, "namespace": "team-a"}
        assert (await call(rig.stub(), "IsActive", metadata, namespace="team-b")).result


async def test_66_a_request_that_is_too_large_is_refused(rig):
    rig.publish(5)
    error = await failure(call(rig.stub(), "IsActive", {"xFromEnv": "y" * 1_000_000}))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


# 67: pushes


async def test_67_stream_sends_the_state_at_once_and_every_change(rig):
    rig.publish(0)
    stream = rig.stub().StreamIsActive(scaled_object())
    assert (await next_of(stream)).result is False
    rig.publish(1)
    assert (await next_of(stream)).result is True
    rig.publish(2)  # no change: nothing is sent
    rig.publish(0)
    assert (await next_of(stream)).result is False


async def test_67_push_arrives_within_100_ms(rig):
    rig.publish(0)
    stream = rig.stub().StreamIsActive(scaled_object())
    await next_of(stream)
    delays_s = []
    for turn in range(40):
        published_s = time.perf_counter()
        rig.publish((turn + 1) % 2)
        await next_of(stream)
        delays_s.append(time.perf_counter() - published_s)
    assert statistics.quantiles(delays_s, n=20)[-1] < 0.1


async def test_67_true_is_repeated_and_false_is_not():
    rig = Rig()
    rig.server.scaler = ExternalScaler(
        rig.store, namespaces=(), served=rig.codes.append, resend_s=0.1
    )
    async with rig:
        rig.publish(1)
        stream = rig.stub().StreamIsActive(scaled_object())
        for _ in range(4):
            assert (await next_of(stream)).result is True
        rig.publish(0)
        assert (await next_of(stream)).result is False
        with pytest.raises(TimeoutError):
            await next_of(stream, 0.5)


async def test_67_stream_is_silent_while_nothing_can_be_said_and_speaks_when_it_can(rig):
    stream = rig.stub().StreamIsActive(scaled_object())
    reading = asyncio.ensure_future(stream.read())
    await asyncio.sleep(0.2)
    assert not reading.done()  # nothing is published yet: neither true nor false
    rig.publish(1)
    assert (await asyncio.wait_for(reading, 1.0)).result is True


async def test_67_stream_waits_for_a_variant_that_is_not_known_yet(rig):
    rig.publish(1, name="team-a/other")
    stream = rig.stub().StreamIsActive(scaled_object())
    reading = asyncio.ensure_future(stream.read())
    await asyncio.sleep(0.2)
    assert not reading.done()
    error = await failure(call(rig.stub(), "IsActive"))
    assert error.code() is grpc.StatusCode.NOT_FOUND  # what KEDA's polls are told meanwhile
    rig.publish(1)
    assert (await asyncio.wait_for(reading, 1.0)).result is True


async def test_67_stream_outlives_a_variant_that_goes_away_and_comes_back(rig):
    rig.publish(1)
    stream = rig.stub().StreamIsActive(scaled_object())
    assert (await next_of(stream)).result is True
    rig.publish(1, name="team-a/other")
    await until(lambda: rig.server.scaler.open_streams == 1)
    rig.publish(0)
    assert (await next_of(stream)).result is False


async def test_67_stop_ends_streams_cleanly_and_a_restart_serves_them_again(rig):
    rig.publish(1)
    stream = rig.stub().StreamIsActive(scaled_object())
    await next_of(stream)
    started_s = time.perf_counter()
    await rig.server.stop(5.0)
    assert await next_of(stream) is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK
    assert time.perf_counter() - started_s < 2.0  # the grace period isn't waited out
    port = rig.server.port
    settings = KedaSettings(host="127.0.0.1", port=port)
    rig.server = KedaServer(settings, rig.store)
    await rig.server.start()
    assert rig.server.port == port
    again = rig.stub().StreamIsActive(scaled_object(), wait_for_ready=True)
    assert (await next_of(again, 5.0)).result is True


# 68: many streams


async def test_68_two_hundred_streams_and_unary_load_in_bounded_memory_and_threads(rig):
    rig.publish(0)
    stub = rig.stub()
    streams = [stub.StreamIsActive(scaled_object(name=f"so-{i}")) for i in range(200)]
    assert [r.result for r in await asyncio.gather(*map(next_of, streams))] == [False] * 200
    assert rig.server.scaler.open_streams == 200

    async def load(calls: int) -> None:
        for _ in range(calls):
            started_s = time.perf_counter()
            await asyncio.gather(*(call(stub, method) for method in UNARY))
            await asyncio.sleep(max(0.0, 3 / 50 - (time.perf_counter() - started_s)))

    async def turn(state: int) -> None:
        rig.publish(state)
        answers = await asyncio.gather(*(next_of(stream, 5.0) for stream in streams))
        assert {a.result for a in answers} == {bool(state)}

    await load(10)
    await turn(1)
    await turn(0)
    threads, bytes_before = threading.active_count(), resident_bytes()
    for state in (1, 0, 1, 0, 1, 0, 1, 0):
        await asyncio.gather(load(10), turn(state))  # 50 calls/s
    assert threading.active_count() == threads
    assert resident_bytes() - bytes_before < 8 * 2**20
    for stream in streams:
        stream.cancel()
    await until(lambda: rig.server.scaler.open_streams == 0)


def resident_bytes() -> int:
    gc.collect()
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


async def until(condition, timeout_s=1.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


# 69: the specification as a stream


async def test_69_spec_stream_sends_the_spec_at_once_and_stays_open(rig):
    stub = rig.stub()
    stream = stub.StreamMetricSpec(scaled_object())
    pushed = await next_of(stream)
    assert pushed == await call(stub, "GetMetricSpec")
    reading = asyncio.ensure_future(stream.read())
    rig.publish(3)
    await asyncio.sleep(0.1)
    assert not reading.done()
    rig.server.scaler.drain()
    assert await asyncio.wait_for(reading, 1.0) is grpc.aio.EOF


# 70: TLS


def tls_files(folder, authority, name="server"):
    cert_file, key_file = authority.issue(name).write(folder, name)
    return TlsFiles(cert_file=cert_file, key_file=key_file)


async def test_70_tls_with_a_ca(tmp_path):
    authority, other = Authority("wva"), Authority("other")
    async with Rig(tls=tls_files(tmp_path, authority)) as rig:
        rig.publish(1)
        trusting = rig.stub(grpc.ssl_channel_credentials(authority.pem))
        assert (await call(trusting, "IsActive")).result
        for wrong in (grpc.ssl_channel_credentials(other.pem), None):
            error = await failure(call(rig.stub(wrong), "IsActive"))
            assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_70_mutual_tls_refuses_who_has_no_certificate_of_the_ca(tmp_path):
    authority, clients, other = Authority("wva"), Authority("clients"), Authority("other")
    ca_file = tmp_path / "clients.crt"
    ca_file.write_bytes(clients.pem)
    async with Rig(tls=tls_files(tmp_path, authority), client_ca_file=ca_file) as rig:
        rig.publish(1)

        def credentials(pair=None):
            key, certificate = (pair.key, pair.certificate) if pair else (None, None)
            return grpc.ssl_channel_credentials(authority.pem, key, certificate)

        known = rig.stub(credentials(clients.issue("keda")))
        assert (await call(known, "IsActive")).result
        for stranger in (None, other.issue("keda"), authority.issue("keda")):
            error = await failure(call(rig.stub(credentials(stranger)), "IsActive"))
            assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_70_renewed_certificate_is_used_by_the_next_connection(tmp_path):
    first, second = Authority("first"), Authority("second")
    async with Rig(tls=tls_files(tmp_path, first)) as rig:
        rig.publish(1)

        def client(ca):
            # A connection of its own: gRPC shares those with equal options.
            options = (("grpc.use_local_subchannel_pool", 1),)
            return rig.stub(grpc.ssl_channel_credentials(ca.pem), options)

        early = client(first)
        assert (await call(early, "IsActive")).result
        (tmp_path / "server.crt").write_bytes(b"half written")
        assert (await call(client(first), "IsActive")).result  # the old one stays
        second.issue("server").write(tmp_path, "server")
        assert (await call(client(second), "IsActive")).result
        assert (await call(early, "IsActive")).result  # open connections stay
        error = await failure(call(client(first), "IsActive"))
        assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_70_certificates_that_cannot_work_stop_the_start(tmp_path):
    authority = Authority("wva")
    good = tls_files(tmp_path, authority)
    (tmp_path / "bad.pem").write_bytes(b"not a certificate")
    absent, bad = tmp_path / "absent.pem", tmp_path / "bad.pem"
    for settings, named in (
        ({"tls": TlsFiles(cert_file=absent, key_file=good.key_file)}, "absent.pem"),
        ({"tls": TlsFiles(cert_file=bad, key_file=good.key_file)}, "bad.pem"),
        ({"tls": tls_mismatch(tmp_path, authority, good)}, "keda.tls"),
        ({"tls": good, "client_ca_file": bad}, "keda.client_ca_file"),
        ({"client_ca_file": good.cert_file}, "keda.client_ca_file needs keda.tls"),
    ):
        with pytest.raises(ConfigError, match=named):
            await Rig(**settings).server.start()


def tls_mismatch(folder, authority, good):
    return TlsFiles(
        cert_file=tls_files(folder, authority, "other").cert_file, key_file=good.key_file
    )


async def test_a_taken_port_is_told_and_not_shared(rig):
    second = KedaServer(KedaSettings(host="127.0.0.1", port=rig.server.port), rig.store)
    with pytest.raises(ListenError, match=r"keda\.port"):
        await second.start()
    await second.stop(0.0)


# 71: cancellation


@pytest.mark.parametrize("method", ["StreamIsActive", "StreamMetricSpec"])
@pytest.mark.parametrize("published", [True, False], ids=["after-a-state", "before-any"])
async def test_71_cancelled_stream_ends_within_a_second(rig, method, published):
    if published:
        rig.publish(1)
    stream = getattr(rig.stub(), method)(scaled_object())
    if published or method == "StreamMetricSpec":
        await next_of(stream)
    await until(lambda: rig.server.scaler.open_streams == 1)
    stream.cancel()
    await until(lambda: rig.server.scaler.open_streams == 0)


async def test_71_a_client_that_goes_away_ends_its_streams(rig):
    rig.publish(1)
    channel = rig.channel()
    streams = [stubs.ExternalScalerStub(channel).StreamIsActive(scaled_object()) for _ in range(5)]
    await asyncio.gather(*map(next_of, streams))
    await channel.close()
    await until(lambda: rig.server.scaler.open_streams == 0)
    before = len(asyncio.all_tasks())
    rig.publish(0)
    await asyncio.sleep(0.05)
    assert len(asyncio.all_tasks()) <= before


async def test_71_an_open_stream_keeps_one_look_and_no_more(rig):
    rig.publish(1)
    stream = rig.stub().StreamIsActive(scaled_object())
    await next_of(stream)
    before = len(asyncio.all_tasks())
    for _ in range(20):
        rig.publish(1)
        await asyncio.sleep(0.005)
    assert len(asyncio.all_tasks()) <= before + 2


# 72: keep-alive


async def test_72_idle_connections_are_pinged(monkeypatch):
    """The options do what they say: a shorter time makes PING frames on an idle stream."""
    from adapter.keda import server as module

    shorter = tuple(
        (name, 200 if name == "grpc.keepalive_time_ms" else value)
        for name, value in module._OPTIONS
    )
    assert shorter != module._OPTIONS
    monkeypatch.setattr(module, "_OPTIONS", shorter)
    async with Rig() as rig:
        rig.publish(1)
        pings = await count_pings(rig.server.port, 1.5)
        assert pings >= 2


async def count_pings(port: int, seconds: float) -> int:
    """Speak just enough HTTP/2 to hold an idle connection, and count the server's PINGs."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
    pings = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                head = await reader.readexactly(9)
                body = await reader.readexactly(int.from_bytes(head[:3], "big"))
                kind, flags = head[3], head[4]
                if kind == 6 and not flags & 1:
                    pings += 1
                    writer.write(head[:4] + b"\x01" + head[5:] + body)
                elif kind == 4 and not flags & 1:
                    writer.write(bytes.fromhex("000000040100000000"))
    writer.close()
    return pings


async def test_72_a_client_that_pings_is_not_sent_away(rig):
    rig.publish(1)
    options = (
        ("grpc.keepalive_time_ms", 1100),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    )
    stream = rig.stub(options=options).StreamIsActive(scaled_object())
    await next_of(stream)
    reading = asyncio.ensure_future(stream.read())
    await asyncio.wait({reading}, timeout=5.0)  # gRPC's default ends it at the third ping
    assert not reading.done()
    rig.publish(0)
    assert (await asyncio.wait_for(reading, 1.0)).result is False


# 73: old clients


def old_classes():
    """Return the messages of KEDA before 2.17: no float fields."""
    string, integer = descriptor_pb2.FieldDescriptorProto.TYPE_STRING, 3
    file = descriptor_pb2.FileDescriptorProto(
        name="old_externalscaler.proto", package="externalscaler", syntax="proto3"
    )
    ref = file.message_type.add(name="ScaledObjectRef")
    optional, repeated, message = 1, 3, 11
    for number, name in ((1, "name"), (2, "namespace")):
        ref.field.add(name=name, number=number, type=string, label=optional)
    entry = ref.nested_type.add(name="ScalerMetadataEntry")
    entry.options.map_entry = True
    for number, name in ((1, "key"), (2, "value")):
        entry.field.add(name=name, number=number, type=string, label=optional)
    ref.field.add(
        name="scalerMetadata",
        number=3,
        type=message,
        label=repeated,
        type_name=".externalscaler.ScaledObjectRef.ScalerMetadataEntry",
    )
    request = file.message_type.add(name="GetMetricsRequest")
    request.field.add(
        name="scaledObjectRef",
        number=1,
        type=message,
        label=optional,
        type_name=".externalscaler.ScaledObjectRef",
    )
    request.field.add(name="metricName", number=2, type=string, label=optional)
    for outer, inner, plural, size in (
        ("GetMetricsResponse", "MetricValue", "metricValues", "metricValue"),
        ("GetMetricSpecResponse", "MetricSpec", "metricSpecs", "targetSize"),
    ):
        one = file.message_type.add(name=inner)
        one.field.add(name="metricName", number=1, type=string, label=optional)
        one.field.add(name=size, number=2, type=integer, label=optional)
        file.message_type.add(name=outer).field.add(
            name=plural,
            number=1,
            type=message,
            label=repeated,
            type_name=f".externalscaler.{inner}",
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = ("ScaledObjectRef", "GetMetricsRequest", "GetMetricsResponse", "GetMetricSpecResponse")
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"externalscaler.{name}"))
        for name in names
    ]


async def test_73_old_clients_read_the_integers(rig):
    rig.publish(2.5)
    ref_class, request_class, metrics_class, spec_class = old_classes()
    channel = rig.channel()

    async def ask(method, request, answer):
        path = f"/externalscaler.ExternalScaler/{method}"
        rpc = channel.unary_unary(
            path, request_serializer=type(request).SerializeToString, response_deserializer=answer
        )
        return await rpc(request, timeout=5)

    ref = ref_class(name="so", namespace="team-a", scalerMetadata=VARIANT)
    (spec,) = (await ask("GetMetricSpec", ref, spec_class.FromString)).metricSpecs
    assert (spec.metricName, spec.targetSize) == (DESIRED, 1)
    request = request_class(scaledObjectRef=ref, metricName=f"s0-{DESIRED}")
    (value,) = (await ask("GetMetrics", request, metrics_class.FromString)).metricValues
    assert value.metricValue == 3
    assert "metricValueFloat" not in value.DESCRIPTOR.fields_by_name


# Beside the contract: what operators look at


async def test_health_service_says_serving_and_then_not(rig):
    stub = health_pb2_grpc.HealthStub(rig.channel())
    for name in ("", SERVICE):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
    await next_of(watch)
    stopping = asyncio.ensure_future(rig.server.stop(0.5))
    changed = await next_of(watch)
    assert changed.status == health_pb2.HealthCheckResponse.NOT_SERVING
    await stopping


async def test_reflection_lists_the_service(rig):
    stub = reflection_pb2_grpc.ServerReflectionStub(rig.channel())
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    async for answer in stub.ServerReflectionInfo(asked):
        names = {one.name for one in answer.list_services_response.service}
        break
    assert "externalscaler.ExternalScaler" in names
