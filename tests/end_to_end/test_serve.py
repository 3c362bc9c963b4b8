"""The adapter as a process: reads an engine, serves, survives faults, drains, exits 0."""

import asyncio
import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import yaml
from aiohttp import web

METRIC = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/wva_desired_replicas"
PAGE = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} %(running)d.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} %(waiting)d.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} %(kv)s
# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} %(done)d.0
"""


@dataclass
class Engine:
    """A listener that speaks like a vLLM, or fails the way it is told to."""

    mode: str = "good"
    figures: dict = field(default_factory=lambda: {"running": 3, "waiting": 0, "kv": "0.2"})
    done: int = 0
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.mode == "500":
            return web.Response(status=500, text="no")
        if self.mode == "garbage":
            return web.Response(body=bytes(range(256)) * 40)
        if self.mode == "reset":
            request.transport.abort()
        if self.mode == "hang":
            await asyncio.sleep(3)
        self.done += 1
        page = (PAGE % {**self.figures, "done": self.done}).encode()
        if self.mode == "half":
            response = web.StreamResponse(headers={"Content-Length": str(len(page))})
            await response.prepare(request)
            await response.write(page[: len(page) // 2])
            request.transport.close()
            return response
        return web.Response(body=page, headers={"Content-Type": "text/plain; version=0.0.4"})


@asynccontextmanager
async def engine() -> AsyncIterator[Engine]:
    played = Engine()
    app = web.Application()
    app.router.add_get("/metrics", played.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    played.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield played
    finally:
        await runner.cleanup()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@dataclass
class Adapter:
    process: asyncio.subprocess.Process
    client: httpx.AsyncClient
    settings: Path
    health: str

    async def desired(self) -> float | str:
        """Return the served count, or the message of the Status that came instead."""
        answer = (await self.client.get(METRIC)).json()
        return float(answer["items"][0]["value"]) if "items" in answer else answer["message"]

    async def explained(self) -> dict:
        return (await self.client.get("/explain/default/v?format=json")).json()

    async def until(self, condition, *, seconds=15.0):
        """Return the first explanation that meets the condition."""
        explained = {}
        for _ in range(int(seconds / 0.1)):
            explained = await self.explained()
            if explained.get("kind") != "Status" and condition(explained):
                return explained
            await asyncio.sleep(0.1)
        raise AssertionError(f"not in {seconds} s: {json.dumps(explained)[:1500]}")


@asynccontextmanager
async def adapter(folder: Path, url: str, **more) -> AsyncIterator[Adapter]:
    api, keda, health = free_port(), free_port(), free_port()
    path = folder / "wva.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "interval_s": 0.2,
                "max_decision_age_s": 1.5,
                "hold_s": 2.0,
                "state_dir": str(folder),
                "sources": {"scrape": {"interval_s": 0.2, "timeout_s": 0.5, "window_s": 2}},
                "brakes": {"warm_up_s": 0},
                "variants": [
                    {"name": "v", "model": "m", "accelerator": "H100", "endpoints": [url]}
                ],
                "api": {"host": "127.0.0.1", "port": api, "auth": "none"},
                "keda": {"host": "127.0.0.1", "port": keda},
                "health": {"host": "127.0.0.1", "port": health},
                **more,
            }
        )
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "adapter", "serve", "--settings", str(path), "--log-level", "error"
    )
    try:
        for _ in range(800):
            if (folder / "ca.crt").exists():
                break
            await asyncio.sleep(0.05)
        context = ssl.create_default_context(cafile=folder / "ca.crt")
        async with httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{api}",
            verify=context,
            timeout=5,
            transport=httpx.AsyncHTTPTransport(verify=context, retries=20),
        ) as client:
            yield Adapter(process, client, path, f"http://127.0.0.1:{health}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def fresh(explained: dict) -> bool:
    return explained["freshness"]["state"] == "fresh"


async def test_serves_a_decision_and_leaves_in_order(tmp_path):
    async with engine() as vllm, adapter(tmp_path, vllm.url) as wva:
        await wva.until(lambda e: fresh(e) and e["inputs"]["arrival_rate_rps"]["value"])
        assert await wva.desired() == 1
        async with httpx.AsyncClient(base_url=wva.health) as probe:
            assert (await probe.get("/readyz")).status_code == 200
            page = (await probe.get("/metrics")).text
            assert "wva_desired_replicas{" in page
            wva.process.send_signal(signal.SIGTERM)
            while (await probe.get("/readyz")).status_code == 200:
                await asyncio.sleep(0.02)
        # Not ready, so that nobody new is sent here; who is here already is still answered.
        assert await wva.desired() == 1
        assert await asyncio.wait_for(wva.process.wait(), 15) == 0


async def test_saturation_scales_up_without_any_profile(tmp_path):
    async with engine() as vllm, adapter(tmp_path, vllm.url) as wva:
        vllm.figures |= {"running": 40, "waiting": 60, "kv": "0.97"}
        explained = await wva.until(lambda e: e["decision"]["served_replicas"] >= 2)
        assert explained["binding"] == "Saturation"


@pytest.mark.parametrize("mode", ["500", "garbage", "reset", "half", "hang"])
async def test_a_failing_engine_freezes_then_refuses_then_recovers(tmp_path, mode):
    async with engine() as vllm, adapter(tmp_path, vllm.url) as wva:
        vllm.figures |= {"running": 40, "waiting": 60, "kv": "0.97"}
        before = await wva.until(lambda e: fresh(e) and e["decision"]["served_replicas"] >= 2)
        vllm.mode = mode
        held = await wva.until(lambda e: e["freshness"]["state"] == "held" and e["message"])
        assert held["decision"]["served_replicas"] >= before["decision"]["served_replicas"]
        assert "1 of 1 replicas silent" in held["message"]
        refused = await wva.until(lambda e: e["freshness"]["state"] == "refused")
        assert refused["decision"]["served_replicas"] is None
        message = await wva.desired()
        assert isinstance(message, str)
        assert "refused" in message
        vllm.mode = "good"
        again = await wva.until(fresh)
        assert again["decision"]["served_replicas"] >= 1


async def test_a_broken_settings_file_changes_nothing_until_it_is_mended(tmp_path):
    async with engine() as vllm, adapter(tmp_path, vllm.url) as wva:
        await wva.until(fresh)
        good = wva.settings.read_text()
        wva.settings.write_text("variants: [{name: v, nonsense: 1}]")
        async with httpx.AsyncClient(base_url=wva.health) as probe:
            for _ in range(100):
                page = (await probe.get("/metrics")).text
                if "wva_settings_reload_failures_total 1.0" in page:
                    break
                await asyncio.sleep(0.1)
            else:
                raise AssertionError([x for x in page.splitlines() if "settings" in x])
        assert fresh(await wva.explained())
        mended = yaml.safe_load(good)
        mended["variants"][0]["min_replicas"] = 3
        wva.settings.write_text(yaml.safe_dump(mended))
        await wva.until(lambda e: e["decision"]["served_replicas"] == 3)


async def test_the_loop_is_started_again_when_it_dies(tmp_path):
    async with engine() as vllm, adapter(tmp_path, vllm.url) as wva:
        await wva.until(fresh)
        children = Path(f"/proc/{wva.process.pid}/task/{wva.process.pid}/children")
        first = int(children.read_text().split()[0])
        os.kill(first, signal.SIGKILL)
        for _ in range(150):
            now = children.read_text().split()
            if now and int(now[0]) != first:
                break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError("no new loop process")
        await wva.until(fresh)


async def test_it_ends_in_order_when_the_cluster_cannot_be_asked(tmp_path, monkeypatch):
    """A kubeconfig of a cluster that isn't there: it waits for it, and still leaves on time."""
    user = {"name": "wva", "user": {"token": "none"}}
    cluster = {"name": "c", "cluster": {"server": f"https://127.0.0.1:{free_port()}"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "wva"}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "c"}
    lists = {"clusters": [cluster], "users": [user], "contexts": [context]}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump({**config, **lists}))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    api = {"host": "127.0.0.1", "port": free_port()}
    async with engine() as vllm, adapter(tmp_path, vllm.url, api=api) as wva:
        transport = httpx.AsyncHTTPTransport(retries=20)
        async with httpx.AsyncClient(base_url=wva.health, transport=transport) as probe:
            for _ in range(100):
                if (await probe.get("/readyz")).status_code == 200:
                    break
                await asyncio.sleep(0.1)
        wva.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(wva.process.wait(), 15) == 0


