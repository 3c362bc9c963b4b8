"""The wheel, not the checkout: what the image installs holds what the adapter needs."""

import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "adapter", "optimizer", "simulator")
# What isn't code and is read at run time; the compiled protocol is code, its text isn't needed.
DATA = {".yaml", ".html", ".prom", ".typed"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)
    target = tmp_path_factory.mktemp("wheel")
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(target)]
    # Without isolation nothing is downloaded; setuptools comes with grpcio-tools.
    subprocess.run(
        [sys.executable, "-m", "pip", *build, str(source)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (built,) = target.glob("*.whl")
    return built


def test_wheel_holds_every_module_and_data_file_and_no_tests(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for package in ("adapter", "optimizer", "simulator")
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", *DATA}
    }
    assert wanted <= packed
    assert {name.split("/")[0] for name in packed if ".dist-info" not in name} == {
        "adapter",
        "optimizer",
        "simulator",
    }


def test_wheel_carries_licence_and_notice(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [n for n in names if re.search(r"dist-info/.*LICENSE$", n)]
    assert [n for n in names if re.search(r"dist-info/.*NOTICE$", n)]


def test_command_runs_from_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    """The dependencies are lent by this environment; the project is the wheel's alone."""
    venv = tmp_path / "venv"
    python = venv / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    install = ["--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(
        [sys.executable, "-m", "pip", *install], check=True, capture_output=True, timeout=120
    )
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout

    where = "import adapter, optimizer, simulator; print(adapter.__file__, optimizer.__file__)"
    assert run(str(python), "-c", where).count(str(venv)) == 2
    assert "serve" in run(str(venv / "bin" / "wva"), "--help")
