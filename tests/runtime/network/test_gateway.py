"""The proxy of a job: public places that were allowed, and nothing near, whatever a name claims to be."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from fairgrid.runtime.network.gateway import MAX_CONNECTIONS, Gateway
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.runtime.network.nearby import IpNetwork, nearby_networks
from tests.internet import ANSWER, PUBLIC, PUBLIC_NAME, Internet, internet, own_addresses

ANY_PORT = NetworkGrant(("*", "*:7777"))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Internet]:
    with internet(monkeypatch) as world:
        yield world


@dataclass
class Proxy:
    """A gateway that serves, and how a job talks to it."""

    gateway: Gateway
    port: int

    async def say(self, words: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(words)
        try:
            return await reader.read()
        finally:
            await closed(writer)

    async def get(self, url: str) -> bytes:
        return await self.say(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    async def tunnel(self, place: str) -> bytes:
        return await self.say(f"CONNECT {place} HTTP/1.1\r\n\r\nGET / HTTP/1.0\r\n\r\n".encode())


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the other side of a connection has no event to wait for
        await asyncio.sleep(0.01)


@asynccontextmanager
async def proxy(grant: NetworkGrant, near: tuple[IpNetwork, ...] | None = None) -> AsyncIterator[Proxy]:
    gateway = Gateway(grant) if near is None else Gateway(grant, nearby=lambda: near)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    async with gateway.serving(listener):
        yield Proxy(gateway, listener.getsockname()[1])


async def test_a_public_name_is_reached_by_request_and_by_tunnel_and_bytes_are_counted(world: Internet) -> None:
    async with proxy(NetworkGrant((PUBLIC_NAME,))) as job:
        assert (await job.get(f"http://{PUBLIC_NAME}/x")).endswith(ANSWER)
        assert job.gateway.used_bytes > len(ANSWER)
        answer = await job.tunnel(f"{PUBLIC_NAME}:443")
    assert answer.startswith(b"HTTP/1.1 200 Connection established\r\n\r\n") and answer.endswith(ANSWER)
    assert world.dialled == [(PUBLIC, 80), (PUBLIC, 443)]
    path, headers = world.asked[0]
    assert (path, headers["Host"], headers["Connection"]) == ("/x", PUBLIC_NAME, "close")


@pytest.mark.parametrize(
    "place",
    [
        *(
            "127.0.0.1",
            "127.9.9.9",
            "2130706433",
            "0x7f.1",
            "0.0.0.0",
            "localhost",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
        ),
        *("169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "168.63.129.16", "[::ffff:169.254.169.254]"),
        *(
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "[fc00::1]",
            "224.0.0.1",
            "[ff02::1]",
            "255.255.255.255",
        ),
        *("[64:ff9b::a00:1]", "[2002:0a00:0001::]", "192.0.2.1", "198.18.0.1", "203.0.113.1", "240.0.0.1"),
    ],
)
async def test_nothing_near_or_private_is_reached_however_it_is_written(world: Internet, place: str) -> None:
    async with proxy(ANY_PORT) as job:
        for answer in (await job.get(f"http://{place}:7777/"), await job.tunnel(f"{place}:7777")):
            assert answer.startswith(b"HTTP/1.1 403 ") and b"no public address" in answer
    assert world.dialled == []


async def test_this_machines_own_addresses_and_its_neighbours_are_refused_though_they_are_public(
    world: Internet,
) -> None:
    near = (ipaddress.ip_network("93.184.216.0/24"),)
    async with proxy(ANY_PORT, near) as job:
        assert (await job.get(f"http://{PUBLIC_NAME}/")).startswith(b"HTTP/1.1 403 ")
        assert job.gateway.refused == 1
    assert world.dialled == []
    found = nearby_networks()
    assert all(any(ipaddress.ip_address(own) in network for network in found) for own in own_addresses())


async def test_a_name_that_is_private_at_the_second_look_gains_nothing(world: Internet) -> None:
    world.names["rebinding.example.org"] = [[PUBLIC], ["127.0.0.1"]]
    async with proxy(ANY_PORT) as job:
        assert (await job.get("http://rebinding.example.org/")).endswith(ANSWER)
        assert (await job.get("http://rebinding.example.org/")).startswith(b"HTTP/1.1 403 ")
    assert world.dialled == [(PUBLIC, 80)]


async def test_of_a_names_addresses_only_the_public_ones_are_tried(world: Internet) -> None:
    world.names["mixed.example.org"] = [["10.0.0.1", PUBLIC, "127.0.0.1"]]
    async with proxy(ANY_PORT) as job:
        assert (await job.get("http://mixed.example.org/")).endswith(ANSWER)
    assert world.dialled == [(PUBLIC, 80)]


async def test_a_refusal_tells_neither_addresses_nor_whether_a_private_name_exists(world: Internet) -> None:
    world.names["printer.lan.example"] = [["192.168.7.9"]]
    async with proxy(ANY_PORT) as job:
        private = await job.get("http://printer.lan.example/")
        missing = await job.get("http://missing.lan.example/")
    assert private.replace(b"printer", b"missing") == missing
    assert b"192.168" not in private


@pytest.mark.parametrize(
    ("hosts", "place", "allowed"),
    [
        ((PUBLIC_NAME,), f"{PUBLIC_NAME}:443", True),
        ((PUBLIC_NAME,), f"{PUBLIC_NAME}:22", False),
        ((PUBLIC_NAME,), f"{PUBLIC}:443", False),
        (("other.example.org",), f"{PUBLIC_NAME}:443", False),
        (("*.example.org:22",), f"{PUBLIC_NAME}:22", True),
        (("*",), f"{PUBLIC_NAME}:25", False),
        ((), f"{PUBLIC_NAME}:443", False),
    ],
)
async def test_only_what_the_job_asked_for_is_reached(
    world: Internet, hosts: tuple[str, ...], place: str, allowed: bool
) -> None:
    async with proxy(NetworkGrant(hosts)) as job:
        answer = await job.tunnel(place)
    assert answer.startswith(b"HTTP/1.1 200 ") is allowed
    assert bool(world.dialled) is allowed


async def test_a_local_network_opens_loopback_for_a_host_that_is_named_and_never_for_any(world: Internet) -> None:
    place = f"127.0.0.1:{world.port}"
    async with proxy(NetworkGrant((place, f"*:{world.bait_port}"), allow_loopback=True)) as job:
        assert (await job.get(f"http://{place}/")).endswith(ANSWER)
        assert (await job.get(f"http://127.0.0.1:{world.bait_port}/")).startswith(b"HTTP/1.1 403 ")
        assert (await job.get(f"http://localhost:{world.bait_port}/")).startswith(b"HTTP/1.1 403 ")
    async with proxy(NetworkGrant((place,))) as job:
        assert (await job.get(f"http://{place}/")).startswith(b"HTTP/1.1 403 ")
    assert world.arrived == []


async def test_a_job_that_used_up_its_bytes_is_cut_off(world: Internet) -> None:
    async with proxy(NetworkGrant((PUBLIC_NAME,), max_bytes=60)) as job:
        assert await job.get(f"http://{PUBLIC_NAME}/" + "x" * 100) == b""
        assert job.gateway.is_exhausted
        assert b"used the 60 bytes" in await job.get(f"http://{PUBLIC_NAME}/")
    assert len(world.asked) == 0


async def test_words_that_are_no_request_are_answered_and_the_next_job_connection_works(world: Internet) -> None:
    async with proxy(ANY_PORT) as job:
        assert (await job.say(b"SSH-2.0-x\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        assert (await job.say(b"GET http://a.org/ HTTP/1.1\r\nX: " + b"x" * 200_000)).startswith(b"HTTP/1.1 431 ")
        assert (await job.get(f"http://{PUBLIC_NAME}/")).endswith(ANSWER)


async def test_too_many_connections_at_once_are_refused_and_free_ones_serve_again(world: Internet) -> None:
    async with proxy(ANY_PORT) as job:
        held = [await asyncio.open_connection("127.0.0.1", job.port) for _ in range(MAX_CONNECTIONS)]
        await until(lambda: len(job.gateway._serving) == MAX_CONNECTIONS)
        assert (await job.get(f"http://{PUBLIC_NAME}/")).startswith(b"HTTP/1.1 503 ")
        for _, writer in held:
            await closed(writer)
        await until(lambda: not job.gateway._serving)
        assert (await job.get(f"http://{PUBLIC_NAME}/")).endswith(ANSWER)


async def test_a_place_that_does_not_answer_is_told_and_the_end_of_serving_ends_every_connection(
    world: Internet,
) -> None:
    world.names["deaf.example.org"] = [[PUBLIC]]
    world.port = 1
    async with proxy(ANY_PORT) as job:
        assert (await job.get("http://deaf.example.org/")).startswith(b"HTTP/1.1 502 ")
        reader, writer = await asyncio.open_connection("127.0.0.1", job.port)
        await until(lambda: bool(job.gateway._serving))
    assert await reader.read() == b""
    await closed(writer)
    assert not job.gateway._serving