async def refused(path: Path, *arguments: str) -> tuple[int | None, bytes]:
    """Serve with settings that can't be used; return the exit code and what was said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "adapter",
        "serve",
        "--settings",
        str(path),
        *arguments,
        stderr=asyncio.subprocess.PIPE,
    )
    _, error = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode, error


async def test_unusable_settings_end_with_two(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("interval_s: -1")
    code, error = await refused(path)
    assert code == 2
    assert b"interval_s" in error


async def test_a_taken_port_is_told_in_a_line_and_ends_with_two(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = tmp_path / "wva.yaml"
        settings = {
            "state_dir": str(tmp_path),
            "api": {"host": "127.0.0.1", "port": port, "auth": "none"},
            "keda": {"host": "127.0.0.1", "port": free_port()},
            "health": {"host": "127.0.0.1", "port": free_port()},
        }
        path.write_text(yaml.safe_dump(settings))
        code, error = await refused(path, "--log-level", "error")
    assert code == 2
    assert error.decode().count("\n") == 1
    assert str(port).encode() in error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restart_lowers_no_count_and_is_served_at_once(tmp_path, number):
    more = {"hold_s": 60.0, "down_window_s": 3.0}
    async with engine() as vllm:
        async with adapter(tmp_path, vllm.url, **more) as wva:
            vllm.figures |= {"running": 40, "waiting": 60, "kv": "0.97"}
            before = await wva.until(lambda e: fresh(e) and e["decision"]["served_replicas"] >= 2)
            await asyncio.sleep(1.0)  # copies are made twice a second
            counts = [before["decision"]["served_replicas"]]
            wva.process.send_signal(number)
            await wva.process.wait()
        # Idle, and at first unreachable: reasons enough for a beginner to want less.
        vllm.figures |= {"running": 0, "waiting": 0, "kv": "0.0"}
        vllm.mode = "500"
        async with adapter(tmp_path, vllm.url, **more) as wva:
            counts.append(await wva.desired())
            held = await wva.until(lambda e: "HTTP" in e["message"] or "Http" in e["message"])
            counts.append(held["decision"]["served_replicas"])
            vllm.mode = "good"
            again = await wva.until(fresh)
            counts.append(again["decision"]["served_replicas"])
            assert min(counts) == counts[0]
            # And once it has seen enough itself, it decides as it would have without.
            await wva.until(lambda e: fresh(e) and e["decision"]["served_replicas"] == 1)


async def test_a_damaged_state_is_told_and_everything_begins_anew(tmp_path):
    (tmp_path / "decisions.state").write_bytes(b"WVAS" + bytes(range(256)))
    async with engine() as vllm, adapter(tmp_path, vllm.url) as wva:
        await wva.until(fresh)
        assert await wva.desired() == 1
