"""Who asks and for what: the records that Kubernetes reviews speak of. No I/O."""

from dataclasses import dataclass

__all__ = ["AccessQuery", "Identity"]


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated (or anonymous) user, as a TokenReview or the front proxy names it."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessQuery:
    """One permission: on a resource of an API group, or on a plain path."""

    verb: str
    path: str = ""  # set: a path outside all resources
    namespace: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
