"""Answers every GET with one page of metrics: `python -m ...one_page PORT FILE`.

A process of its own, so that a busy test doesn't make its engines look slow.
"""

import sys
from pathlib import Path

from aiohttp import web

from simulator.prometheus_text import CONTENT_TYPE


def main() -> None:
    """Serve until killed."""
    port, page = int(sys.argv[1]), Path(sys.argv[2]).read_bytes()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/{anything:.*}", answer)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    main()
