"""The demonstration: a real script on real data, five honest workers, one that lies, and every claim checked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairgrid.chain.interface import Chain
from fairgrid.client.client import Client, TrustWish
from fairgrid.client.follow import Ending
from fairgrid.client.job import Job
from fairgrid.client.journal import DealRecord
from fairgrid.client.prepared_job import run_locally
from fairgrid.client.progress import OnProgress, Phase, Progress
from fairgrid.client.results import CollectedResult
from fairgrid.client.settlement import Settlement
from fairgrid.errors import ServiceError, VerificationError
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.views import Account
from fairgrid.runtime.wasm.interpreters import find_runtime

__all__ = ["Check", "DemoReport", "Holding", "run_demo"]

LIAR = "liar"
CONFIDENCE = "0.9"


@dataclass(frozen=True, slots=True)
class Holding:
    """What an account has at one moment: escrow (nRLC) and score."""

    account: Account
    score: int

    @property
    def total(self) -> int:
        """Free and locked money together."""
        return self.account.stake + self.account.locked


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that the demo must show; the demo fails when one does not hold."""

    claim: str
    holds: bool
    detail: str

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"claim": self.claim, "holds": self.holds, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class DemoReport:
    """All that the demo shows."""

    record: DealRecord
    result: CollectedResult
    settlement: Settlement
    before: Mapping[str, Holding]
    after: Mapping[str, Holding]
    names: Mapping[str, str]
    """Address to the name of its owner."""
    checks: tuple[Check, ...]
    seconds: float
    start_seconds: float

    @property
    def holds(self) -> bool:
        """True if every check holds."""
        return all(check.holds for check in self.checks)


async def run_demo(
    client: Client,
    job: Job,
    *,
    accounts: Mapping[str, str],
    out: Path,
    workdir: Path,
    on_progress: OnProgress,
    start_seconds: float,
) -> DemoReport:
    """Run ``job`` on a network whose worker named ``liar`` lies, and check what must be true afterwards.

    ``accounts`` maps every role of the network (workers by their names) to its address.

    Raises:
        VerificationError: the result is not the agreed one.
        ServiceError: the task did not complete.
    """
    started = time.monotonic()
    chain = client.chain
    before = await _holdings(chain, accounts)
    record = await client.submit(job, TrustWish(CONFIDENCE), on_progress=on_progress)
    ending = await client.follow(record, on_progress=on_progress)
    if ending is not Ending.COMPLETED:
        raise ServiceError(f"The demo's task ended as {ending.value}; `fairgrid story {record.task_ids[0]}` tells why.")
    result = await client.collect(record, out, on_progress=on_progress)
    settlement = await client.settlement(record)
    seconds = time.monotonic() - started
    after = await _holdings(chain, accounts)
    on_progress(Progress(Phase.FETCHING, "running the job here too, to compare"))
    checks = (
        await _equals_local_run(client, job, record, result, workdir),
        _balances_add_up(before, after, settlement),
        await _hub_is_covered(chain, after),
        _honest_were_paid(accounts, settlement),
        await _liar_lost(client, record, accounts[LIAR], before, after, settlement),
    )
    names = {address: role for role, address in accounts.items()} | {KITTY_ADDRESS: "kitty"}
    return DemoReport(record, result, settlement, before, after, names, checks, seconds, start_seconds)


async def _holdings(chain: Chain, accounts: Mapping[str, str]) -> dict[str, Holding]:
    addresses = dict.fromkeys([*accounts.values(), KITTY_ADDRESS])
    return {
        address: Holding(await chain.view_account(address), await chain.view_score(address)) for address in addresses
    }


async def _equals_local_run(
    client: Client, job: Job, record: DealRecord, result: CollectedResult, workdir: Path
) -> Check:
    deal = await client.chain.view_deal(record.deal_id)
    if deal is None:
        raise VerificationError(f"The hub no longer knows deal {record.deal_id}.")
    timeref = (await client.chain.view_category(deal.category)).timeref
    sandbox = find_runtime(job.runtime.runtime_id).sandbox()
    try:
        local = await run_locally(
            job,
            timeref=timeref,
            index=deal.bot_first,
            workdir=workdir,
            sandbox=sandbox,
            deal_id=record.deal_id,
            task_id=record.task_ids[0],
        )
    finally:
        await sandbox.close()
    same = local.digest == result.digest
    detail = "bit for bit" if same else f"digest {local.digest} here, {result.digest} from the network"
    return Check(
        "The result equals a local run of the same job, seed and runtime", local.digest == result.digest, detail
    )


def _balances_add_up(before: Mapping[str, Holding], after: Mapping[str, Holding], settlement: Settlement) -> Check:
    net = {payment.account: payment.net for payment in settlement.payments}
    wrong = {
        address: after[address].total - before[address].total - net.get(address, 0)
        for address in before
        if after[address].total - before[address].total != net.get(address, 0)
    }
    unknown = set(net) - set(before)
    moved = sum(payment.rewarded for payment in settlement.payments)
    balanced = sum(net.values()) == 0 and not wrong and not unknown
    detail = f"{moved} nRLC moved, gains and losses sum to {sum(net.values())}" + (f"; off by {wrong}" if wrong else "")
    return Check("The balances add up to the last nRLC", balanced, detail)


async def _hub_is_covered(chain: Chain, after: Mapping[str, Holding]) -> Check:
    owed = sum(holding.total for address, holding in after.items() if address != chain.hub)
    held = await chain.rlc_balance(chain.hub)
    return Check("The hub holds exactly the RLC that it owes", owed == held, f"owes {owed} nRLC, holds {held} nRLC")


def _honest_were_paid(accounts: Mapping[str, str], settlement: Settlement) -> Check:
    agreed = {line.worker for line in settlement.contributions if line.agreed}
    paid = {payment.account for payment in settlement.payments if payment.net > 0}
    holds = bool(agreed) and agreed <= paid and accounts[LIAR] not in agreed
    return Check(
        "Every honest worker was paid", holds, f"{len(agreed & paid)} of {len(agreed)} agreeing workers gained"
    )


async def _liar_lost(
    client: Client,
    record: DealRecord,
    liar: str,
    before: Mapping[str, Holding],
    after: Mapping[str, Holding],
    settlement: Settlement,
) -> Check:
    deal = await client.chain.view_deal(record.deal_id)
    stake = deal.worker_stake if deal else 0
    lost = before[liar].total - after[liar].total
    contributed = any(line.worker == liar and not line.agreed for line in settlement.contributions)
    detail = f"lost {lost} nRLC of a stake of {stake}; score {before[liar].score} → {after[liar].score}"
    return Check("The liar contributed, and lost its stake", contributed and stake > 0 and lost == stake, detail)
