"""Where `make e2e` finds its control plane, and what it says where there is none."""

from pathlib import Path

import pytest

from tests.end_to_end.control_plane import binaries


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without Go, without a cache and without given programs."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("WVA_E2E_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBE_ASSETS", raising=False)
    return tmp_path


def program(path: Path) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755)


def test_no_go_and_no_programs_ends_with_two(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert binaries.main() == 2
    error = capsys.readouterr().err
    assert "install Go" in error
    assert "make e2e KUBE_ASSETS=" in error


def test_given_programs_are_used_as_they_are(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in binaries.PROGRAMS:
        program(bare / "given" / name)
    monkeypatch.setenv("KUBE_ASSETS", str(bare / "given"))
    assert binaries.assets() == bare / "given"


def test_given_programs_that_are_not_all_there_are_named(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program(bare / "given" / "etcd")
    monkeypatch.setenv("KUBE_ASSETS", str(bare / "given"))
    assert binaries.main() == 2
    assert "kube-apiserver, kube-controller-manager, kubectl can't be run" in (
        capsys.readouterr().err
    )


def test_the_pinned_version_is_one_the_manifests_are_made_for() -> None:
    major, minor, _ = binaries.tool_version("k8s.io/kubernetes").removeprefix("v").split(".")
    assert (int(major), int(minor)) >= (1, 35), "tolerance in an HPA works from 1.35 on"


def test_staging_modules_have_the_version_of_kubernetes() -> None:
    text = (binaries.TOOLS / "go.mod").read_text(encoding="utf-8")
    version = binaries.tool_version("k8s.io/kubernetes").replace("v1.", "v0.", 1)
    replaced = [line.split()[-1] for line in text.splitlines() if " => k8s.io/" in line]
    assert len(replaced) > 25
    assert set(replaced) == {version}
