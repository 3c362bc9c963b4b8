"""What a control plane consists of: things done again and again, each at its own pace."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..world import World

__all__ = ["Timetable"]


@dataclass(slots=True)
class _Task:
    period_s: float
    due_s: float
    act: Callable[[World], None]


class Timetable:
    """Periodic tasks; those that are due at once run in the order in which they were added."""

    def __init__(self) -> None:
        self._tasks: list[_Task] = []

    def every(self, period_s: float, act: Callable[[World], None], *, first_s: float = 0.0) -> None:
        """Do `act` at `first_s` and then every `period_s`."""
        self._tasks.append(_Task(period_s, first_s, act))

    @property
    def next_s(self) -> float:
        """When the next task is due."""
        return min((task.due_s for task in self._tasks), default=math.inf)

    def act(self, world: World) -> None:
        """Do what is due."""
        for task in self._tasks:
            while task.due_s <= world.now_s:
                task.due_s += task.period_s
                task.act(world)
