"""The caller's identity as the Kubernetes aggregator states it in headers.

The headers count only beside a client certificate that the request-header CA vouches for
and whose name is allowed: anybody who reaches the port could claim to be anyone.

Rules: Kubernetes, "Configure the aggregation layer", "Authenticating proxy".
"""

from collections.abc import Sequence
from urllib.parse import unquote

from ..errors import UnauthorizedError
from ..kube.identity import Identity
from .trust import Trust

__all__ = ["identify_front_proxy"]

Headers = Sequence[tuple[bytes, bytes]]


def identify_front_proxy(
    trust: Trust, chain: tuple[bytes, ...], headers: Headers, unix_s: float
) -> Identity | None:
    """Return whom the front proxy speaks for, None if it names nobody.

    Raises
    ------
    UnauthorizedError
        If the certificate isn't a front proxy's.
    """
    if trust.front_proxy is None:
        raise UnauthorizedError("no front proxy is trusted here")
    subject = trust.front_proxy.verify(chain, unix_s)
    if trust.allowed_names and subject.common_name not in trust.allowed_names:
        allowed = ", ".join(sorted(trust.allowed_names))
        raise UnauthorizedError(
            f"the front proxy's name {subject.common_name!r} is not one of: {allowed}"
        )
    username = _first(headers, trust.username_headers)
    if not username:
        return None
    return Identity(
        username=username,
        uid=_first(headers, trust.uid_headers),
        groups=tuple(value.decode("utf-8", "replace") for value in _all(headers, trust)),
        extra=_extra(headers, trust.extra_prefixes),
    )


def _first(headers: Headers, names: tuple[bytes, ...]) -> str:
    """Return the first value that isn't empty, of the names in their order."""
    for wanted in names:
        for name, value in headers:
            if name == wanted and value:
                return value.decode("utf-8", "replace")
    return ""


def _all(headers: Headers, trust: Trust) -> list[bytes]:
    """Return every group: the aggregator sends one header line for each."""
    return [value for name, value in headers if name in trust.group_headers]


def _extra(
    headers: Headers, prefixes: tuple[bytes, ...]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the extra attributes; keys are lower case and percent-encoded on the wire."""
    extra: dict[str, list[str]] = {}
    for name, value in headers:
        if name.startswith(prefixes):
            prefix = next(one for one in prefixes if name.startswith(one))
            key = unquote(name.removeprefix(prefix).decode("latin-1"))
            extra.setdefault(key, []).append(value.decode("utf-8", "replace"))
    return tuple(sorted((key, tuple(values)) for key, values in extra.items()))
