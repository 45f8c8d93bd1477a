from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from fairgrid.errors import UsageError
from fairgrid.seams.service import drain, serving, until_server_ends

_SERVICE = """
import asyncio, sys
from contextlib import asynccontextmanager
import structlog
from fairgrid.errors import UsageError
from fairgrid.seams.logs import configure_logging
from fairgrid.seams.service import run_service

async def application(scope, receive, send):
    structlog.get_logger("test").info("asked", path=scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/slow":
        await asyncio.sleep(60)
    await send({"type": "http.response.body", "body": b"here"})

@asynccontextmanager
async def opener():
    if "--broken" in sys.argv:
        raise UsageError("the opener's own words")
    print("opened", flush=True)
    yield application
    print("closed", flush=True)

configure_logging("test")
run_service(opener, announce=lambda line: print(line, flush=True))
"""


async def _application(
    scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def start(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _SERVICE, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


async def test_an_application_is_served_on_a_free_port_while_the_block_runs() -> None:
    async with serving(_application) as url, httpx.AsyncClient() as http:
        assert (await http.get(f"{url}/path")).text == "/path"
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(url)


async def test_a_taken_port_says_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="--port 0 takes a free one"):
            async with serving(_application, port=taken.getsockname()[1]):
                pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_opens_says_ready_and_closes_on_a_signal(number: signal.Signals) -> None:
    process = start()
    opened, ready = lines(process, 2)
    assert opened == "opened"
    url = ready.removeprefix("ready ")
    assert httpx.get(url + "/x").text == "here"
    os.kill(process.pid, number)
    out, log = process.communicate(timeout=60)
    assert (process.returncode, out.strip()) == (0, "closed")
    assert "service='test'" in log
    assert "event='asked'" in log
    assert "path='/x'" in log


def test_a_service_with_an_open_connection_still_ends() -> None:
    process = start()
    url = lines(process, 2)[1].removeprefix("ready ")
    with httpx.stream("GET", url + "/slow") as response:
        assert response.status_code == 200
        began = time.monotonic()
        process.terminate()
        out, _ = process.communicate(timeout=60)
        assert time.monotonic() - began < 30, "the connection would have lasted for ever"
    assert (process.returncode, out.strip()) == (0, "closed")


def test_an_opener_that_fails_announces_nothing_and_its_error_comes_through() -> None:
    process = start("--broken")
    out, log = process.communicate(timeout=60)
    assert process.returncode != 0
    assert out == ""
    assert "the opener's own words" in log


async def test_draining_stops_at_its_limits_and_swallows_a_lost_client() -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield bytes(100)

    await drain(endless(), limit_bytes=1000)
    assert given == 11

    async def stuck() -> AsyncIterator[bytes]:
        await asyncio.sleep(60)
        yield b""

    began = time.monotonic()
    await drain(stuck(), limit_bytes=1000, limit_s=0.05)
    assert time.monotonic() - began < 30, "the connection would have lasted for ever"

    async def lost() -> AsyncIterator[bytes]:
        yield b"x"
        raise ConnectionError("gone")

    await drain(lost(), limit_bytes=1000)


async def test_a_websocket_message_above_the_limit_closes_the_connection() -> None:
    import websockets

    received: list[int] = []

    async def application(scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            received.append(len(message["text"]))
            await send({"type": "websocket.send", "text": "taken"})

    @asynccontextmanager
    async def connected(url: str) -> AsyncIterator[Any]:
        async with websockets.connect(url.replace("http", "ws")) as connection:
            yield connection

    async with serving(application, ws_max_size=1000) as url, connected(url) as connection:
        await connection.send("x" * 1000)
        assert await connection.recv() == "taken"
        await connection.send("x" * 1001)
        with pytest.raises(websockets.ConnectionClosedError):
            await connection.recv()
    assert received == [1000]


class Stream:
    """A stream without an end; `closed` when its reader went."""

    closed = False

    async def items(self) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.sleep(3_600)
        finally:
            self.closed = True


async def test_an_endless_stream_ends_with_the_server_and_its_reader_sees_a_whole_answer() -> None:
    stream, began = Stream(), asyncio.Event()

    async def application(scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async for item in until_server_ends(scope, stream.items()):
            await send({"type": "http.response.body", "body": item, "more_body": True})
            began.set()
        await send({"type": "http.response.body", "body": b" and last"})

    async with httpx.AsyncClient(trust_env=False) as http:
        async with serving(application) as url:
            reading = asyncio.create_task(http.get(url))
            async with asyncio.timeout(30):
                await began.wait()
            before = time.monotonic()
        assert (await reading).content == b"first and last"
    assert stream.closed
    assert time.monotonic() - before < 2.5, "it does not wait for the 3 s after which connections are cut"


async def test_a_stream_that_ends_by_itself_or_fails_does_so_with_and_without_a_server() -> None:
    async def short() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ValueError("no more")

    assert [item async for item in until_server_ends({}, short())] == [1, 2]
    with pytest.raises(ValueError, match="no more"):
        _ = [item async for item in until_server_ends({}, broken())]
