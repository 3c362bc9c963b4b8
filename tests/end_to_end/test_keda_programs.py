"""Where `make e2e-keda` finds KEDA, and what it says where there is none."""

from pathlib import Path

import pytest

from tests.end_to_end.control_plane import binaries as kube
from tests.end_to_end.keda_plane import binaries

from .test_control_plane_programs import program


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with a control plane's programs, without Go and without KEDA."""
    for name in kube.PROGRAMS:
        program(tmp_path / "kube" / name)
    monkeypatch.setenv("KUBE_ASSETS", str(tmp_path / "kube"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("WVA_E2E_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KEDA_ASSETS", raising=False)
    return tmp_path


def test_no_go_and_no_programs_ends_with_two(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert binaries.main() == 2
    error = capsys.readouterr().err
    assert "install Go" in error
    assert "make e2e-keda KEDA_ASSETS=" in error


@pytest.mark.parametrize("there", ["given", "built before"])
def test_a_whole_folder_is_used_as_it_is(
    bare: Path, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    folder = bare / "given" if there == "given" else bare / "cache" / "keda" / binaries.VERSION
    if there == "given":
        monkeypatch.setenv("KEDA_ASSETS", str(folder))
    for name in (*binaries.PROGRAMS, binaries.MANIFESTS):
        program(folder / name)
    assert binaries.assets() == folder
    assert binaries.main() == 0


def test_what_a_given_folder_lacks_is_named(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program(bare / "given" / "keda")
    monkeypatch.setenv("KEDA_ASSETS", str(bare / "given"))
    assert binaries.main() == 2
    assert "keda-adapter, keda.yaml can't be used from there" in capsys.readouterr().err
