"""What commands print, as docs/operations.md shows it, and whether it still does.

A block of the page belongs to a comment `<!-- make e2e: NAME -->` on the line before it. With
WVA_WRITE_DOCS=1 the blocks are written anew; otherwise they are compared, figures and ages
left out, since those differ from run to run.
"""

import asyncio
import difflib
import os
import re
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .access import ROOT
from .cluster import ControlPlane

__all__ = ["Transcripts"]

PAGE = ROOT / "docs" / "operations.md"
_BLOCK = r"(<!-- make e2e: {name} -->\n\n```text\n)(.*?)(```\n)"
# What a reader sees of two runs of the same commands is as good as the same above this.
_ALIKE_RATIO = 0.75


@dataclass
class Transcripts:
    """Runs commands as a person would, and keeps what they print."""

    plane: ControlPlane
    folder: Path
    blocks: dict[str, list[str]] = field(default_factory=dict)

    async def show(self, block: str, command: str, *, cut: int = 0) -> str:
        """Run a command line in the checkout; keep and return its output.

        `cut` keeps so many lines of it, and a line of dots for the rest.
        """
        out = await self._run(command)
        lines = out.rstrip().splitlines()
        if cut and len(lines) > cut:
            lines = [*lines[:cut], "..."]
        told = [self._clean(line) for line in (f"$ {command}", *lines)]
        self.blocks.setdefault(block, []).extend(told)
        return out

    async def _run(self, command: str) -> str:
        tools = self.folder / "bin"
        if not tools.exists():
            tools.mkdir()
            (tools / "kubectl").symlink_to(self.plane.programs / "kubectl")
            wva = tools / "wva"
            wva.write_text(f'#!/bin/sh\nexec {sys.executable} -m adapter "$@"\n', encoding="utf-8")
            wva.chmod(0o755)
        process = await asyncio.create_subprocess_shell(
            command,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                **os.environ,
                "PATH": f"{tools}:{os.environ['PATH']}",
                "KUBECONFIG": str(self.plane.admin_kubeconfig),
                "MAKEFLAGS": "--no-print-directory",
            },
        )
        out, _ = await asyncio.wait_for(process.communicate(), timeout=180)
        return out.decode()

    def _clean(self, line: str) -> str:
        """Return a line without what is this machine's: a pod's hostname is its own name."""
        line = line.replace(f"{socket.gethostname()}_", "wva-774c7f5fb7-smgsd_")
        line = line.replace(self.plane.url, "https://10.96.0.1")
        return line.replace(f"{self.folder}/", "").rstrip()

    def write(self) -> None:
        """Put the blocks into the page."""
        text = PAGE.read_text(encoding="utf-8")
        for name, lines in self.blocks.items():
            pattern = re.compile(_BLOCK.format(name=name), re.DOTALL)
            body = "\n".join(lines) + "\n"
            text, found = pattern.subn(
                lambda match, body=body: match.group(1) + body + match.group(3), text
            )
            assert found == 1, f"docs/operations.md has no block for {name}"
        PAGE.write_text(text, encoding="utf-8")

    def differences(self) -> list[str]:
        """Return the blocks that the page shows otherwise."""
        text = PAGE.read_text(encoding="utf-8")
        told = []
        for name, lines in self.blocks.items():
            found = re.search(_BLOCK.format(name=name), text, re.DOTALL)
            shown = found.group(2).splitlines() if found else []
            if _commands(shown) != _commands(lines):
                told.append(f"{name}: the page shows other commands")
                continue
            alike = difflib.SequenceMatcher(None, _plain(shown), _plain(lines)).ratio()
            if alike < _ALIKE_RATIO:
                diff = "\n".join(difflib.unified_diff(_plain(shown), _plain(lines), lineterm=""))
                told.append(
                    f"{name}: alike by {alike:.2f} only; WVA_WRITE_DOCS=1 writes it\n{diff}"
                )
        return told


def _commands(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("$ ")]


def _plain(lines: list[str]) -> list[str]:
    """Return lines without figures, ages and the random parts of names."""
    plain = []
    for line in lines:
        line = re.sub(r"\b(wva|llama-8b-h100)-[0-9a-f]{6,10}(-[a-z0-9]{5})?\b", r"\1-X", line)
        line = re.sub(r"\d+(\.\d+)?(m|s|h)?(\d+s)?", "#", line)
        plain.append(re.sub(r"\s+", " ", line).strip())
    return plain
