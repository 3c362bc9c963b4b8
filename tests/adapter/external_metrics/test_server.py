"""The server's life: where it listens, how it ends, and what it leaves alone."""

import asyncio
import signal
import socket

import httpx
import pytest
from starlette.responses import PlainTextResponse

from adapter.errors import ConfigError
from adapter.external_metrics.server import ApiServer


async def hello(scope, receive, send) -> None:
    await PlainTextResponse("hello")(scope, receive, send)


def plain(*, host="127.0.0.1", port=0, app=hello) -> ApiServer:
    return ApiServer(app, host=host, port=port, context=None)


async def get(server: ApiServer, path: str = "/") -> httpx.Response:
    host, port = server.address
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(f"http://{host}:{port}{path}")


async def test_it_listens_from_construction_on_and_ends_on_stop():
    server = plain()
    serving = asyncio.ensure_future(server.serve())
    assert (await get(server)).text == "hello"
    server.stop()
    server.stop()
    await asyncio.wait_for(serving, 5)
    with pytest.raises(httpx.ConnectError):
        await get(server)


async def test_stopped_before_it_began():
    server = plain()
    server.stop()
    await asyncio.wait_for(server.serve(), 5)


async def test_signals_are_left_to_their_owner():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    server = plain()
    serving = asyncio.ensure_future(server.serve())
    await get(server)
    during = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    server.stop()
    await serving
    assert before == during == [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]


async def test_a_cancelled_server_frees_its_port():
    server = plain()
    serving = asyncio.ensure_future(server.serve())
    await get(server)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    with pytest.raises(httpx.ConnectError):
        await get(server)
    with socket.create_server(server.address):
        pass


async def test_an_address_in_use_is_an_error_that_says_so():
    server = plain()
    with pytest.raises(ConfigError, match=r"can't listen on 127.0.0.1:\d+: .*in use.*host or port"):
        plain(port=server.address[1])
    server.stop()
    await server.serve()


@pytest.mark.parametrize("host", ["no-such-host.invalid", "203.0.113.1"])
def test_an_address_that_is_not_ours_is_an_error(host):
    with pytest.raises(ConfigError, match=f"can't listen on {host}"):
        plain(host=host)


async def test_ipv6_where_there_is_any():
    try:
        server = plain(host="::1")
    except ConfigError as exc:
        pytest.skip(f"no IPv6 here: {exc}")
    serving = asyncio.ensure_future(server.serve())
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://[::1]:{server.address[1]}/")).text == "hello"
    server.stop()
    await serving
