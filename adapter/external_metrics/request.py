"""What a request asks for, as Kubernetes sees it: verb, resource, namespace. Pure.

One parse serves authorization and dispatch, so that the two can't read a path
differently. It works on the raw path: a segment is decoded once, after splitting, and one
that decodes to something with a slash names nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import parse_qsl, unquote_to_bytes

from ..errors import BadRequestError, NoMatchError
from ..kube.identity import AccessQuery

__all__ = [
    "API_PREFIX",
    "DASHBOARD_PATHS",
    "EXPLANATIONS",
    "GROUP",
    "OPEN_PATHS",
    "VERSION",
    "ApiRequest",
    "explain_access",
    "parse_request",
]

GROUP = "external.metrics.k8s.io"
VERSION = "v1beta1"
API_PREFIX = f"/apis/{GROUP}/{VERSION}"

_API_SEGMENTS = ("apis", GROUP, VERSION)

# Beside metrics the group's paths lead to reasons and to a page, though discovery lists neither:
# on them the API server passes people's own identity on, so kubectl is all that they need.
EXPLANATIONS = "explanations"
DASHBOARD_PATHS = ("/dashboard", f"{API_PREFIX}/dashboard")

# Exactly these skip authentication: the probes, as in every Kubernetes API server, and a page
# that holds no data (it asks for reasons as whoever reads it).
OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz", *DASHBOARD_PATHS})

# Whoever may list this metric in a namespace may read why it is what it is.
_EXPLAINED_METRIC = "wva_desired_replicas"

MAX_QUERY_FIELDS = 64

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_READS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """One request: `access` is what it needs permission for, None where the handler asks."""

    method: str
    path: str
    segments: tuple[str, ...]
    parameters: Mapping[str, str]
    access: AccessQuery | None
    kind: str  # for counting: metric, explain, discovery, health, other
    namespace: str = ""
    resource: str = ""  # metric in the API, variant under /explain; as it was written
    rest: tuple[str, ...] = ()

    @property
    def reads(self) -> bool:
        """Return whether the method only reads."""
        return self.method in _READS

    @property
    def watches(self) -> bool:
        """Return whether a watch was asked for."""
        return _is_true(self.parameters.get("watch", "false"))


def parse_request(method: str, raw_path: bytes, query: bytes) -> ApiRequest:
    """Return what the request asks for.

    Raises
    ------
    BadRequestError
        If the path or the query isn't UTF-8, or the query has too many fields.
    NoMatchError
        If a part of the path is empty or holds an encoded slash: nothing has such a name,
        and read back as a path it would be another one.
    """
    segments = _segments(raw_path)
    if not all(segments) or any("/" in segment for segment in segments):
        raise NoMatchError("the server could not find the requested resource")
    path = "/" + "/".join(segments)
    parameters = _parameters(query)
    if (asked := _reasons_of(segments)) is not None:
        return _explain_request(method, path, segments, parameters, asked)
    if segments[:3] == _API_SEGMENTS and len(segments) > 3 and path not in OPEN_PATHS:
        return _resource_request(method, path, segments, parameters)
    return ApiRequest(
        method=method,
        path=path,
        segments=segments,
        parameters=parameters,
        # A HEAD shows less than the GET that permissions are given for.
        access=AccessQuery(verb="get" if method in _READS else method.lower(), path=path),
        kind=_kind(path),
    )


def _resource_request(
    method: str, path: str, segments: tuple[str, ...], parameters: Mapping[str, str]
) -> ApiRequest:
    parts = segments[3:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    resource, rest = parts[0], parts[1:]
    watch = _is_true(parameters.get("watch", "false"))
    access = AccessQuery(
        verb=_verb(method, named=bool(rest), watch=watch),
        namespace=namespace,
        group=GROUP,
        version=VERSION,
        resource=resource.lower(),
        name=rest[0] if rest else "",
        subresource="/".join(rest[1:]),
    )
    return ApiRequest(
        method=method,
        path=path,
        segments=segments,
        parameters=parameters,
        access=access,
        kind="metric",
        namespace=namespace,
        resource=resource,
        rest=rest,
    )


def _reasons_of(segments: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return (namespace, variant, more) as far as a path asks for reasons, None if it doesn't."""
    if segments[:1] == ("explain",):
        return segments[1:]
    if segments[:3] != _API_SEGMENTS:
        return None
    if segments[3:] == (EXPLANATIONS,):
        return ()
    if segments[3:4] == ("namespaces",) and segments[5:6] == (EXPLANATIONS,):
        return (segments[4], *segments[6:])
    return None


def _explain_request(
    method: str,
    path: str,
    segments: tuple[str, ...],
    parameters: Mapping[str, str],
    asked: tuple[str, ...],
) -> ApiRequest:
    """Return a request for reasons: of one variant, or (access None) of all that may be read."""
    namespace, variant = (*asked, "", "")[:2]
    return ApiRequest(
        method=method,
        path=path,
        segments=segments,
        parameters=parameters,
        access=explain_access(namespace) if namespace else None,
        kind="explain",
        namespace=namespace,
        resource=variant,
        rest=asked[2:],
    )


def explain_access(namespace: str) -> AccessQuery:
    """Return the permission that reading a namespace's reasons needs; "" for all namespaces."""
    return AccessQuery(
        verb="list",
        namespace=namespace,
        group=GROUP,
        version=VERSION,
        resource=_EXPLAINED_METRIC,
    )


def _verb(method: str, *, named: bool, watch: bool) -> str:
    if method not in _READS:
        verb = _VERBS.get(method, method.lower())
        return "deletecollection" if verb == "delete" and not named else verb
    if watch:
        return "watch"
    return "get" if named else "list"


def _segments(raw_path: bytes) -> tuple[str, ...]:
    """Return the path's parts, each decoded once; a slash at the end makes no part."""
    trimmed = raw_path.strip(b"/")
    if not trimmed:
        return ()
    try:
        return tuple(unquote_to_bytes(part).decode("utf-8") for part in trimmed.split(b"/"))
    except UnicodeDecodeError as exc:
        raise BadRequestError(f"the path is not UTF-8: {exc}") from exc


def _parameters(query: bytes) -> Mapping[str, str]:
    """Return the query's fields; of one that is repeated, the first counts."""
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_QUERY_FIELDS,
        )
    except UnicodeError as exc:
        raise BadRequestError(f"the query is not UTF-8: {exc}") from exc
    except ValueError as exc:
        raise BadRequestError(f"the query has more than {MAX_QUERY_FIELDS} fields") from exc
    return MappingProxyType(dict(reversed(pairs)))


def _is_true(text: str) -> bool:
    """Return what Kubernetes takes for true: anything given but false and 0, even nothing."""
    return text.lower() not in {"false", "0"}


def _kind(path: str) -> str:
    if path in OPEN_PATHS:
        return "health"
    return "discovery" if path.startswith(("/apis", "/openapi", "/version")) else "other"
