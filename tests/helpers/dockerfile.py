"""A Dockerfile's steps carried out in a folder, for machines without a container engine.

Of the language as much as ours uses; anything else is an error. A stage's root is a folder:
absolute paths in instructions lead below it, and every stage has the same one in its turn, since
scripts in a virtual environment name their interpreter by its path. The base image's Python is
the one that runs this.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Image", "Instruction", "build", "instructions"]

Instruction = tuple[str, str]
_KNOWN = {
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "LABEL", "RUN", "USER", "WORKDIR",
}  # fmt: skip


def instructions(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile, each with its arguments on one line.

    Raises
    ------
    ValueError
        If a line is none that is known here.
    """
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    found = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    for word, _, _ in found:
        if word not in _KNOWN:
            raise ValueError(f"{word} is no instruction that is known here")
    return [(word, rest.strip()) for word, _, rest in found]


@dataclass
class Image:
    """What the last stage comes to."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()

    def path(self, inside: str) -> Path:
        """Return where a path of the image is."""
        return self.root / inside.lstrip("/") if inside.startswith("/") else self.root / inside

    def located(self, text: str) -> str:
        """Return a text with the absolute paths of this image where they are."""
        return re.sub(r"(?<![\w./-])/(venv|wheels|src|etc)\b", rf"{self.root}/\1", text)

    def arguments(self) -> list[str]:
        """Return what runs when nothing else is asked for."""
        return [self.located(word) for word in (*self.entrypoint, *self.command)]


def build(dockerfile: Path, folder: Path, *, pip: Mapping[str, str]) -> Image:
    """Carry out the steps of a Dockerfile beside its context; return its last stage.

    Parameters
    ----------
    dockerfile : Path
    folder : Path
        Where stages are put.
    pip : mapping of str to str
        Environment that tells pip where packages come from.
    """
    stages: dict[str, Path] = {}
    image, name = Image(folder / "root"), ""
    for word, rest in instructions(dockerfile.read_text(encoding="utf-8")):
        if word == "FROM":
            if image.root.exists():
                image.root.rename(folder / name)
                stages[name] = folder / name
            name = rest.partition(" AS ")[2] or "last"
            image = Image(folder / "root")
            image.root.mkdir(parents=True)
        else:
            _step(image, word, rest, context=dockerfile.parent, stages=stages, pip=pip)
    return image


def _step(
    image: Image,
    word: str,
    rest: str,
    *,
    context: Path,
    stages: Mapping[str, Path],
    pip: Mapping[str, str],
) -> None:
    match word:
        case "ENV":
            image.environment.update(each.split("=", 1) for each in rest.split())
        case "WORKDIR":
            image.workdir = rest
            image.path(rest).mkdir(parents=True, exist_ok=True)
        case "COPY":
            _copy(image, rest.split(), context, stages)
        case "RUN":
            _run(image, rest, pip)
        case "USER":
            image.user = rest
        case "ENTRYPOINT":
            image.entrypoint = tuple(json.loads(rest))
        case "CMD":
            image.command = tuple(json.loads(rest))


def _copy(image: Image, words: list[str], context: Path, stages: Mapping[str, Path]) -> None:
    source = context
    if words[0].startswith("--from="):
        source = stages[words.pop(0).removeprefix("--from=")]
    *names, to = words
    here = image.path(image.workdir) / to if not to.startswith("/") else image.path(to)
    for name in names:
        found = source / name.lstrip("/")
        if found.is_dir():
            hidden = shutil.ignore_patterns("__pycache__") if source == context else None
            shutil.copytree(found, here, symlinks=True, ignore=hidden, dirs_exist_ok=True)
        else:
            here.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, here)


def _run(image: Image, script: str, pip: Mapping[str, str]) -> None:
    tools = image.root.parent / "tools"
    tools.mkdir(exist_ok=True)
    python = tools / "python"
    if not python.exists():
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
        python.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-ec", image.located(script)],
        cwd=image.path(image.workdir),
        env={"PATH": f"{tools}:{os.defpath}", "HOME": str(tools), **image.environment, **pip},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"RUN {script}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
