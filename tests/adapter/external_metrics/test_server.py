"""The server's life: where it listens, how it ends, and what it leaves alone."""

import asyncio
import signal
import socket
import ssl

import httpx
import pytest
from starlette.responses import PlainTextResponse

from adapter.errors import ConfigError
from adapter.external_metrics.server import ApiServer
from tests.helpers.pki import SERVER, TestAuthority


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


async def test_a_tls_connection_that_is_closed_twice_is_closed_once(tmp_path):
    """A client that keeps its connection and ignores its end, until the server gives it up."""
    authority = TestAuthority()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue("x", uses=(SERVER,), hosts=("localhost",)).load_into(context, tmp_path)
    problems = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: problems.append(context))
    connections = []

    async def closing(scope, receive, send) -> None:
        await hello(scope, receive, send)
        for protocol in server._server.server_state.connections:
            protocol.transport.close()
            protocol.transport.close()
            connections.append(protocol)

    server = ApiServer(closing, host="127.0.0.1", port=0, context=context)
    serving = asyncio.ensure_future(server.serve())
    trusting = ssl.create_default_context(cadata=authority.pem)
    _, writer = await asyncio.open_connection(
        *server.address, ssl=trusting, server_hostname="localhost"
    )
    writer.transport.pause_reading()
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for _ in range(100):
        if connections and connections[0] not in server._server.server_state.connections:
            break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError("the connection was never given up")
    writer.transport.abort()
    server.stop()
    await serving
    assert problems == []
