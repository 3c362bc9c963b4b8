"""Where KEDA's programs are: given by KEDA_ASSETS, or built once into a cache.

`python -m tests.end_to_end.keda_plane.binaries` builds what is missing and prints the folder.
It ends with 2 where there is neither Go nor a folder of programs. KEDA is built as its own
main module, so that its go.mod and go.sum say what goes into it.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.end_to_end.control_plane.binaries import MissingProgramsError
from tests.end_to_end.control_plane.binaries import assets as kube_assets

__all__ = ["MANIFESTS", "PROGRAMS", "VERSION", "assets"]

MODULE = "github.com/kedacore/keda/v2"
VERSION = "v2.20.2"
# As the Go checksum database has it: what is built is what was tried.
CHECKSUM = "h1:SR60v8uIcelbveS8n/1jcl8tLdBBIbHMxmdOHw8tKqA="
PROGRAMS = {"keda": "./cmd/operator", "keda-adapter": "./cmd/adapter"}
MANIFESTS = "keda.yaml"


def assets() -> Path:
    """Return the folder of the programs and manifests, built first if it isn't complete."""
    given = os.environ.get("KEDA_ASSETS")
    folder = Path(given) if given else _cache() / VERSION
    missing = [name for name in PROGRAMS if not os.access(folder / name, os.X_OK)]
    missing += [MANIFESTS] if not (folder / MANIFESTS).exists() else []
    if not missing:
        return folder
    if given:
        raise MissingProgramsError(
            f"KEDA_ASSETS is {given}, and {', '.join(missing)} can't be used from there; it "
            f"needs {', '.join(PROGRAMS)} of one KEDA release, and {MANIFESTS}, the "
            "keda-<version>.yaml of that release"
        )
    if shutil.which("go") is None:
        raise MissingProgramsError(
            "the scenarios need KEDA's operator and metrics server: install Go (go.dev) and they "
            f"are built once, or name a folder with {', '.join(PROGRAMS)} and {MANIFESTS}: "
            "make e2e-keda KEDA_ASSETS=/path/to/folder"
        )
    _build(missing, folder)
    return folder


def _cache() -> Path:
    base = os.environ.get("WVA_E2E_CACHE") or (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wva-e2e"
    )
    return Path(base) / "keda"


def _source() -> Path:
    """Fetch KEDA's module, checked against its checksum; return where its files are."""
    done = subprocess.run(
        ["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout or "{}")
    if done.returncode != 0 or found.get("Error"):
        raise MissingProgramsError(
            f"{MODULE}@{VERSION} can't be fetched: {found.get('Error') or done.stderr.strip()}; "
            "give ready programs with KEDA_ASSETS"
        )
    if found["Sum"] != CHECKSUM:
        raise MissingProgramsError(
            f"{MODULE}@{VERSION} has the checksum {found['Sum']}, and {CHECKSUM} was expected"
        )
    return Path(found["Dir"])


def _build(names: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    source = _source()
    print(
        f"Building {', '.join(names)} {VERSION} into {folder} (once; 10 to 30 minutes on two "
        "cores) ...",
        flush=True,
    )
    for name in names:
        started = time.monotonic()
        part = folder / f".{name}.{os.getpid()}"
        if name == MANIFESTS:
            kubectl = str(kube_assets() / "kubectl")
            rendered = _run([kubectl, "kustomize", str(source / "config" / "default")], name)
            part.write_bytes(rendered)
        else:
            flags = f"-s -w -X {MODULE}/version.Version={VERSION.removeprefix('v')}"
            command = ["go", "build", "-mod=readonly", "-trimpath", "-ldflags", flags]
            _run([*command, "-o", str(part), PROGRAMS[name]], name, folder=source)
        part.replace(folder / name)  # whole or not at all: a build may be interrupted
        print(f"  {name}: {time.monotonic() - started:.0f} s", flush=True)


def _run(command: list[str], name: str, *, folder: Path | None = None) -> bytes:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "CGO_ENABLED": "0"},
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode != 0:
        raise MissingProgramsError(
            f"{name} can't be made ('{' '.join(command)}' ended with {done.returncode}); give "
            "ready programs with KEDA_ASSETS"
        )
    return done.stdout


def main() -> int:
    try:
        kube_assets()
        folder = assets()
    except MissingProgramsError as exc:
        print(f"make e2e-keda: {exc}", file=sys.stderr)
        return 2
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
