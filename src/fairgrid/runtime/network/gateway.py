"""The proxy of one job: to public addresses that deal and owner both allow, and never to what is near.

Names are looked up here and not by the job; each address that a name has is judged, and the connection goes to an
address that was judged, so a name that means something else a moment later gains nothing. The job learns neither
addresses nor which private names exist: every refusal reads the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import structlog

from fairgrid.protocol.network import Destination, destination
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.runtime.network.nearby import NearbyNetworks, nearby_networks
from fairgrid.runtime.network.requests import BadRequest, ProxyRequest, parse_request, refusal
from fairgrid.seams.addresses import AddressRule, LookUp, look_up

__all__ = ["MAX_CONNECTIONS", "Dial", "Gateway"]

MAX_CONNECTIONS: Final = 64
"""At once, of one job."""

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial: TypeAlias = Callable[[str, int], Awaitable[Streams]]

_MOST_HELD: Final = 4 * MAX_CONNECTIONS
"""Beyond it a connection is not even answered."""
_HEAD_BYTES: Final = 64 << 10
_HEAD_S: Final = 30.0
_DIAL_S: Final = 15.0
_CLOSE_S: Final = 10.0
_LINGER_S: Final = 2.0
_PAUSE_S: Final = 0.2
_PIECE_BYTES: Final = 64 << 10
_END: Final = b"\r\n\r\n"
_TUNNEL: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_log = structlog.get_logger(__name__)


async def dial(address: str, port: int) -> Streams:
    """Connect to an address, which is no name."""
    return await asyncio.open_connection(address, port)


class _Refused(Exception):
    """``reason`` is for the job, ``detail`` for the owner of the machine."""

    def __init__(self, status: int, reason: str, detail: str = "") -> None:
        self.status = status
        self.reason = reason
        self.detail = detail or reason
        super().__init__(self.detail)


class Gateway:
    """Serves one job on a listener of its own network. ``used_bytes`` is what went through, both ways."""

    def __init__(
        self,
        grant: NetworkGrant,
        *,
        look_up: LookUp | None = None,
        dial: Dial | None = None,
        nearby: NearbyNetworks = nearby_networks,
    ) -> None:
        """``look_up``, ``dial`` and ``nearby`` take the place of the Internet, and of this machine's, in tests."""
        self._grant = grant
        self._destinations = tuple(map(destination, grant.hosts))
        self._look_up = look_up or _look_up
        self._dial = dial or _dial
        self._nearby = nearby
        self._serving: set[asyncio.Task[None]] = set()
        self.used_bytes = 0
        self.refused = 0
        """Connections that were not made because of where they would have led."""

    @property
    def is_exhausted(self) -> bool:
        """True once the job sent and received all that it may."""
        return self.used_bytes >= self._grant.max_bytes

    @asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve while the block runs; then every connection ends. The listener is closed."""
        server = await asyncio.start_server(self._connected, sock=listener, limit=_HEAD_BYTES)
        try:
            yield
        finally:
            server.close()
            while self._serving:
                # A second time for those that were just saying good-bye.
                for task in tuple(self._serving):
                    task.cancel()
                await asyncio.wait(tuple(self._serving), timeout=_PAUSE_S)

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses to which a connection to ``host`` may go.

        Raises:
            _Refused: there is none.
        """
        met = [one for one in self._destinations if one.meets(host, port)]
        if not met:
            asked = ", ".join(self._grant.hosts)
            raise _Refused(403, f"{host}:{port} is not among what the job asked for ({asked}).")
        try:
            found = await self._look_up(host, port)
        except (OSError, UnicodeError) as error:
            raise self._unreachable(host, port, f"the name has no address ({error})") from error
        rule, near = self._rule(met), self._nearby()
        judged = [(address, _fault(rule, near, address)) for address in found]
        allowed = [address for address, fault in judged if fault is None]
        if not allowed:
            self.refused += 1
            faults = "; ".join(fault for _, fault in judged if fault is not None)
            raise self._unreachable(host, port, faults or "the name has no address")
        return allowed

    def _rule(self, met: list[Destination]) -> AddressRule:
        return AddressRule(allow_loopback=self._grant.allow_loopback and any(one.is_exact for one in met))

    def _unreachable(self, host: str, port: int, detail: str) -> _Refused:
        return _Refused(403, f"{host}:{port} has no public address that jobs may connect to.", detail)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._serving) >= _MOST_HELD:
            writer.transport.abort()
            return
        # A task of ours: streams complain of their own ones when those are cancelled.
        task = asyncio.ensure_future(self._attend(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except _Refused as error:
            _log.info("a job's connection was refused", reason=error.detail)
            await _say(reader, writer, refusal(error.status, error.reason))
        except OSError as error:
            _log.debug("a job's connection broke", reason=str(error))
        finally:
            await _closed(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._serving) > MAX_CONNECTIONS:
            raise _Refused(503, f"more than {MAX_CONNECTIONS} connections at once.")
        request = await _request(reader)
        self._check_budget()
        far_reader, far_writer = await self._reach(request)
        try:
            if request.is_tunnel:
                writer.write(_TUNNEL)
            else:
                self._count(len(request.head))
                far_writer.write(request.head)
            await _both(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            await _closed(far_writer)

    async def _reach(self, request: ProxyRequest) -> Streams:
        faults = []
        for address in await self.addresses(request.host, request.port):
            try:
                return await asyncio.wait_for(self._dial(address, request.port), _DIAL_S)
            except TimeoutError:
                faults.append("it does not answer")
            except OSError as error:
                faults.append(error.strerror or str(error))
        raise _Refused(502, f"{request.host}:{request.port} cannot be connected to: {'; '.join(faults)}.")

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while piece := await source.read(_PIECE_BYTES):
            self._count(len(piece))
            target.write(piece)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()

    def _count(self, count: int) -> None:
        self.used_bytes += count
        if self.is_exhausted:
            # No words: they would be taken for the other side's.
            raise ConnectionAbortedError(f"the job used its {self._grant.max_bytes} bytes")

    def _check_budget(self) -> None:
        if self.is_exhausted:
            raise _Refused(403, f"the job used the {self._grant.max_bytes} bytes that it may send and receive.")


async def _request(reader: asyncio.StreamReader) -> ProxyRequest:
    try:
        head = await asyncio.wait_for(reader.readuntil(_END), _HEAD_S)
        return parse_request(head)
    except BadRequest as error:
        raise _Refused(400, f"{error}.") from None
    except TimeoutError:
        raise _Refused(408, "no request came.") from None
    except asyncio.LimitOverrunError:
        raise _Refused(431, f"the request's headers have more than {_HEAD_BYTES} bytes.") from None
    except asyncio.IncompleteReadError:
        raise ConnectionResetError("it ended before its request") from None


async def _both(*ways: Coroutine[Any, Any, None]) -> None:
    """Both directions to their ends; when one breaks, the other ends, too."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Send what is left, to who still reads; a connection never outlives its task, for which it counts."""
    writer.close()
    try:
        async with asyncio.timeout(_CLOSE_S):
            await writer.wait_closed()
    except (TimeoutError, OSError):
        pass
    finally:
        writer.transport.abort()


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes) -> None:
    """Answer, and let what still comes run out: a connection that is closed on unread words loses its answer, too."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            writer.write(answer)
            await writer.drain()
            writer.write_eof()
            while await reader.read(_PIECE_BYTES):
                pass


def _fault(rule: AddressRule, near: tuple[Any, ...], text: str) -> str | None:
    fault = rule.fault(text)
    if fault is not None:
        return fault
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    meant = mapped if mapped is not None else address
    if rule.allow_loopback and meant.is_loopback:
        return None
    if any(meant in network for network in near):
        return f"{meant} is this machine itself, or in a network that it is in"
    return None


_look_up, _dial = look_up, dial
