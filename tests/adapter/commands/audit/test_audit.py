"""The whole command against answers that a real Prometheus gave: see record.py."""

import asyncio
import json
import sys

import pytest

from adapter.cli import main

from ....helpers.prometheus_tape import playing
from .past import ARGUMENTS, HPA, TAPE


async def audit(url, *arguments):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "adapter", "audit", "--prometheus", url, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 300)
    return process.returncode, output.decode(), errors.decode()


async def played(*arguments):
    async with playing(TAPE) as url:
        return await audit(url, *arguments, "--json")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("audit")
    arguments = (*ARGUMENTS, "--hpa", str(HPA), "--out", str(out))
    code, output, errors = asyncio.run(played(*arguments))
    assert code == 0, errors
    assert json.loads((out / "audit.json").read_text()) == json.loads(output)
    return json.loads(output), (out / "audit.html").read_text()


def test_the_past_is_read_fitted_and_reproduced(found):
    document, _ = found
    (workload,) = document["workloads"]
    assert workload["workload"] == "llama-8b"
    assert workload["model"] == "llama-3.1-8b"
    assert (workload["replicas_least"], workload["replicas_most"]) == (1, 3)
    # The law that made the past: 18 ms + 0.6 per sequence + 0.0004 per KV token (400 or so of
    # them per sequence), 0.1 per prompt token.
    profile = workload["profile"]
    assert profile["alpha_ms"] == pytest.approx(18.0, rel=0.05)
    assert profile["beta_prefill_ms"] == pytest.approx(0.1, rel=0.10)
    assert profile["beta_ms"] + 450 * profile["gamma_ms"] == pytest.approx(0.78, rel=0.10)
    checks = {check["name"]: check for check in document["reproduction"]}
    assert set(checks) == {"requests", "ITL mean", "TTFT mean", "attainment", "replicas"}
    assert all(check["good"] for check in checks.values())
    assert checks["requests"]["recorded"] == pytest.approx(12_330, rel=0.02)


def test_the_verdict_says_what_it_would_have_cost(found):
    document, _ = found
    assert document["verdict"] == {
        "given": True,
        "why_not": None,
        "compared_with": "your autoscaler",
    }
    policies = document["policies"]
    assert list(policies) == ["recorded", "recorded counts", "your autoscaler", "wva"]
    assert policies["recorded"]["gpu_hours"] == pytest.approx(2.07, abs=0.05)
    assert policies["recorded"]["cost"] == pytest.approx(1.6 * policies["recorded"]["gpu_hours"])
    assert policies["recorded counts"]["gpu_hours"] == pytest.approx(2.07, abs=0.1)
    assert policies["wva"]["gpu_hours"] > 0.5
    assert all(policy["slo_minutes_missed"] is not None for policy in policies.values())
    assert document["assumptions"] == []


def test_the_page_needs_nothing_else(found):
    _, page = found
    assert "wva audit" in page
    assert "Verdict" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


async def test_a_promise_that_was_broken_has_its_moments():
    code, output, errors = await played(*ARGUMENTS, "--itl-ms", "27")
    assert code == 0, errors
    moments = json.loads(output)["worst_moments"]
    assert 1 <= len(moments) <= 10
    assert all(moment["why"] and moment["wva_reason"] for moment in moments)
    missed = [moment["missed_requests"] for moment in moments]
    assert missed == sorted(missed, reverse=True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(["--last", "a week"], 2, "is no duration", id="duration"),
        pytest.param(["--until", "yesterday"], 2, "--until yesterday", id="moment"),
        pytest.param(["--hpa", "nowhere.yaml"], 2, "cannot read nowhere.yaml", id="file"),
        pytest.param(["--match", "a=b"], 2, "--match", id="matcher"),
        pytest.param(["--settings", "nowhere.yaml"], 2, "cannot read settings", id="settings"),
        pytest.param(["--last", "1h"], 1, "can't read the history", id="nobody there"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(arguments, code, message, capsys):
    assert main(["audit", "--prometheus", "http://127.0.0.1:9", *arguments]) == code
    assert message in capsys.readouterr().err
