"""Reads several views of the hub as of one block, in as few requests as a node allows.

Every call names the height of the block, so the node may answer them in any order, from any of its machines. What was
the newest block a moment ago is mostly the newest still: it is read together with the views as of that one, and only
when it is another by now they are read once more.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from fairgrid.chain.abi import contract_abi
from fairgrid.chain.decode import read_block
from fairgrid.chain.interface import Block, Snapshot, Wanted
from fairgrid.chain.rpc import JsonRpc, RpcError
from fairgrid.chain.view_values import account_of, contribution_of, deal_of, lane_of, task_of
from fairgrid.errors import ServiceUnavailable, UsageError
from fairgrid.protocol.hexes import from_hex, to_hex

__all__ = ["SnapshotReader"]

_AT_ONCE: Final = 100
"""So many calls go into one request: some nodes refuse more."""
_NEWEST_FOR_S: Final = 2.0
"""So long a block is taken for the newest one still, until the node says otherwise."""
_NEWEST: Final = ("eth_getBlockByNumber", ("latest", False))
_VALUES: Final = {
    "viewDeal": deal_of,
    "viewTask": task_of,
    "viewContribution": contribution_of,
    "viewAccount": account_of,
    "viewLane": lane_of,
}


class SnapshotReader:
    """For the hub at one address, and one node."""

    def __init__(self, rpc: JsonRpc, hub: str) -> None:
        self._rpc = rpc
        self._hub = hub
        self._newest: Block | None = None
        self._newest_at = 0.0

    async def head(self) -> Block:
        """The newest block.

        Raises:
            ServiceUnavailable: no node answers.
        """
        return self.saw(await self._rpc.request(*_flat(_NEWEST)))

    def known_head(self, within_s: float) -> Block | None:
        """The block that was the newest so many seconds ago at most, whoever asked for it then."""
        return self._newest if within_s and time.monotonic() <= self._newest_at + within_s else None

    def outgrown(self, number: int) -> None:
        """There is a block of this height, as the node said otherwise."""
        if self._newest is not None and self._newest.number < number:
            self._newest = None

    async def read(self, wanted: Wanted, *, since: str = "") -> Snapshot:
        """See `Chain.snapshot`."""
        views = _views_of(wanted)
        guess = self._newest if time.monotonic() < self._newest_at + _NEWEST_FOR_S else None
        if guess is None or guess.hash == since or len(views) + len(wanted.blocks) >= _AT_ONCE:
            head = await self.head()
            if head.hash == since:
                return Snapshot(block=head)
        else:
            first, *answers = await self._rpc.answers([_NEWEST, *self._calls(wanted, views, guess)])
            if isinstance(first, RpcError):
                raise first
            head = self.saw(first)
            if head.hash == since:
                return Snapshot(block=head)
            if head.hash == guess.hash:
                return self._snapshot(wanted, views, head, answers)
        calls = self._calls(wanted, views, head)
        parts = [await self._rpc.answers(calls[at : at + _AT_ONCE]) for at in range(0, len(calls), _AT_ONCE)]
        return self._snapshot(wanted, views, head, [answer for part in parts for answer in part])

    def saw(self, header: Any) -> Block:
        """Remember the header of the newest block, which the node just gave.

        Raises:
            ServiceUnavailable: it gave none.
        """
        if header is None:
            raise ServiceUnavailable("chain", self._rpc.url, "it has no block")
        self._newest, self._newest_at = read_block(header), time.monotonic()
        return self._newest

    def _calls(
        self, wanted: Wanted, views: Sequence[tuple[str, Any, tuple[Any, ...]]], block: Block
    ) -> list[tuple[str, Sequence[Any]]]:
        abi, height = contract_abi("hub"), hex(block.number)
        calls: list[tuple[str, Sequence[Any]]] = [
            ("eth_call", ({"to": self._hub, "data": to_hex(abi.encode_call(function, arguments))}, height))
            for function, _, arguments in views
        ]
        return calls + [("eth_getBlockByNumber", (hex(number), False)) for number in wanted.blocks]

    def _snapshot(
        self, wanted: Wanted, views: Sequence[tuple[str, Any, tuple[Any, ...]]], block: Block, answers: Sequence[Any]
    ) -> Snapshot:
        for answer in answers:
            if isinstance(answer, RpcError):
                # A node behind another one's newest block, or one that has replaced it since: asked again later.
                why = f"it does not show the state of its block {block.number}: {answer.message}"
                raise ServiceUnavailable("chain", self._rpc.url, why) from answer
        found: dict[str, dict[Any, Any]] = {function: {} for function in _VALUES}
        abi = contract_abi("hub")
        for (function, key, _), answer in zip(views, answers, strict=False):
            try:
                values = abi.decode_answer(function, from_hex(answer))
            except UsageError as error:
                why = f"its answer to {function} cannot be read"
                raise ServiceUnavailable("chain", self._rpc.url, why) from error
            found[function][key] = _VALUES[function](values[0] if len(values) == 1 else values)
        headers = answers[len(views) :]
        return Snapshot(
            block=block,
            deals=found["viewDeal"],
            tasks=found["viewTask"],
            contributions=found["viewContribution"],
            accounts=found["viewAccount"],
            lanes=found["viewLane"],
            hashes={
                number: None if header is None else str(header["hash"])
                for number, header in zip(wanted.blocks, headers, strict=True)
            },
        )


def _views_of(wanted: Wanted) -> list[tuple[str, Any, tuple[Any, ...]]]:
    """Function, key and arguments of every view that is asked for."""
    return [
        *(("viewDeal", deal, (deal,)) for deal in wanted.deals),
        *(("viewTask", task, (task,)) for task in wanted.tasks),
        *(("viewContribution", pair, pair) for pair in wanted.contributions),
        *(("viewAccount", address, (address,)) for address in wanted.accounts),
        *(("viewLane", deal, (deal,)) for deal in wanted.lanes),
    ]


def _flat(call: tuple[str, Sequence[Any]]) -> tuple[Any, ...]:
    return (call[0], *call[1])
