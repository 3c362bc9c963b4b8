"""Queries to a Prometheus server, whose failures are values. The edge to httpx.

`POST /api/v1/query`, and `query_range` for the past, with a form, so that no query is too long for
a URL. The bearer token is read again each time. A server's own warnings (a part of its storage
didn't answer) come back with the rows: what is there is right, but something may be missing.
"""

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray

from ..config import PrometheusSource
from ..errors import (
    ConfigError,
    SourceError,
    SourceMalformedError,
    SourceRejectedError,
    SourceUnavailableError,
)
from ..records import Reason
from .fetch import Failure
from .tokens import bearer_headers

__all__ = ["SOURCE", "PrometheusClient", "Row", "Rows", "Track", "Tracks", "failure_of"]

SOURCE = "prometheus"
_MAX_BYTES = 256 * 1024 * 1024
_MAX_AT_ONCE = 8

Result = TypeVar("Result")


class Row(NamedTuple):
    """One element of an instant vector."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Rows:
    """A query's answer."""

    rows: tuple[Row, ...]
    warnings: tuple[str, ...] = ()


class Track(NamedTuple):
    """One element of a range vector: its samples."""

    labels: Mapping[str, str]
    at_unix_s: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tracks:
    """A range query's answer."""

    tracks: tuple[Track, ...]
    warnings: tuple[str, ...] = ()


class PrometheusClient:
    """One server.

    Raises
    ------
    ConfigError
        If a certificate or key of the source can't be loaded.
    """

    def __init__(self, source: PrometheusSource) -> None:
        self._source = source
        self._url = source.url.rstrip("/") + "/api/v1/"
        self._tls = _tls(source)
        self._client: httpx.AsyncClient | None = None
        self._turns = asyncio.Semaphore(_MAX_AT_ONCE)

    async def open(self) -> None:
        """Open the client."""
        self._client = httpx.AsyncClient(
            verify=self._tls,
            timeout=self._source.timeout_s,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=_MAX_AT_ONCE),
        )

    async def close(self) -> None:
        """Close the client and its connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def query(self, text: str) -> Rows | Failure:
        """Return the rows that `text` selects now, or why there are none to be had."""
        found = await self._ask("query", {"query": text})
        if isinstance(found, Failure):
            return found
        data, warnings = found
        rows = _understood(_rows, data)
        return rows if isinstance(rows, Failure) else Rows(rows, warnings)

    async def query_range(
        self, text: str, *, start_unix_s: float, end_unix_s: float, step_s: float
    ) -> Tracks | Failure:
        """Return what `text` selected at every step of the past, or why it isn't to be had."""
        form = {"start": f"{start_unix_s:.3f}", "end": f"{end_unix_s:.3f}", "step": f"{step_s:g}"}
        found = await self._ask("query_range", {"query": text, **form})
        if isinstance(found, Failure):
            return found
        data, warnings = found
        tracks = _understood(_tracks, data)
        return tracks if isinstance(tracks, Failure) else Tracks(tracks, warnings)

    async def _ask(
        self, path: str, form: Mapping[str, str]
    ) -> tuple[Any, tuple[str, ...]] | Failure:
        """Return the data of an answer and its warnings."""
        if self._client is None:
            raise RuntimeError("the client is not open")
        timeout_s = self._source.timeout_s
        form = {**form, "timeout": f"{timeout_s:g}s"}
        try:
            headers = bearer_headers(self._source.bearer_token_file, SOURCE)
            async with asyncio.timeout(timeout_s), self._turns:
                request = self._client.stream("POST", self._url + path, data=form, headers=headers)
                async with request as response:
                    body = await _read(response)
        except SourceRejectedError as exc:
            return Failure(Reason.HTTP_STATUS, exc)
        except SourceMalformedError as exc:
            return Failure(Reason.MALFORMED, exc)
        except (TimeoutError, httpx.TimeoutException):
            error = SourceUnavailableError(SOURCE, f"no whole answer within {timeout_s:g} s")
            return Failure(Reason.TIMEOUT, error)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ssl.SSLError, OSError) as exc:
            return failure_of(exc)
        return _answer(response.status_code, body)


def _tls(source: PrometheusSource) -> ssl.SSLContext:
    """Return how the server is checked, and how we prove ourselves to it.

    Raises
    ------
    ConfigError
        If a certificate or key can't be loaded.
    """
    try:
        context = ssl.create_default_context(cafile=source.ca_file)
        if source.cert_file is not None:
            context.load_cert_chain(source.cert_file, source.key_file)
    except (OSError, ssl.SSLError) as exc:
        files = [f for f in (source.ca_file, source.cert_file, source.key_file) if f is not None]
        named = ", ".join(str(file) for file in files)
        raise ConfigError(f"sources.prometheus: can't load {named}: {exc}") from exc
    if source.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def _read(response: httpx.Response) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > _MAX_BYTES:
            raise SourceMalformedError(SOURCE, f"the answer exceeds {_MAX_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)


def failure_of(exc: Exception) -> Failure:
    """Map what httpx raises: the answer was broken, or there was none."""
    detail = f"{type(exc).__name__}: {exc}"
    # httpx has one name for an answer that breaks off and for none at all.
    nothing = "without sending a response" in detail
    if isinstance(exc, httpx.RemoteProtocolError | httpx.DecodingError) and not nothing:
        return Failure(Reason.MALFORMED, SourceMalformedError(SOURCE, detail))
    return Failure(Reason.UNREACHABLE, SourceUnavailableError(SOURCE, detail))


def _answer(status: int, body: bytes) -> tuple[Any, tuple[str, ...]] | Failure:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if status != 200:
        said = content.get("error", "") if isinstance(content, dict) else ""
        detail = f"answered {status} {str(said)[:200]}".rstrip()
        kind: type[SourceError] = SourceUnavailableError if status >= 500 else SourceRejectedError
        return Failure(Reason.HTTP_STATUS, kind(SOURCE, detail))
    return _understood(_data, content)


def _understood(read: Callable[[Any], Result], content: Any) -> Result | Failure:
    """Return what `read` makes of an answer, or that it isn't one."""
    try:
        return read(content)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as exc:
        detail = f"the answer is not that of the query API: {exc}"
        return Failure(Reason.MALFORMED, SourceMalformedError(SOURCE, detail))


def _data(content: Any) -> tuple[Any, tuple[str, ...]]:
    if content["status"] != "success":
        raise ValueError(f"status {content['status']!r}")
    return content["data"], tuple(str(text) for text in content.get("warnings") or ())


def _rows(data: Any) -> tuple[Row, ...]:
    if data["resultType"] == "scalar":
        return (Row({}, float(data["result"][1])),)
    if data["resultType"] != "vector":
        raise ValueError(f"expected a vector or a scalar, got {data['resultType']!r}")
    # Histograms (native ones) have no single value.
    found = [(one["metric"], one["value"][1]) for one in data["result"] if "value" in one]
    return tuple(Row(labels, float(text)) for labels, text in found)


def _tracks(data: Any) -> tuple[Track, ...]:
    if data["resultType"] != "matrix":
        raise ValueError(f"expected a matrix, got {data['resultType']!r}")
    return tuple(_track(one) for one in data["result"] if "values" in one)


def _track(one: Any) -> Track:
    samples = np.array([(at, float(text)) for at, text in one["values"]], dtype=np.float64)
    return Track(one["metric"], samples[:, 0], samples[:, 1])
