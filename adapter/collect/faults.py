"""Which sources fail, why, and since when."""

from ..records import Reason, SourceFault

__all__ = ["FaultBook"]


class FaultBook:
    """The sources that failed the last time they were asked."""

    def __init__(self) -> None:
        self._faults: dict[str, SourceFault] = {}

    def failed(self, source: str, reason: Reason, message: str, *, now_s: float) -> None:
        """Note a failure; a row of them began with the first."""
        first = self._faults.get(source)
        since_s = first.since_s if first is not None else now_s
        self._faults[source] = SourceFault(
            source=source, reason=reason, message=message, since_s=since_s
        )

    def answered(self, source: str) -> None:
        """Note that a source is well."""
        self._faults.pop(source, None)

    def keep_only(self, sources: set[str]) -> None:
        """Forget sources that are no longer asked."""
        for source in self._faults.keys() - sources:
            del self._faults[source]

    def faults(self) -> tuple[SourceFault, ...]:
        """Return all faults, by source."""
        return tuple(self._faults[source] for source in sorted(self._faults))
