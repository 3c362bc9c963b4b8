"""The dashboard: one page without data, which asks /explain as whoever looks at it.

The page itself is the same for everybody and holds nothing, so it needs no permission; what
it shows is what /explain lets the reader see, with the token that is typed in.
"""

import hashlib
import re
from base64 import b64encode
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response

from .documents import Endpoint

__all__ = ["dashboard_endpoint"]

_INLINE = re.compile(rb"<(style|script)>(.*?)</\1>", re.DOTALL)


def dashboard_endpoint() -> Endpoint:
    """Return an endpoint that serves the page."""
    page = resources.files(__package__).joinpath("dashboard.html").read_bytes()
    headers = {
        "content-security-policy": content_security_policy(page),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }

    async def endpoint(_request: Request) -> Response:
        return Response(page, media_type="text/html", headers=headers)

    return endpoint


def content_security_policy(page: bytes) -> str:
    """Return the policy under which the page's own style and script run, and nothing else."""
    hashes: dict[str, list[str]] = {"style": [], "script": []}
    for kind, content in _INLINE.findall(page):
        digest = b64encode(hashlib.sha256(content).digest()).decode()
        hashes[kind.decode()].append(f"'sha256-{digest}'")
    return (
        "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; "
        f"style-src {' '.join(hashes['style'])}; script-src {' '.join(hashes['script'])}"
    )
