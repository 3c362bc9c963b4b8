"""The Dockerfile's steps, carried out without a container engine, make an adapter that serves.

Packages come from this environment instead of an index: pip is told to take none, and the
environment's own are lent to the one that was built. With WVA_IMAGE_INDEX=1 they come from the
index that pip knows, as in `make image`.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.helpers.dockerfile import Image, build, instructions
from tests.helpers.manifests import ROOT

DOCKERFILE = ROOT / "Dockerfile"
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    # Not below pytest's own folder, which other users may not enter.
    folder = Path(tempfile.mkdtemp(prefix="wva-image-"))
    folder.chmod(0o755)
    with_index = os.environ.get("WVA_IMAGE_INDEX") == "1"
    try:
        built = build(DOCKERFILE, folder, pip={} if with_index else OFFLINE)
        if not with_index:
            (packages,) = built.path("/venv").glob("lib/python*/site-packages")
            lent = sysconfig.get_path("purelib")
            (packages / "lent.pth").write_text(lent + "\n", encoding="utf-8")
        yield built
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param("FROM a\nADD b c\n", "ADD", id="an instruction that we don't use"),
        pytest.param("FROM a\nrun b\n", "run", id="lower case"),
    ],
)
def test_what_is_not_known_is_an_error(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        instructions(text)


def test_steps_that_fail_end_the_build() -> None:
    """Each RUN is one chain: a part that fails isn't passed over."""
    for word, rest in instructions(DOCKERFILE.read_text(encoding="utf-8")):
        if word == "RUN":
            assert ";" not in rest
            assert "||" not in rest


def test_the_image_holds_the_command_and_no_installer(image: Image) -> None:
    assert image.path("/venv/bin/wva").exists()
    assert not list(image.path("/venv/bin").glob("pip*"))
    assert not image.path("/src").exists(), "sources stay in the first stage"
    told = subprocess.run(
        [image.located(image.entrypoint[0]), "--version"],
        env=image.environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert told.stdout.startswith("wva")


def test_the_entrypoint_serves_without_writing_into_the_image(image: Image) -> None:
    settings = image.path("/etc/wva/settings.yaml")
    settings.parent.mkdir(parents=True)
    port = _free_port()
    local = {"host": "127.0.0.1", "port": 0}
    content = {
        "api": {**local, "auth": "none"},
        "keda": local,
        "health": {**local, "port": port},
        "models": {"m": {}},
        "variants": [{"name": "v", "model": "m", "accelerator": "H100",
                      "endpoints": ["http://127.0.0.1:9"]}],
    }  # fmt: skip
    settings.write_text(yaml.safe_dump(content), encoding="utf-8")
    before = _tree(image.root)
    process = subprocess.Popen(
        image.arguments(),
        cwd=image.root,
        env={"PATH": os.defpath, **image.environment},
        **_somebody(image),
    )
    try:
        assert _answers(f"http://127.0.0.1:{port}/healthz", process) == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert _tree(image.root) == before


def _somebody(image: Image) -> dict[str, int]:
    """Return the image's user where this process may become it, and it may run our Python."""
    user, group = map(int, image.user.split(":"))
    if os.geteuid() != 0:
        return {}
    python = image.located("/venv/bin/python")
    tried = subprocess.run(
        [python, "-c", "import yaml"], user=user, group=group, env={}, cwd="/", capture_output=True,
        check=False,
    ) if _may_enter(python, user) else None  # fmt: skip
    able = tried is not None and tried.returncode == 0
    return {"user": user, "group": group} if able else {}


def _may_enter(python: str, user: int) -> bool:
    """Return whether a user reaches an interpreter, which may lie in somebody's home."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"test -x {Path(python).resolve()}"], user=user, check=False, cwd="/"
    )
    return done.returncode == 0


def _tree(root: Path) -> dict[str, int]:
    return {str(each.relative_to(root)): each.lstat().st_mtime_ns for each in root.rglob("*")}


def _answers(url: str, process: "subprocess.Popen[bytes]") -> int:
    deadline_s = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline_s:
        try:
            return httpx.get(url, timeout=2, trust_env=False).status_code
        except httpx.HTTPError:
            time.sleep(0.2)
    raise AssertionError(f"no answer; {sys.executable}: {process.poll()}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
