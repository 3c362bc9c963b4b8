"""One GET over HTTP, bounded in time and size, whose failures are values. The edge to aiohttp.

Redirects aren't followed: a pod's answer must not send us anywhere else. Bodies are read and
decompressed up to a bound, so that neither a long answer nor a small one that unpacks into a huge
one can fill the memory. Foreign exceptions end here.
"""

import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import aiohttp
from yarl import URL

from ..errors import (
    SourceError,
    SourceMalformedError,
    SourceRejectedError,
    SourceUnavailableError,
)
from ..records import Reason

__all__ = ["METRICS_ACCEPT", "Failure", "Fetched", "Fetcher", "failure_of"]

# Plain text keeps the colons in names, which OpenMetrics writers may turn into underscores.
METRICS_ACCEPT = "text/plain;version=0.0.4"

# Engines are asked again and again: this many addresses are taken apart once.
_ADDRESSES = 1 << 14

_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole body."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no body, for readings and for people."""

    reason: Reason
    error: SourceError


class _TooLargeError(Exception):
    """The body exceeds its bound."""


class Fetcher:
    """One session: connections are kept, as many as there are origins."""

    def __init__(self, *, keep_alive_s: float = 60.0) -> None:
        self._keep_alive_s = keep_alive_s
        self._session: aiohttp.ClientSession | None = None
        self._parsed = lru_cache(maxsize=_ADDRESSES)(URL)

    async def open(self) -> None:
        """Open the session."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=self._keep_alive_s)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "wva-adapter"},
        )

    async def close(self) -> None:
        """Close the session and its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(
        self, url: str, *, timeout_s: float, max_bytes: int, headers: Mapping[str, str]
    ) -> Fetched | Failure:
        """Return what a GET of `url` answers with 200, or why it doesn't."""
        if self._session is None:
            raise RuntimeError("the fetcher is not open")
        try:
            async with self._session.get(
                self._parsed(url),
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                if response.status != 200:
                    return _refused(url, response)
                body = await _read(response, max_bytes)
                return Fetched(body, response.content_type)
        except _TooLargeError:
            detail = f"the body exceeds {max_bytes} bytes"
            return Failure(Reason.MALFORMED, SourceMalformedError(url, detail))
        except TimeoutError:
            detail = f"no whole answer within {timeout_s:g} s"
            return Failure(Reason.TIMEOUT, SourceUnavailableError(url, detail))
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError, zlib.error) as exc:
            return failure_of(url, exc)


def _refused(url: str, response: aiohttp.ClientResponse) -> Failure:
    status = response.status
    if status >= 500:
        error: SourceError = SourceUnavailableError(url, f"answered {status} {response.reason}")
    elif 300 <= status < 400:
        error = SourceRejectedError(url, f"answered {status}; redirects are not followed")
    else:
        error = SourceRejectedError(url, f"answered {status} {response.reason}; check the path")
    return Failure(Reason.HTTP_STATUS, error)


def failure_of(url: str, exc: Exception) -> Failure:
    """Map what aiohttp raises: the answer was broken, or there was none."""
    detail = f"{type(exc).__name__}: {exc}"
    if isinstance(exc, aiohttp.ClientPayloadError | aiohttp.ClientResponseError | zlib.error):
        return Failure(Reason.MALFORMED, SourceMalformedError(url, detail))
    if isinstance(exc, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError) and not isinstance(
        exc, aiohttp.ClientConnectorError
    ):
        # Somebody had taken the connection, unlike with one that is refused.
        return Failure(Reason.RESET, SourceUnavailableError(url, detail))
    return Failure(Reason.UNREACHABLE, SourceUnavailableError(url, detail))


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in {"identity", "gzip", "deflate", "x-gzip"}:
        raise aiohttp.ClientPayloadError(f"content encoding {encoding!r} was not asked for")
    length = response.content_length
    if length is not None and length > max_bytes:
        raise _TooLargeError
    if encoding == "identity" and length is not None:
        return await response.read()
    unpack = None if encoding == "identity" else zlib.decompressobj(_GZIP_OR_ZLIB)
    parts, size = [], 0
    async for chunk in response.content.iter_any():
        part = chunk if unpack is None else unpack.decompress(chunk, max_bytes - size + 1)
        size += len(part)
        if size > max_bytes:
            raise _TooLargeError
        parts.append(part)
    if unpack is not None and not unpack.eof:
        raise aiohttp.ClientPayloadError("the compressed body is cut")
    return b"".join(parts)
