"""Where the control plane's programs are: given by KUBE_ASSETS, or built once into a cache.

`python -m tests.end_to_end.control_plane.binaries` builds what is missing and prints the
folder. It ends with 2 where there is neither Go nor a folder of programs.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["PROGRAMS", "MissingProgramsError", "assets", "tool_version"]

TOOLS = Path(__file__).resolve().parent.parent / "tools"
PROGRAMS = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
# Kubernetes' own build writes its version here; without it `kubectl version` says v0.0.0.
VERSION_PACKAGES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")


class MissingProgramsError(Exception):
    """There is neither a control plane nor a way to build one; the message says what to do."""


def assets() -> Path:
    """Return the folder of the programs, built first if it is ours and not complete."""
    given = os.environ.get("KUBE_ASSETS")
    if given:
        folder = Path(given)
        missing = [name for name in PROGRAMS if not os.access(folder / name, os.X_OK)]
        if missing:
            raise MissingProgramsError(
                f"KUBE_ASSETS is {given}, and {', '.join(missing)} can't be run from there "
                "(envtest's folder has no kube-controller-manager)"
            )
        return folder
    folder = _cache() / _key()
    missing = [name for name in PROGRAMS if not (folder / name).exists()]
    if missing:
        _build(missing, folder)
    return folder


def tool_version(module: str) -> str:
    """Return the version of a module that the tools' go.mod asks for."""
    text = (TOOLS / "go.mod").read_text(encoding="utf-8")
    found = re.search(rf"^\s*{re.escape(module)} (v\S+)", text, re.MULTILINE)
    assert found is not None, f"{module} isn't in {TOOLS / 'go.mod'}"
    return found[1]


def _cache() -> Path:
    own = os.environ.get("WVA_E2E_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "wva-e2e"


def _key() -> str:
    """Return what the programs follow from: modules, their versions, and the compiler."""
    content = (TOOLS / "go.mod").read_bytes() + _go_version().encode()
    return hashlib.sha256(content).hexdigest()[:16]


def _go_version() -> str:
    if shutil.which("go") is None:
        raise MissingProgramsError(
            "the end-to-end tests need a Kubernetes control plane: install Go (go.dev) and it is "
            "built once, or name a folder with "
            f"{', '.join(PROGRAMS)}: make e2e KUBE_ASSETS=/path/to/bin"
        )
    return subprocess.run(
        ["go", "env", "GOVERSION"], capture_output=True, text=True, check=True, cwd=TOOLS
    ).stdout.strip()


def _build(names: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    flags = _linker_flags(tool_version("k8s.io/kubernetes"))
    print(
        f"Building {', '.join(names)} into {folder} (once; 10 to 20 minutes on two cores) ...",
        flush=True,
    )
    for name in names:
        started = time.monotonic()
        part = folder / f".{name}.{os.getpid()}"
        command = ["go", "build", "-trimpath", "-ldflags", flags, "-o", str(part), PROGRAMS[name]]
        done = subprocess.run(
            command, cwd=TOOLS, env={**os.environ, "CGO_ENABLED": "0"}, check=False
        )
        if done.returncode != 0:
            raise MissingProgramsError(
                f"{name} can't be built ('{' '.join(command)}' in {TOOLS} ended with "
                f"{done.returncode}); give ready programs with KUBE_ASSETS"
            )
        part.replace(folder / name)  # whole or not at all: a build may be interrupted
        print(f"  {name}: {time.monotonic() - started:.0f} s", flush=True)


def _linker_flags(version: str) -> str:
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    variables = [
        f"-X {package}.{name}={value}"
        for package in VERSION_PACKAGES
        for name, value in values.items()
    ]
    return " ".join(["-s -w", *variables])


def main() -> int:
    try:
        folder = assets()
    except MissingProgramsError as exc:
        print(f"make e2e: {exc}", file=sys.stderr)
        return 2
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
