import numpy as np
import pytest

from simulator import serving_kernel, state
from simulator.compiled import has_numba
from simulator.engine import EngineSpec, RequestStatus, simulate
from simulator.outcomes import LOST
from simulator.pod import Pod, PodEngine, PodState
from simulator.service import Service
from simulator.workload import Requests

SPEC = EngineSpec(
    iteration_base_s=0.01,
    decode_slope_s=0.0005,
    prefill_slope_s=0.00002,
    kv_slope_s=1e-7,
    max_num_seqs=8,
    num_gpu_blocks=200,
)


def requests(count=60, rate_rps=20.0, seed=1):
    random = np.random.default_rng(seed)
    return Requests(
        arrival_s=np.cumsum(random.exponential(1.0 / rate_rps, count)),
        prompt_tokens=random.integers(1, 300, count),
        output_tokens=random.integers(1, 40, count),
        cached_tokens=np.zeros(count, dtype=np.int64),
    )


def service(coming, *, law=serving_kernel.LEAST_LOADED, limit=None, timeout_s=1e9, compiled=False):
    return Service(
        coming,
        law=law,
        timeout_s=timeout_s,
        max_in_flight=limit,
        random=np.random.default_rng(3),
        observed=True,
        compiled=compiled,
    )


def ready_pod(number=0, spec=SPEC, start_s=0.0):
    pod = Pod(number=number, variant=0, created_s=0.0, state=PodState.READY)
    pod.engine = PodEngine(spec, start_s=start_s, max_model_len=512)
    return pod


def run(one, *, step_s=0.7, until_s=60.0):
    for at_s in np.arange(step_s, until_s + step_s, step_s):
        one.advance(float(at_s))
    return one.outcomes()


@pytest.mark.parametrize("step_s", [0.05, 0.7, 60.0], ids=["often", "seldom", "once"])
def test_one_pod_serves_as_the_engine_alone_does(step_s):
    coming = requests()
    one = service(coming)
    one.add(ready_pod(), 1.0)
    got = run(one, step_s=step_s)
    alone = simulate(
        SPEC, coming.arrival_s, coming.prompt_tokens, coming.output_tokens, compiled=False
    )
    np.testing.assert_array_equal(got.status, alone.status)
    np.testing.assert_allclose(got.ttft_s, alone.ttft_s, rtol=1e-9)
    np.testing.assert_allclose(got.itl_s, alone.itl_s, rtol=1e-9)


def test_rows_of_ended_requests_are_used_again():
    coming = requests(count=2600, rate_rps=60.0)
    one = service(coming)
    for number in range(2):
        one.add(ready_pod(number), 1.0)
    got = run(one, step_s=2.0, until_s=120.0)
    assert (got.status == RequestStatus.FINISHED).all()
    assert one.in_flight == 0
    assert all(len(pod.engine.key) < 2600 for pod in one.pods)


@pytest.mark.skipif(not has_numba(), reason="numba, the extra [sim], isn't installed")
def test_compiled_code_gives_the_same_answers():
    answers = []
    for compiled in (False, True):
        one = service(requests(count=200), compiled=compiled)
        for number in range(3):
            one.add(ready_pod(number), 1.0)
        answers.append(run(one))
    np.testing.assert_array_equal(answers[0].status, answers[1].status)
    np.testing.assert_allclose(answers[0].ttft_s, answers[1].ttft_s, rtol=1e-12)


def sent_to(one):
    return np.asarray(one.ledger.gateway.replica)


@pytest.mark.parametrize(
    ("law", "share"),
    [
        pytest.param(serving_kernel.ROUND_ROBIN, (1 / 3, 1 / 3, 1 / 3), id="round robin"),
        pytest.param(serving_kernel.EQUAL_PER_REPLICA, (1 / 3, 1 / 3, 1 / 3), id="equal"),
        pytest.param(serving_kernel.WEIGHTED, (0.5, 0.25, 0.25), id="weighted"),
    ],
)
def test_a_law_gives_each_replica_its_share(law, share):
    one = service(requests(count=900, rate_rps=30.0), law=law)
    for number, weight in enumerate((2.0, 1.0, 1.0)):
        one.add(ready_pod(number), weight)
    run(one)
    counts = np.bincount(sent_to(one), minlength=3) / 900
    np.testing.assert_allclose(counts, share, atol=0.05)


@pytest.mark.parametrize(
    "law", [serving_kernel.LEAST_LOADED, serving_kernel.KV_AWARE], ids=["least loaded", "kv aware"]
)
def test_a_law_that_looks_sends_more_to_the_faster(law):
    slow = EngineSpec(iteration_base_s=0.04, decode_slope_s=0.002, num_gpu_blocks=100)
    one = service(requests(count=600, rate_rps=15.0), law=law)
    one.add(ready_pod(0), 1.0)
    one.add(ready_pod(1, slow), 1.0)
    run(one)
    fast, slower = np.bincount(sent_to(one), minlength=2)
    assert fast > slower


def test_the_gateway_keeps_what_nobody_can_take_and_sends_it_later():
    coming = requests(count=20)
    one = service(coming)
    one.advance(2.0)
    assert one.queued == 20
    one.add(ready_pod(start_s=2.0), 1.0)
    one.advance(30.0)
    got = one.outcomes()
    assert (got.status == RequestStatus.FINISHED).all()
    assert (got.arrival_s + got.ttft_s > 2.0).all()


def test_who_waits_too_long_at_the_gateway_gives_up():
    one = service(requests(count=20), timeout_s=1.0)
    one.advance(30.0)
    assert (one.outcomes().status == RequestStatus.TIMED_OUT).all()
    assert one.queued == 0


def test_a_limit_keeps_requests_at_the_gateway():
    one = service(requests(count=60, rate_rps=100.0), limit=2)
    one.add(ready_pod(), 1.0)
    one.advance(0.6)
    assert one.in_flight <= 2
    assert one.queued > 0
    got = run(one, step_s=0.1, until_s=60.0)
    assert (got.status == RequestStatus.FINISHED).all()


def test_a_pod_that_is_taken_loses_what_it_has():
    one = service(requests(count=60, rate_rps=100.0))
    pod = ready_pod()
    one.add(pod, 1.0)
    one.advance(0.7)
    flying = one.in_flight
    assert flying > 0
    one.remove(pod, at_s=0.7)
    assert (one.outcomes().status == LOST).sum() == flying


def test_a_draining_pod_gets_nothing_new():
    coming = requests(count=60)
    one = service(coming)
    pods = [ready_pod(0), ready_pod(1)]
    for pod in pods:
        one.add(pod, 1.0)
    one.advance(1.0)
    pods[0].state = PodState.DRAINING
    one.changed()
    before = (sent_to(one) == 0).sum()
    run(one, step_s=5.0)
    assert (sent_to(one) == 0).sum() == before


def test_tokens_before_the_first_are_those_of_who_waits():
    coming = requests(count=30)
    one = service(coming)
    one.advance(10.0)
    assert one.tokens_before_first() == coming.prompt_tokens.sum()
    one.add(ready_pod(), 1.0)
    run(one)
    assert one.tokens_before_first() == 0.0


def test_an_unknown_first_token_is_nan():
    one = service(requests(count=5))
    one.advance(0.2)
    assert np.isnan(one.outcomes().ttft_s).all()
    assert (one.outcomes().status <= state.RUNNING).all()
