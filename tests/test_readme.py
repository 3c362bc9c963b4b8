"""Code blocks in README, CONTRIBUTING and docs/operations.md do what they say.

Python runs. YAML loads: as Kubernetes objects where it has a `kind`, as settings where it
hasn't. Of shell, only commands listed here are allowed, each with a check of its own.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from _pytest.mark import ParameterSet
from markdown_it import MarkdownIt

from adapter.cli import build_parser
from adapter.config import Settings, parse_settings
from adapter.external_metrics.request import EXPLANATIONS
from adapter.publish import SERVED_METRICS

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "docs/operations.md")
GROUP = "/apis/external.metrics.k8s.io/v1beta1"


def blocks(*languages: str) -> list[ParameterSet]:
    return list(_blocks(languages))


def _blocks(languages: tuple[str, ...]) -> Iterator[ParameterSet]:
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for token in MarkdownIt().parse(text):
            if token.type == "fence" and token.info in languages:
                assert token.map is not None
                yield pytest.param(token.content, id=f"{page}:{token.map[0] + 1}")


def commands() -> list[ParameterSet]:
    found = []
    for block in blocks("sh"):
        (text,) = block.values
        for line in re.sub(r"\\\n", " ", str(text)).splitlines():
            words = shlex.split(line, comments=True)
            if words:
                found.append(pytest.param(words, id=f"{block.id} {' '.join(words[:3])}"))
    return found


# --- what each command must satisfy --------------------------------------------------------


def check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for argument in arguments:
        name, is_setting, _ = argument.partition("=")
        pattern = rf"^{name} \?=" if is_setting else rf"^{name}:"
        assert re.search(pattern, makefile, re.MULTILINE), argument


def check_wva(arguments: list[str]) -> None:
    build_parser().parse_args(arguments)


def check_kubectl(arguments: list[str]) -> None:
    for flag, value in pairwise(arguments):
        if flag == "-k":
            assert (ROOT / value / "kustomization.yaml").is_file(), value
        elif flag == "-f" and "/" in value:  # a bare name is the reader's own file
            assert (ROOT / value).is_file(), value
        elif flag == "--raw":
            check_path(value)
    verb = next(word for word in arguments if word not in {"-n", "wva-system"})
    assert verb in {"apply", "create", "delete", "describe", "get", "port-forward"}


def check_curl(arguments: list[str]) -> None:
    (url,) = [word for word in arguments if word.startswith("http")]
    served = {Settings().api.port, Settings().health.port}
    parts = urlsplit(url)
    assert parts.port in served
    check_path(f"{parts.path}?{parts.query}")


def check_path(path: str) -> None:
    known = ("/explain", "/healthz", "/readyz", "/livez", "/metrics", GROUP)
    resource, _, _ = path.partition("?")
    assert resource.startswith(known), path
    if "/namespaces/" in resource:
        _, _, below = resource.partition("/namespaces/")
        assert below.split("/")[1] in {*SERVED_METRICS, EXPLANATIONS}


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "make": check_make,
    "wva": check_wva,
    "kubectl": check_kubectl,
    "curl": check_curl,
}


@pytest.mark.parametrize("words", commands())
def test_shell_command_exists(words: list[str]) -> None:
    name = words[0].removeprefix(".venv/bin/")
    assert name in COMMANDS, f"{name} is not a command that these pages may use"
    COMMANDS[name](words[1:])


def test_python_blocks_run() -> None:
    for block in blocks("python", "py"):
        (code,) = block.values
        exec(compile(str(code), str(block.id), "exec"), {"__name__": "readme"})


def test_worked_example_prints_what_the_readme_shows() -> None:
    (shown,) = [block.values[0] for block in blocks("text") if str(block.id).startswith("README")]
    printed = subprocess.run(
        [sys.executable, "examples/cheapest_mix.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert printed == shown, "run examples/cheapest_mix.py and put what it prints into README.md"


@pytest.mark.parametrize("text", blocks("yaml", "yml"))
def test_yaml_block_loads(text: str) -> None:
    content = yaml.safe_load(text)
    if content.get("kind") == "Kustomization":
        generators = content["configMapGenerator"]
        assert [g["name"] for g in generators] == ["wva-settings"], "replaces the base's"
    elif "kind" in content:
        kubernetes_validate.validate(content, kubernetes_validate.latest_version(), strict=True)
    else:
        assert parse_settings(text, origin="README.md") != Settings()


def test_first_screen_has_the_two_commands() -> None:
    screen = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:40]
    assert any(line.startswith("make run") for line in screen)
    assert "make test" in screen


def test_configuration_table_tells_the_defaults() -> None:
    """The README repeats a few defaults for people in a hurry; they have to be true."""
    settings = Settings()
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"| `interval_s` | {settings.interval_s:g} |" in text
    assert f"| {settings.max_decision_age_s:g}, {settings.hold_s:g} |" in text
    assert f"| `hpa_tolerance` | {settings.hpa_tolerance:g} |" in text
    brakes = settings.brakes
    assert f"{brakes.max_scale_down_ratio:.0%}".replace("%", " %") + " down per minute" in text
    assert f"{brakes.max_scale_up_factor:g}x up per cold start" in text


def test_metrics_table_is_what_is_served() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(wva_\w+)` \|", text, re.MULTILINE) == list(SERVED_METRICS)
