"""The main job in one command: everything starts, scales up and down, and ends in order."""

import asyncio
import json
import shutil
import signal
import sys

import pytest


async def demo(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "adapter",
        "demo",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_a_minute_of_it():
    process = await demo("--duration", "60", "--json")
    output, shown = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, shown.decode()
    summary = json.loads(output)
    assert summary["rises"] > 0
    assert summary["falls"] > 0
    assert summary["slo_misses"] == []
    assert summary["windows_judged"] >= 2
    assert summary["failed"] == 0
    assert any(
        summary["replicas_highest"][name] > low for name, low in summary["replicas_lowest"].items()
    )
    assert summary["cost"] < summary["cost_static_peak"]
    assert summary["curl"] in shown.decode()
    if shutil.which("curl"):
        assert "llama-8b-h100=" in summary["curl_value"]


async def test_an_interrupt_ends_it_cleanly_with_a_summary():
    process = await demo("--duration", "300")
    line = await asyncio.wait_for(process.stdout.readuntil(b"llama-8b-h100  "), 30)
    assert b"curl --cacert" in line
    await asyncio.sleep(1)
    process.send_signal(signal.SIGINT)
    output, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, errors.decode()
    assert b"requests" in output
    assert b"Traceback" not in errors


@pytest.mark.parametrize("after_s", [0.1, 0.3, 0.6, 1.0, 1.5, 2.5])
async def test_an_interrupt_before_the_adapter_is_up_is_clean_too(after_s):
    process = await demo("--duration", "60")
    await asyncio.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    # 130 while it still imports. Until the interpreter has come to our code it is on its own.
    assert process.returncode in {0, 1, 130, -signal.SIGINT}
    assert b"Traceback" not in errors or b"cli.py" not in errors


async def test_too_short_a_run_is_refused_in_one_line():
    process = await demo("--duration", "5")
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert b"60" in errors
    assert b"Traceback" not in errors
