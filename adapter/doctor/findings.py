"""What a check comes to: a level, words, and the command that mends it."""

import enum
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

__all__ = ["Finding", "Level", "exit_code", "fail", "ok", "skip", "to_json", "to_text", "warn"]


class Level(enum.StrEnum):
    """How a check ended."""

    OK = "OK"
    WARN = "WARN"  # it works, and not as well as it could
    FAIL = "FAIL"  # it doesn't work
    SKIP = "SKIP"  # it couldn't be looked at; the message says why


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `remedy` is a command, or what to change where none can."""

    level: Level
    check: str
    subject: str
    message: str
    remedy: str = ""


def ok(check: str, subject: str, message: str) -> Finding:
    return Finding(Level.OK, check, subject, message)


def warn(check: str, subject: str, message: str, remedy: str) -> Finding:
    return Finding(Level.WARN, check, subject, message, remedy)


def fail(check: str, subject: str, message: str, remedy: str) -> Finding:
    return Finding(Level.FAIL, check, subject, message, remedy)


def skip(check: str, subject: str, message: str, remedy: str = "") -> Finding:
    return Finding(Level.SKIP, check, subject, message, remedy)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 1 if something doesn't work, else 0: a warning stops no script."""
    return int(any(finding.level is Level.FAIL for finding in findings))


def to_text(findings: Sequence[Finding]) -> str:
    """Return one line for each finding, its remedy below it, and a count at the end."""
    checks = max((len(finding.check) for finding in findings), default=0)
    lines = []
    for finding in findings:
        start = f"{finding.level:<5} {finding.check:<{checks}}  "
        lines.append(f"{start}{finding.subject}: {finding.message}")
        if finding.remedy:
            lines.append(f"{'':{len(start)}}mend: {finding.remedy}")
    return "\n".join([*lines, _count(findings)])


def to_json(findings: Sequence[Finding]) -> str:
    """Return the findings as a JSON document."""
    counts = {level.value: sum(f.level is level for f in findings) for level in Level}
    rows = [asdict(finding) for finding in findings]
    return json.dumps({"findings": rows, "counts": counts}, indent=2)


def _count(findings: Sequence[Finding]) -> str:
    numbers = ((level, sum(f.level is level for f in findings)) for level in Level)
    return ", ".join(f"{number} {level}" for level, number in numbers)
