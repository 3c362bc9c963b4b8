"""`make`: what it does on a machine that lacks what it needs, and what it doesn't do twice."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make isn't here")

TOO_OLD = """
case "$*" in
  *version_info*) exit 1 ;;
  *) echo "Python 3.9.2" ;;
esac
"""
# Stands for an interpreter: makes a .venv whose python only writes down what is asked of it.
NEW_ENOUGH = """
case "$*" in
  *version_info*) exit 0 ;;
  *venv*)
    mkdir -p .venv/bin
    for name in python wva; do
      printf '#!/bin/sh\\necho "%s $*" >> calls\\n' "$name" > .venv/bin/$name
      chmod +x .venv/bin/$name
    done ;;
  *) echo "Python 3.12.1" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile, and a PATH that leads to `bin` before the system's tools."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "sed", "awk", "touch", "rm", "head", "mkdir", "chmod", "find", "make"):
        target = shutil.which(tool)
        assert target is not None, tool
        (tmp_path / "bin" / tool).symlink_to(target)
    return tmp_path


def command(checkout: Path, name: str, body: str) -> None:
    path = checkout / "bin" / name
    path.write_text(f"#!/bin/sh\n{body}", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def make(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(checkout / "bin" / "make"), "-C", str(checkout), "--no-print-directory", *arguments],
        env={"PATH": str(checkout / "bin"), "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def calls(checkout: Path) -> list[str]:
    file = checkout / "calls"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def test_old_python_gets_one_clear_line(checkout: Path) -> None:
    command(checkout, "python3", TOO_OLD)
    result = make(checkout, "run")
    (line,) = result.stdout.splitlines()
    assert result.returncode != 0
    assert line.startswith("WVA needs Python 3.11 or newer")
    assert "(Python 3.9.2)" in line
    assert "make PYTHON=/path/to/python3.11 run" in line
    assert not (checkout / ".venv").exists()


def test_no_python_at_all_gets_the_same_line(checkout: Path) -> None:
    result = make(checkout, "test")
    assert result.returncode != 0
    assert result.stdout.startswith("WVA needs Python 3.11 or newer")


def test_newer_python_beside_an_old_one_is_found(checkout: Path) -> None:
    command(checkout, "python3", TOO_OLD)
    command(checkout, "python3.13", "echo 'a shim without anything behind it' >&2; exit 127")
    command(checkout, "python3.12", NEW_ENOUGH)
    result = make(checkout, "run")
    assert result.returncode == 0, result.stderr
    assert "Making .venv with Python 3.12.1" in result.stdout


def test_run_installs_what_the_adapter_needs_and_passes_the_duration(checkout: Path) -> None:
    command(checkout, "python3", NEW_ENOUGH)
    assert make(checkout, "run", "DURATION=60").returncode == 0
    install, demo = calls(checkout)
    assert install.endswith("--constraint constraints.txt --editable .")
    assert demo == "wva demo --duration 60"


def test_test_installs_its_tools_and_passes_arguments(checkout: Path) -> None:
    command(checkout, "python3", NEW_ENOUGH)
    assert make(checkout, "test", "ARGS=-k quantity").returncode == 0
    install, tests = calls(checkout)
    assert install.endswith("--editable .[sim,dev]")
    assert tests == "python -m pytest -n auto --dist worksteal -k quantity"


def test_second_run_installs_nothing(checkout: Path) -> None:
    command(checkout, "python3", NEW_ENOUGH)
    make(checkout, "test")
    make(checkout, "run")
    assert [line for line in calls(checkout) if "pip" in line] == calls(checkout)[:1]


@pytest.mark.parametrize("pin", ["pyproject.toml", "constraints.txt"])
def test_changed_pins_install_again(checkout: Path, pin: str) -> None:
    command(checkout, "python3", NEW_ENOUGH)
    make(checkout, "run")
    stamp = (checkout / ".venv" / ".runtime").stat().st_mtime
    os.utime(checkout / pin, (stamp + 1, stamp + 1))
    make(checkout, "run")
    assert len([line for line in calls(checkout) if "pip install" in line]) == 2


def test_failed_installation_is_not_taken_for_done(checkout: Path) -> None:
    command(checkout, "python3", NEW_ENOUGH.replace("%s $*", "%s").replace(">> calls", "; exit 1"))
    assert make(checkout, "run").returncode != 0
    assert not (checkout / ".venv" / ".runtime").exists()


def test_environment_whose_python_is_gone_is_made_anew(checkout: Path) -> None:
    command(checkout, "python3", NEW_ENOUGH)
    make(checkout, "run")
    (checkout / ".venv" / "bin" / "python").unlink()
    assert make(checkout, "run").returncode == 0
    assert len([line for line in calls(checkout) if "pip install" in line]) == 2


def test_generated_code_is_what_make_proto_makes(tmp_path: Path) -> None:
    recipe = subprocess.run(
        ["make", "-n", "-s", "--assume-old=.venv/.development", "proto", f"PROTO_OUT={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "grpc_tools.protoc" in recipe
    command = recipe.replace(".venv/bin/python", sys.executable)
    subprocess.run(["sh", "-c", command], cwd=ROOT, check=True, timeout=60)
    committed = ROOT / "adapter" / "keda" / "_generated"
    made = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(made) == 2
    for path in made:
        assert path.read_bytes() == (committed / path.name).read_bytes(), f"{path.name}: make proto"


def test_image_without_docker_says_so(checkout: Path) -> None:
    result = make(checkout, "image")
    assert result.returncode != 0
    assert result.stdout == "make image needs docker, which isn't on the PATH\n"


# Stands for kubectl: renders one line, and writes down what it is told and sent.
KUBECTL = """
echo "kubectl $*" >> calls
case "$*" in
  *kustomize*) echo "        image: wva-adapter:0.1.0" ;;
  *"get apiservice"*) printf '%s' "$OWNER" ;;
  *apply*|*"delete --ignore-not-found"*) cat >> calls ;;
esac
"""


@pytest.mark.parametrize("target", ["install", "uninstall"])
def test_installing_without_kubectl_says_so(checkout: Path, target: str) -> None:
    result = make(checkout, target)
    assert result.returncode != 0
    assert result.stdout == f"make {target} needs kubectl, which isn't on the PATH\n"


def test_installing_an_overlay_that_is_none_names_those_that_are(checkout: Path) -> None:
    command(checkout, "kubectl", KUBECTL)
    result = make(checkout, "install", "OVERLAY=helm")
    assert result.returncode != 0
    assert result.stdout == "OVERLAY=helm is none of: hpa keda prometheus cert-manager\n"
    assert calls(checkout) == []


def test_install_applies_the_overlay_with_the_image_and_waits_for_the_pod(checkout: Path) -> None:
    command(checkout, "kubectl", KUBECTL)
    (checkout / "bin" / "cat").symlink_to(str(shutil.which("cat")))
    image = "registry.example.com:5000/team/wva@sha256:0a1b"
    assert make(checkout, "install", f"IMAGE={image}", "OVERLAY=keda").returncode == 0
    assert calls(checkout) == [
        "kubectl kustomize manifests/overlays/keda",
        "kubectl apply -f -",
        f"        image: {image}",
        "kubectl -n wva-system rollout status deployment/wva --timeout=120s",
    ]


def test_install_that_cannot_render_applies_nothing(checkout: Path) -> None:
    command(checkout, "kubectl", KUBECTL.replace("kustomize*)", "kustomize*) exit 1;"))
    assert make(checkout, "install").returncode != 0
    assert calls(checkout) == ["kubectl kustomize manifests/overlays/hpa"]


@pytest.mark.parametrize(
    ("owner", "deleted"),
    [
        pytest.param("wva-system/wva", True, id="ours"),
        pytest.param("keda/keda-operator-metrics-apiserver", False, id="of KEDA"),
        pytest.param("", False, id="none"),
    ],
)
def test_uninstall_takes_the_api_service_first_and_only_ours(
    checkout: Path, owner: str, deleted: bool
) -> None:
    command(checkout, "kubectl", f"OWNER={owner}\n{KUBECTL}")
    (checkout / "bin" / "cat").symlink_to(str(shutil.which("cat")))
    assert make(checkout, "uninstall").returncode == 0
    told = [line.removeprefix("kubectl ") for line in calls(checkout) if "kubectl" in line]
    taken = ["delete apiservice v1beta1.external.metrics.k8s.io"] if deleted else []
    assert told[0] == "delete clusterrolebinding wva-api-service --ignore-not-found"
    assert told[2:-2] == taken
    assert told[-1].startswith("delete --ignore-not-found")


def test_uninstall_keeps_the_definition_and_so_everybodys_objects() -> None:
    definition = ROOT / "manifests" / "base" / "custom-resource-definition.yaml"
    assert "app.kubernetes.io/component: definition" in definition.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "--selector='app.kubernetes.io/component!=definition'" in makefile


def test_make_alone_lists_the_targets(checkout: Path) -> None:
    listed = {line.split()[1] for line in make(checkout).stdout.splitlines()}
    assert {
        "run",
        "test",
        "check",
        "bench",
        "docs",
        "image",
        "install",
        "uninstall",
        "clean",
    } <= listed


def test_ci_runs_the_same_targets() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make check test" in script.read_text(encoding="utf-8")
