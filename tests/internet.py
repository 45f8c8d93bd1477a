"""A piece of the public Internet for tests, on loopback: what jobs may reach, and listeners that nobody may reach.

Only names and the last step are replaced (what a name's addresses are, and where a connection to a public address
goes); every judgement between them is the real one.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from fairgrid.runtime.network import gateway
from fairgrid.seams.addresses import look_up as real_look_up

__all__ = ["PUBLIC", "PUBLIC_NAME", "Internet", "internet", "own_addresses"]

PUBLIC_NAME = "public.example.org"
PUBLIC = "93.184.216.34"
ANSWER = b"greetings from afar\n"


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass
class Internet:
    """``port`` is where its one server, and a bait of this machine, really listen."""

    port: int
    bait_port: int
    names: dict[str, list[list[str]]] = field(default_factory=dict)
    """Addresses of a name, for each time that it is looked up; the last ones stay."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Paths and headers of the requests that the server got."""
    dialled: list[tuple[str, int]] = field(default_factory=list)
    arrived: list[str] = field(default_factory=list)
    """Who reached the bait."""

    async def look_up(self, host: str, port: int) -> list[str]:
        if host in self.names:
            times = self.names[host]
            return times.pop(0) if len(times) > 1 else times[0]
        try:
            return await real_look_up(host, port)
        except (OSError, TimeoutError):
            raise OSError("no such name") from None

    async def dial(self, address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.dialled.append((address, port))
        if address == PUBLIC:
            return await asyncio.open_connection("127.0.0.1", self.port)
        return await asyncio.open_connection(address, port)


@contextmanager
def internet(patch: pytest.MonkeyPatch) -> Iterator[Internet]:
    """The world that gateways see while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    server.daemon_threads = True
    bait = socket.socket()
    bait.bind(("0.0.0.0", 0))
    bait.listen()
    world = Internet(server.server_address[1], bait.getsockname()[1], {PUBLIC_NAME: [[PUBLIC]]})
    server.asked = world.asked  # type: ignore[attr-defined]
    threads = [
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True),
        threading.Thread(target=_note, args=(bait, world.arrived), daemon=True),
    ]
    for thread in threads:
        thread.start()
    patch.setattr(gateway, "_look_up", world.look_up)
    patch.setattr(gateway, "_dial", world.dial)
    try:
        yield world
    finally:
        server.shutdown()
        server.server_close()
        bait.shutdown(socket.SHUT_RDWR)
        bait.close()
        for thread in threads:
            thread.join(10)


def own_addresses() -> list[str]:
    """IPv4 addresses of this machine."""
    return [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    ]


def _note(bait: socket.socket, arrived: list[str]) -> None:
    while True:
        try:
            connection, (address, _) = bait.accept()
        except OSError:
            return
        connection.close()
        arrived.append(address)
