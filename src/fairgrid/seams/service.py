"""The rim that every HTTP service shares: bind a port, say ``ready http://…``, log to stderr, end within 5 s.

A service gives an *opener*: an async context manager that yields its ASGI application once everything behind it is
open, and closes it all on leaving. Errors of the opener reach the caller unchanged, before a port is announced.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar

import uvicorn
from prometheus_client import CollectorRegistry

from fairgrid.errors import UsageError
from fairgrid.seams.metrics import Metered, metrics_token

__all__ = ["Opener", "drain", "run_service", "serving", "until_server_ends"]

#: What `serving` hosts: an ASGI application (its type is left open, as frameworks disagree on it).
Opener = Callable[[], AbstractAsyncContextManager[Any]]

_GRACE_S = 3
_ENDING: Final = "fairgrid.ending"
"""Key of a request's scope: an event that is set when the server begins to end."""
_Item = TypeVar("_Item")


class _Server(uvicorn.Server):
    """A uvicorn server that leaves the process's signals alone and says when it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answering = asyncio.Event()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let the server end, without waiting for its next tick."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), timeout=1)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.answering.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
        listener.setblocking(False)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(
            f"Cannot listen on {host} port {port} ({error}). Choose another with --port; --port 0 takes a free one."
        ) from error
    return listener


def _url(host: str, listener: socket.socket) -> str:
    address = f"[{host}]" if ":" in host else host
    return f"http://{address}:{listener.getsockname()[1]}"


@asynccontextmanager
async def serving(
    application: Any,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    ws_max_size: int = 1024 * 1024,
    listener: socket.socket | None = None,
) -> AsyncIterator[str]:
    """Serve ``application`` in this event loop while the block runs; gives its base URL, without a trailing slash.

    Port 0 takes a free one. On leaving, streams of `until_server_ends` end, other open connections have 3 s to finish;
    then they are cut. ``ws_max_size`` is the largest websocket message in bytes; ``listener`` a bound socket to use
    instead of ``port``.

    Raises:
        UsageError: the address cannot be bound.
    """
    listener = listener or _bind(host, port)
    url = _url(host, listener)
    ending = asyncio.Event()
    config = uvicorn.Config(
        _told(application, ending),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        proxy_headers=False,
        ws="websockets-sansio",
        ws_max_size=ws_max_size,
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name=f"serve {url}")
    try:
        answering = asyncio.create_task(server.answering.wait())
        await asyncio.wait((answering, task), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            answering.cancel()
            task.result()
        yield url
    finally:
        ending.set()
        server.stop()
        try:
            await task
        finally:
            listener.close()


def _told(application: Any, ending: asyncio.Event) -> Any:
    """The application; each of its requests knows when the server ends."""

    async def called(scope: Any, receive: Any, send: Any) -> None:
        scope[_ENDING] = ending
        await application(scope, receive, send)

    return called


async def until_server_ends(scope: Mapping[str, Any], stream: AsyncIterator[_Item]) -> AsyncIterator[_Item]:
    """The items of a stream without an end of its own, as long as the server of the request ``scope`` goes on.

    A server that is not one of `serving` is taken to go on for ever.
    """
    ending = asyncio.create_task((scope.get(_ENDING) or asyncio.Event()).wait())
    step: asyncio.Future[_Item] | None = None
    try:
        while True:
            step = asyncio.ensure_future(anext(stream))
            await asyncio.wait((step, ending), return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                return
            try:
                yield step.result()
            except StopAsyncIteration:
                return
    finally:
        ending.cancel()
        if step is not None:
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


async def drain(body: AsyncIterator[bytes], *, limit_bytes: int, limit_s: float = 10) -> None:
    """Take the rest of a refused request's body, within limits: most clients read the answer only after it."""
    left = limit_bytes
    # A stream that was given up before raises RuntimeError, a client that went away an error of the framework's own.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(limit_s):
            async for piece in body:
                left -= len(piece)
                if left < 0:
                    return


async def _run(
    opener: Opener,
    *,
    host: str,
    port: int,
    announce: Callable[[str], None],
    ws_max_size: int,
    bound: Callable[[str], None] | None,
    registry: CollectorRegistry | None,
) -> None:
    token = metrics_token()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    listener = None
    opened = False

    async def serve() -> None:
        nonlocal opened
        async with (
            opener() as application,
            serving(
                _metered(application, registry, token), host=host, port=port, ws_max_size=ws_max_size, listener=listener
            ) as url,
        ):
            opened = True
            announce(f"ready {url}")
            await stop.wait()

    try:
        if bound is not None:
            listener = _bind(host, port)
            bound(_url(host, listener))
        service = asyncio.create_task(serve(), name="service")
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((service, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not opened:
            service.cancel()  # it still waits for others, and nobody waits for it any more
        with contextlib.suppress(*(() if opened else (asyncio.CancelledError,))):
            await service
    finally:
        if listener is not None:
            listener.close()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _metered(application: Any, registry: CollectorRegistry | None, token: str) -> Any:
    return application if registry is None else Metered(application, registry, token=token)


def run_service(
    opener: Opener,
    *,
    announce: Callable[[str], None],
    host: str = "127.0.0.1",
    port: int = 0,
    ws_max_size: int = 1024 * 1024,
    bound: Callable[[str], None] | None = None,
    registry: CollectorRegistry | None = None,
) -> None:
    """Run a service until SIGTERM or SIGINT; the body of every ``fairgrid … start``.

    ``announce`` gets the one line ``ready http://HOST:PORT`` when requests are answered (``typer.echo`` in the CLI).
    ``bound`` gets the URL before ``opener`` is entered, for a service that has to tell others where it is.
    ``registry`` is served at ``/metrics``, with figures of the requests; None: there are no metrics.

    Raises:
        UsageError: the address cannot be bound, or the token for metrics is none.
        FairgridError: whatever ``opener`` raises.
    """
    asyncio.run(
        _run(
            opener,
            host=host,
            port=port,
            announce=announce,
            ws_max_size=ws_max_size,
            bound=bound,
            registry=registry,
        )
    )
