"""What people order by annotation: mode, pin, floor, hold, takeover; for as long as they say. Pure.

`wva.llm-d.ai/mode`: active, observe or paused. `wva.llm-d.ai/pin`: exactly so many replicas.
`wva.llm-d.ai/floor`: at least so many. `wva.llm-d.ai/hold: canary`: decided for its own requests,
out of moves for the sake of cost. `wva.llm-d.ai/takes-over: VARIANT`: decided for the requests of
that one, too, before they are switched. Each may have an end, `wva.llm-d.ai/pin-until:
2027-01-01T08:00:00Z`; after it the order is as if it weren't there. An order that can't be
read is reported and not followed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ..kube.fields import instant_s

__all__ = ["Orders", "read_orders"]

Mode = Literal["active", "observe", "paused"]
_PREFIX = "wva.llm-d.ai/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """The orders in force."""

    mode: Mode = "active"
    pin: int | None = None
    floor: int | None = None
    hold: Literal["canary"] | None = None
    takes_over: str | None = None

    def bounds(self, least: int, most: int) -> tuple[int, int]:
        """Return the bounds that the orders leave: a pin is both, inside what there was."""
        if self.pin is not None:
            pinned = min(self.pin, most)
            return pinned, max(pinned, 1)
        return min(max(least, self.floor or 0), most), most


def read_orders(
    notes: Mapping[str, str], *, paused: bool, now_unix_s: float, report: Callable[[str], None]
) -> Orders:
    """Return the orders in `notes` at `now_unix_s`; `paused` is KEDA's own pause.

    `report` is called with a sentence for each order that can't be read.
    """
    mode = _in_force(notes, "mode", now_unix_s, report)
    if mode and mode not in get_args(Mode):
        report(f"{_PREFIX}mode {mode!r} is none of {', '.join(get_args(Mode))}")
        mode = ""
    hold = _in_force(notes, "hold", now_unix_s, report)
    if hold not in {"", "canary"}:
        report(f"{_PREFIX}hold {hold!r} isn't canary")
    words: dict[str, Mode] = {word: word for word in get_args(Mode)}
    return Orders(
        mode="paused" if paused else words.get(mode, "active"),
        pin=_count(notes, "pin", now_unix_s, report),
        floor=_count(notes, "floor", now_unix_s, report),
        hold="canary" if hold == "canary" else None,
        takes_over=_in_force(notes, "takes-over", now_unix_s, report) or None,
    )


def _count(
    notes: Mapping[str, str], name: str, now_unix_s: float, report: Callable[[str], None]
) -> int | None:
    text = _in_force(notes, name, now_unix_s, report)
    if not text:
        return None
    if text.isascii() and text.isdecimal():
        return int(text)
    report(f"{_PREFIX}{name} {text!r} is no number of replicas")
    return None


def _in_force(
    notes: Mapping[str, str], name: str, now_unix_s: float, report: Callable[[str], None]
) -> str:
    value, until = notes.get(_PREFIX + name, ""), notes.get(f"{_PREFIX}{name}-until", "")
    if not value or not until:
        return value
    end_s = instant_s(until)
    if end_s is None:
        report(f"{_PREFIX}{name}-until {until!r} is no time like 2027-01-01T08:00:00Z")
        return ""
    return value if now_unix_s < end_s else ""
