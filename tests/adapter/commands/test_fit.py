"""`wva fit`: from result files to settings that load."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import yaml

from adapter.benchmark_files import parse_points
from adapter.cli import main
from adapter.config import parse_settings
from adapter.errors import ConfigError
from optimizer.domain import ServiceProfiles, Workloads
from optimizer.operating_point import at_concurrency
from optimizer.step_law import POISSON, load_of

MEASURED = (
    Path(__file__).resolve().parents[4] / "shared" / "reference" / "measured-llama-3.1-8b.csv"
)
TRUTH = {"iteration_base_s": 9e-3, "decode_slope_s": 3e-5, "prefill_slope_s": 5e-5,
         "kv_slope_s": 9e-8, "ttft_constant_s": 12e-3}  # fmt: skip


def runs():
    """What an engine that keeps the law gives for three shapes at five loads."""
    for prompt, output in ((256, 512), (2048, 128), (1024, 1024)):
        for requests in (1.0, 4.0, 16.0, 48.0, 96.0):
            one = np.ones(1)
            work = Workloads(
                prompt_tokens_mean=prompt * one,
                prompt_tokens_second_moment=prompt**2 * one,
                output_tokens_mean=output * one,
                output_tokens_second_moment=output**2 * one,
                prefix_hit_ratio=0 * one,
            )
            profile = ServiceProfiles(**{name: value * one for name, value in TRUTH.items()})
            itl, ttft = at_concurrency(
                profile, load_of(work, one), requests * one, dispersion=POISSON
            )
            rate = requests / (ttft[0] + (output - 1) * itl[0])
            yield prompt, output, requests, rate, float(itl[0]), float(ttft[0])


def vllm_text():
    """One object after the other, as --append-result leaves them."""
    return "\n".join(
        json.dumps(
            {
                "model_id": "m", "request_rate": "inf", "completed": 100, "duration": 100 / rate,
                "total_input_tokens": 100 * prompt, "total_output_tokens": 100 * output,
                "request_throughput": rate, "mean_ttft_ms": ttft * 1e3,
                "mean_tpot_ms": itl * 1e3, "mean_itl_ms": itl * 1e3,
            }
        )
        for prompt, output, _, rate, itl, ttft in runs()
    )  # fmt: skip


def guidellm_text():
    def spread(mean, std=0.0):
        return {"successful": {"mean": mean, "std_dev": std}, "errored": {"mean": 0.0}}

    return json.dumps(
        {
            "benchmarks": [
                {
                    "config": {"strategy": {"type_": "concurrent"}},
                    "metrics": {
                        "requests_per_second": spread(rate),
                        "request_concurrency": spread(requests),
                        "prompt_token_count": spread(prompt),
                        "output_token_count": spread(output),
                        "time_to_first_token_ms": spread(ttft * 1e3),
                        "inter_token_latency_ms": spread(itl * 1e3),
                    },
                }
                for prompt, output, requests, rate, itl, ttft in runs()
            ]
        }
    )


def csv_text():
    lines = ["isl,osl,concurrency,ttft_ms,tpot_ms"]
    lines += [f"{p},{o},{n},{ttft * 1e3},{itl * 1e3}" for p, o, n, _, itl, ttft in runs()]
    return "\n".join(lines)


FORMATS = [
    pytest.param(vllm_text, "results.json", id="vllm-bench"),
    pytest.param(guidellm_text, "benchmarks.json", id="guidellm"),
    pytest.param(csv_text, "results.csv", id="csv"),
]


@pytest.mark.parametrize(("text", "name"), FORMATS)
def test_every_format_gives_the_profile_back(text, name, tmp_path, capsys):
    path = tmp_path / name
    path.write_text(text())
    assert main(["fit", str(path), "--model", "llama", "--accelerator", "L40S", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rests_on"] == "full"
    assert told["itl_error_ratio"] < 0.005
    profile = told["profile"]
    found = [profile[k] for k in ("alpha_ms", "beta_ms", "beta_prefill_ms", "gamma_ms")]
    truth = [1e3 * TRUTH[k] for k in list(TRUTH)[:4]]
    assert found == pytest.approx(truth, rel=0.05)
    assert profile["ttft_constant_ms"] == pytest.approx(12.0, rel=0.1)


def test_what_is_printed_are_settings_that_load(tmp_path, capsys):
    path = tmp_path / "results.csv"
    path.write_text(csv_text())
    assert (
        main(["fit", str(path), "--model", "m", "--accelerator", "L40S", "--max-batch-size", "64"])
        == 0
    )
    printed = capsys.readouterr().out
    profile = parse_settings(printed).models["m"].profiles["L40S"]
    assert profile.alpha_ms == pytest.approx(9.0, rel=0.05)
    assert profile.max_batch_size == 64
    assert yaml.safe_load(printed).keys() == {"models"}


def test_the_plot_has_a_dot_and_a_cross_per_point(tmp_path, capsys):
    path, plot = tmp_path / "results.csv", tmp_path / "fit.svg"
    path.write_text(csv_text())
    assert main(["fit", str(path), "--plot", str(plot)]) == 0
    drawing = ET.fromstring(plot.read_text())
    circles = drawing.iter("{http://www.w3.org/2000/svg}circle")
    assert sum(1 for _ in circles) == 2 * len(list(runs()))


def test_one_load_is_refused_with_what_to_measure(tmp_path, capsys):
    path = tmp_path / "one.csv"
    path.write_text("\n".join(csv_text().splitlines()[:2]))
    assert main(["fit", str(path)]) == 2
    assert "Add runs at two or more loads" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", "is not JSON", id="cut-off"),
        pytest.param('{"accuracy": 1}', "it has accuracy", id="another-result"),
        pytest.param("a,b\n1,2\n", "no column prompt_tokens", id="another-table"),
        pytest.param("isl,osl,itl_ms\n1,x,2\n", "'x' is not a number", id="not-a-number"),
        pytest.param("isl,osl,itl_ms,rps\n100,1,0,2\n", "none with a gap", id="single-tokens"),
        pytest.param("[1]", "expected an object per run, got int", id="list-of-numbers"),
    ],
)
def test_bad_files_say_what_is_wrong(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_points(text, origin="file")


def test_a_missing_file_is_bad_usage(tmp_path, capsys):
    assert main(["fit", str(tmp_path / "no.json")]) == 2
    assert "cannot read" in capsys.readouterr().err


@pytest.mark.skipif(
    not MEASURED.exists(), reason="the measurements (../shared/reference) aren't here"
)
def test_real_measurements_give_the_published_profile(capsys):
    assert main(["fit", str(MEASURED), "--model", "Llama-3.1-8B", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["profile"]["alpha_ms"] == pytest.approx(6.5, rel=0.05)
    assert told["profile"]["gamma_ms"] == pytest.approx(5.5e-5, rel=0.15)
    assert told["itl_error_ratio"] < 0.045
    assert told["ttft_error_ratio"] < 0.12
