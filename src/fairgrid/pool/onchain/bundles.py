"""Which call of the hub carries out which of the pool's decisions; several in one where the hub has an array form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from fairgrid.chain import calls
from fairgrid.chain.interface import Call
from fairgrid.pool.core.instructions import (
    ChainInstruction,
    Claim,
    Finalize,
    FinalizeRun,
    Initialize,
    OpenRun,
    PayAuditor,
    RefundRest,
    Reopen,
    SplitRun,
)
from fairgrid.protocol.hexes import from_hex
from fairgrid.protocol.results import callback_results_text, results_text

__all__ = ["Bundle", "bundled", "call_of"]


@dataclass(frozen=True, slots=True)
class Bundle:
    """Instructions that one transaction carries out, all or none."""

    instructions: tuple[ChainInstruction, ...]
    call: Call

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(instruction.key for instruction in self.instructions)

    def singles(self, hub: str, callback_of: Callable[[str], str]) -> list[Bundle]:
        """The same, one transaction each."""
        return [Bundle((item,), call_of(item, hub, callback_of)) for item in self.instructions]


def bundled(
    instructions: Iterable[ChainInstruction],
    hub: str,
    callback_of: Callable[[str], str],
    *,
    most: int,
    alone: frozenset[str] = frozenset(),
) -> list[Bundle]:
    """Group instructions that the hub takes together, at most ``most`` in one; those with keys in ``alone`` go alone.

    The order of kinds is that of their first instruction; within a kind, the given order.
    """
    kinds: dict[type[ChainInstruction], list[ChainInstruction]] = {}
    bundles: list[Bundle] = []
    for item in instructions:
        if isinstance(item, Initialize | Claim) and item.key not in alone and most > 1:
            kinds.setdefault(type(item), []).append(item)
        else:
            bundles.append(Bundle((item,), call_of(item, hub, callback_of)))
    for items in kinds.values():
        for start in range(0, len(items), most):
            part = items[start : start + most]
            call = call_of(part[0], hub, callback_of) if len(part) == 1 else _array(part, hub)
            bundles.append(Bundle(tuple(part), call))
    return bundles


def call_of(instruction: ChainInstruction, hub: str, callback_of: Callable[[str], str]) -> Call:
    """The call that carries out one instruction; ``callback_of`` gives a task's callback contract."""
    match instruction:
        case Initialize():
            return calls.initialize(hub, instruction.deal_id, instruction.index)
        case Finalize():
            callback_data = from_hex(instruction.results_callback)
            results = results_text(instruction.cid)
            if callback_data:
                results = callback_results_text(callback_of(instruction.task_id))
            return calls.finalize(hub, instruction.task_id, results, callback_data)
        case Claim():
            return calls.claim(hub, instruction.task_id)
        case Reopen():
            return calls.reopen(hub, instruction.task_id)
        case OpenRun():
            return calls.open_run(hub, instruction.deal_id, instruction.count)
        case SplitRun():
            return calls.split_run(hub, instruction.task_id, instruction.left)
        case FinalizeRun():
            return calls.finalize_run(hub, instruction.task_id, instruction.root, results_text(instruction.cid))
        case RefundRest():
            return calls.refund_rest(hub, instruction.task_id)
        case PayAuditor():
            return calls.transfer_deposit(hub, instruction.worker, instruction.amount_nrlc)
        case _:
            assert_never(instruction)


def _array(instructions: Sequence[ChainInstruction], hub: str) -> Call:
    begins = [(item.deal_id, item.index) for item in instructions if isinstance(item, Initialize)]
    if begins:
        return calls.initialize_array(hub, begins)
    return calls.claim_array(hub, [item.task_id for item in instructions])
