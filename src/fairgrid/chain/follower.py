"""Follow the hub's events: at least once, in order, and undone when the chain reorganises."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from fairgrid.chain.decode import decode_logs
from fairgrid.chain.interface import ChainEvent
from fairgrid.chain.rpc import JsonRpc, RpcError
from fairgrid.errors import ServiceError, ServiceUnavailable

__all__ = ["ChainRewritten", "Follower"]

REMEMBERED_BLOCKS = 256
"""A reorganisation this deep is undone; a deeper one is an error."""
_MAX_RANGE = 2_000
_MAX_PAUSE_S = 8.0

_log = structlog.get_logger(__name__)


class ChainRewritten(ServiceError):
    """The chain changed deeper than events are remembered: start again from a block before ``block_number``."""

    def __init__(self, url: str, block_number: int) -> None:
        self.block_number = block_number
        super().__init__(
            f"The chain at {url} was rewritten before block {block_number}, more than {REMEMBERED_BLOCKS} blocks deep. "
            f"What was read of it is no longer true: start again from an earlier block."
        )


@dataclass(slots=True)
class _Seen:
    """A block that was read, and what was given of it."""

    hash: str
    events: list[ChainEvent] = field(default_factory=list)


class Follower:
    """One reader of one contract's logs. `events` never ends; close it to stop."""

    def __init__(
        self,
        rpc: JsonRpc,
        address: str,
        *,
        from_block: int,
        confirmations: int = 0,
        poll_s: float = 0.5,
        newest: Callable[[Any], object] | None = None,
    ) -> None:
        """``confirmations``: a block's events are given when that many blocks are above it. ``newest`` is told the
        header of the newest block each time that it was asked for."""
        self._told = newest
        self._rpc = rpc
        self._address = address
        self._first = self._next = max(from_block, 0)
        self._confirmations = confirmations
        self._poll_s = poll_s
        self._seen: OrderedDict[int, _Seen] = OrderedDict()
        self._range = _MAX_RANGE
        self._has_all = False
        """Whether the last look gave all there was: the next one can wait."""

    async def events(self, reached: Callable[[int], None] | None = None) -> AsyncIterator[ChainEvent]:
        """Events in order of the chain; an event of an orphaned block comes again with ``removed``, last one first.

        ``reached`` is told up to which block everything was given. A node that does not answer is asked again for ever,
        ever more slowly (8 s at most).

        Raises:
            ChainRewritten: a reorganisation deeper than 256 blocks.
        """
        pause = self._poll_s
        while True:
            try:
                found = await self._step()
            except (ServiceUnavailable, RpcError) as error:
                _log.warning("chain does not answer, will ask again", url=self._rpc.url, error=str(error), in_s=pause)
                await asyncio.sleep(pause)
                pause = min(max(pause, 0.1) * 2, _MAX_PAUSE_S)
                continue
            pause = self._poll_s
            for event in found or ():
                yield event
            if reached is not None:
                reached(self._next - 1)
            if found is None or self._has_all:
                await asyncio.sleep(self._poll_s)

    async def _step(self) -> list[ChainEvent] | None:
        """What the next look at the chain gives; None when it gave all there is for now."""
        head = await self._header("latest")
        assert head is not None
        if self._told is not None:
            self._told(head)
        newest = int(head["number"], 16)
        self._has_all = False
        undone = await self._undo_orphans(newest, head)
        if undone is not None:
            return undone
        last = newest - self._confirmations
        if last < self._next:
            return None
        found = await self._read(self._next, min(last, self._next + self._range - 1), newest)
        self._has_all = self._next > last
        return found

    async def _undo_orphans(self, newest: int, head: Any) -> list[ChainEvent] | None:
        """Forget the remembered blocks that are no longer part of the chain; None if there are none."""
        if not self._seen:
            return None
        latest = next(reversed(self._seen))
        told = {newest: head["hash"], newest - 1: head.get("parentHash")}.get(latest)  # by the newest block itself
        if told == self._seen[latest].hash or (told is None and await self._in_chain(latest, newest)):
            return None
        numbers = list(self._seen)
        low, high = 0, len(numbers) - 1  # the first orphan is in numbers[low..high]
        while low < high:
            middle = (low + high) // 2
            if await self._in_chain(numbers[middle], newest):
                low = middle + 1
            else:
                high = middle
        if low == 0 and numbers[0] > self._first:
            raise ChainRewritten(self._rpc.url, numbers[0])
        undone: list[ChainEvent] = []
        for number in reversed(numbers[low:]):
            block = self._seen.pop(number)
            undone += [replace(event, removed=True) for event in reversed(block.events)]
        self._next = numbers[low]
        _log.info("chain reorganised", depth=len(numbers) - low, from_block=self._next, undone=len(undone))
        return undone

    async def _in_chain(self, number: int, newest: int) -> bool:
        if number > newest:
            return False
        header = await self._header(hex(number))
        return header is not None and header["hash"] == self._seen[number].hash

    async def _read(self, first: int, last: int, newest: int) -> list[ChainEvent] | None:
        """Events of the blocks ``first`` to ``last``. None, and nothing remembered, if the chain changed meanwhile."""
        remember_from = max(first, newest - REMEMBERED_BLOCKS + 1)
        query = {"address": self._address, "fromBlock": hex(first), "toBlock": hex(last)}
        wanted = [("eth_getBlockByNumber", [hex(number), False]) for number in range(remember_from, last + 1)]
        logs, *headers = await self._rpc.answers([("eth_getLogs", [query]), *wanted])
        if isinstance(logs, RpcError):
            if self._range == 1 or last == first:
                raise logs
            self._range = max(1, (last - first + 1) // 2)  # the node gives fewer at once
            return []
        for header in headers:
            if isinstance(header, RpcError):
                raise header
        blocks = OrderedDict[int, _Seen]()
        follows = remember_from == first and first - 1 in self._seen
        previous = self._seen[first - 1].hash if follows else None
        for header in headers:
            if header is None or (previous is not None and header["parentHash"] != previous):
                return None
            previous = header["hash"]
            blocks[int(header["number"], 16)] = _Seen(header["hash"])
        events = list(decode_logs(logs))
        for event in events:
            block = blocks.get(event.block_number)
            if block is not None:
                if block.hash != event.block_hash:
                    return None
                block.events.append(event)
        self._seen.update(blocks)
        while len(self._seen) > REMEMBERED_BLOCKS:
            self._seen.popitem(last=False)
        self._next = last + 1
        return events

    async def _header(self, block: str) -> Any:
        return await self._rpc.request("eth_getBlockByNumber", block, False)
