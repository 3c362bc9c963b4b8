"""A Prometheus on tape: answers of a real one, recorded by a proxy and played back by request."""

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qsl

import httpx
from aiohttp import web

__all__ = ["playing", "recording"]

# What may differ from run to run and changes no answer.
IGNORED = {"timeout"}


def _key(path: str, form: str) -> str:
    pairs = sorted((name, value) for name, value in parse_qsl(form) if name not in IGNORED)
    return json.dumps([path, pairs])


@asynccontextmanager
async def recording(url: str, tape: Path) -> AsyncIterator[str]:
    """Pass requests on to the server at `url`; write its answers when the block ends."""
    answers: dict[str, str] = {}

    async def handle(request: web.Request) -> web.Response:
        form = await request.text()
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.post(url + request.path, content=form, headers=_FORM)
        answers[_key(request.path, form)] = answer.text
        return web.Response(text=answer.text, status=answer.status_code)

    async with _serving(handle) as own:
        yield own
    content = json.dumps(answers, indent=0, sort_keys=True).encode()
    tape.write_bytes(gzip.compress(content, mtime=0))


@asynccontextmanager
async def playing(tape: Path) -> AsyncIterator[str]:
    """Answer what was asked when the tape was made; anything else is 404."""
    answers = json.loads(gzip.decompress(tape.read_bytes()))

    async def handle(request: web.Request) -> web.Response:
        key = _key(request.path, await request.text())
        if key not in answers:
            return web.Response(text=f"not on the tape: {key}", status=404)
        return web.Response(text=answers[key], content_type="application/json")

    async with _serving(handle) as own:
        yield own


_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@asynccontextmanager
async def _serving(handle: object) -> AsyncIterator[str]:
    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/{path:.*}", handle)  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
