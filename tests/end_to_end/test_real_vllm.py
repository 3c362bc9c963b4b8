"""A live vLLM, where one is at hand: `WVA_REAL_VLLM=http://127.0.0.1:8000`, a model of any size.

Requests are sent over HTTP for half a minute, prompts as token ids, and what the unchanged
collector reads of the engine meanwhile is compared with what their sender saw.
"""

import asyncio
import json
import os
import time
from dataclasses import dataclass

import aiohttp
import numpy as np
import pytest

from adapter.clock import SystemClock
from adapter.collect import Collector
from adapter.config import parse_settings
from adapter.demand import replica_offered_rate_rps

URL = os.environ.get("WVA_REAL_VLLM", "").rstrip("/")
pytestmark = pytest.mark.skipif(
    not URL, reason="WVA_REAL_VLLM names no vLLM to send requests to (http://127.0.0.1:8000)"
)

LOAD_S, RATE_RPS, SCRAPE_S = 30.0, 3.0, 2.0
PROMPT_TOKENS, OUTPUT_TOKENS = (16, 200), (8, 48)


@dataclass(frozen=True)
class Sent:
    """One request as its sender saw it."""

    arrival_s: float
    prompt_tokens: int
    token_times_s: tuple[float, ...]


async def send(session: aiohttp.ClientSession, model: str, prompt: list[int], output: int) -> Sent:
    body = {
        "model": model,
        "prompt": prompt,
        "max_tokens": output,
        "ignore_eos": True,
        "stream": True,
    }
    arrival_s = time.monotonic()
    async with session.post(f"{URL}/v1/completions", json=body) as answer:
        answer.raise_for_status()
        times = [time.monotonic() async for line in answer.content if line.startswith(b"data: {")]
    return Sent(arrival_s, len(prompt), tuple(times))


async def load(session: aiohttp.ClientSession, model: str) -> list[Sent]:
    rng = np.random.default_rng(1)
    pending = []
    for gap_s in rng.exponential(1.0 / RATE_RPS, size=int(LOAD_S * RATE_RPS)):
        await asyncio.sleep(gap_s)
        prompt = rng.integers(10, 1000, size=rng.integers(*PROMPT_TOKENS)).tolist()
        output = int(rng.integers(*OUTPUT_TOKENS))
        pending.append(asyncio.ensure_future(send(session, model, prompt, output)))
    return await asyncio.gather(*pending)


async def test_a_live_engine_reads_as_its_client_saw_it():
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{URL}/v1/models") as answer:
            model = (await answer.json())["data"][0]["id"]
        settings = parse_settings(
            f"sources: {{scrape: {{window_s: 600}}}}\nmodels: {{{json.dumps(model)}: {{}}}}\n"
            f"variants: [{{name: live, model: {json.dumps(model)}, accelerator: cpu, "
            f'endpoints: ["{URL}"]}}]'
        )
        collector = Collector(settings, SystemClock())
        await collector.start()
        try:
            await collector.collect()
            began_s = time.monotonic()
            sending = asyncio.ensure_future(load(session, model))
            while not sending.done():
                await asyncio.sleep(SCRAPE_S)
                await collector.collect()
            sent = await sending
            snapshot = await collector.collect()
            observed_s = time.monotonic() - began_s
        finally:
            await collector.stop()
    assert snapshot.faults == ()
    assert snapshot.dialect == ("vllm",)
    signals = {name: float(readings.values[0]) for name, readings in snapshot.replica.items()}
    offered = replica_offered_rate_rps(
        arrivals=snapshot.replica["arrival_rate_rps"],
        completions=snapshot.replica["completion_rate_rps"],
        inflight_slope=snapshot.replica["inflight_slope_rps"],
        rejections=snapshot.replica["rejection_rate_rps"],
    )
    gaps = np.concatenate([np.diff(one.token_times_s) for one in sent])
    found = (
        float(offered.values[0]),
        signals["prompt_tokens_mean"],
        signals["output_tokens_mean"],
        signals["itl_mean_s"],
    )
    expected = (
        len(sent) / observed_s,
        np.mean([one.prompt_tokens for one in sent]),
        np.mean([len(one.token_times_s) for one in sent]),
        gaps.mean(),
    )
    print(f"\n  requests/s, prompt, output, ITL s: read {found}, seen {expected}")
    assert found == pytest.approx(expected, rel=0.05)
    first_s = np.mean([one.token_times_s[0] - one.arrival_s for one in sent])
    # The client's includes the way to the engine and back.
    assert signals["ttft_mean_s"] <= first_s
