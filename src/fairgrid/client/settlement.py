"""What a task cost and whom it paid: read from the hub's events alone, so that nobody's word is needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fairgrid.chain.interface import Chain, ChainEvent
from fairgrid.protocol.ids import result_hash
from fairgrid.protocol.views import ContributionStatus

__all__ = ["ContributionLine", "GasLine", "Payment", "Settlement", "collect_settlement", "settle_events"]

_ENDS = {"TaskFinalize", "TaskClaimed"}


@dataclass(frozen=True, slots=True)
class ContributionLine:
    """One worker's part in a task. ``digest`` is None while the worker has not opened its seal."""

    worker: str
    result_hash: str
    digest: str | None
    agreed: bool
    status: ContributionStatus
    tx_hash: str

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "worker": self.worker,
            "resultHash": self.result_hash,
            "digest": self.digest,
            "agreed": self.agreed,
            "status": self.status.name,
            "txHash": self.tx_hash,
        }


@dataclass(frozen=True, slots=True)
class Payment:
    """Money that one account gained and lost by a task (nRLC): rewards, and what was seized of its locked money."""

    account: str
    rewarded: int
    seized: int

    @property
    def net(self) -> int:
        """Gain of the account, negative for a loss."""
        return self.rewarded - self.seized

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"account": self.account, "rewarded": self.rewarded, "seized": self.seized, "net": self.net}


@dataclass(frozen=True, slots=True)
class GasLine:
    """Gas of one transaction of the task's life."""

    step: str
    tx_hash: str
    gas_used: int

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"step": self.step, "txHash": self.tx_hash, "gasUsed": self.gas_used}


@dataclass(frozen=True, slots=True)
class Settlement:
    """A task's whole account."""

    contributions: tuple[ContributionLine, ...] = ()
    payments: tuple[Payment, ...] = ()
    gas: tuple[GasLine, ...] = field(default=())

    @property
    def gas_used(self) -> int:
        """Gas of the whole task."""
        return sum(line.gas_used for line in self.gas)

    def digests_opened(self, task_id: str, openings: dict[str, str]) -> Settlement:
        """The same with the digests that workers opened, each believed only if it gives the hash on chain."""
        lines = tuple(
            ContributionLine(
                worker=line.worker,
                result_hash=line.result_hash,
                digest=opened if opened and result_hash(task_id, opened) == line.result_hash else line.digest,
                agreed=line.agreed,
                status=line.status,
                tx_hash=line.tx_hash,
            )
            for line, opened in ((line, openings.get(line.worker)) for line in self.contributions)
        )
        return Settlement(lines, self.payments, self.gas)


def settle_events(events: Iterable[ChainEvent], task_id: str) -> tuple[list[Payment], list[ChainEvent]]:
    """Payments of a task, and the events of its life, from the hub's events in order."""
    rewarded: dict[str, int] = {}
    seized: dict[str, int] = {}
    life: list[ChainEvent] = []
    for event in events:
        if event.removed:
            continue
        if event.name in ("Reward", "Seize") and event.arguments["ref"] == task_id:
            book = rewarded if event.name == "Reward" else seized
            owner = event.arguments["owner"]
            book[owner] = book.get(owner, 0) + event.arguments["amount"]
        elif event.arguments.get("taskid") == task_id:
            life.append(event)
    accounts = list(dict.fromkeys([*seized, *rewarded]))
    payments = [Payment(account, rewarded.get(account, 0), seized.get(account, 0)) for account in accounts]
    return payments, life


async def collect_settlement(chain: Chain, task_id: str, *, from_block: int, match_tx: str | None = None) -> Settlement:
    """Read the account of a task that is COMPLETED or FAILED; ``from_block`` is the block of its deal.

    Waits for the task's end if it is still running.
    """
    events: list[ChainEvent] = []
    async for event in chain.follow(from_block=from_block):
        events.append(event)
        if event.name in _ENDS and event.arguments.get("taskid") == task_id and not event.removed:
            break
    payments, life = settle_events(events, task_id)
    task = await chain.view_task(task_id)
    contributions = []
    for worker in task.contributors:
        view = await chain.view_contribution(task_id, worker)
        agreed = view.result_hash == task.consensus_value
        contributions.append(
            ContributionLine(
                worker=worker,
                result_hash=view.result_hash,
                digest=task.result_digest if agreed and view.status is ContributionStatus.PROVED else None,
                agreed=agreed,
                status=view.status,
                tx_hash=next(
                    (e.tx_hash for e in life if e.name == "TaskContribute" and e.arguments["worker"] == worker), ""
                ),
            )
        )
    return Settlement(tuple(contributions), tuple(payments), tuple(await _gas(chain, life, match_tx)))


async def _gas(chain: Chain, life: list[ChainEvent], match_tx: str | None) -> list[GasLine]:
    steps = {
        "TaskInitialize": "initialize",
        "TaskContribute": "contribute",
        "TaskReveal": "reveal",
        "TaskFinalize": "finalize",
        "TaskClaimed": "claim",
    }
    transactions = {match_tx: "matchOrders"} if match_tx else {}
    for event in life:
        if event.name in steps:
            transactions.setdefault(event.tx_hash, steps[event.name])
    lines = []
    for tx_hash, step in transactions.items():
        receipt = await chain.receipt(tx_hash)
        if receipt is not None:
            lines.append(GasLine(step, tx_hash, receipt.gas_used))
    return lines
