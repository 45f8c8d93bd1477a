"""The demo's checks hold on an honest account of a task with a liar, and each fails when its claim is untrue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from tests.client.deals import BAD, GOOD, Deals

from fairgrid.client.client import Client
from fairgrid.client.job import Job
from fairgrid.client.journal import DealRecord
from fairgrid.client.results import CollectedResult
from fairgrid.client.settlement import Payment, Settlement, collect_settlement
from fairgrid.localnet import demo
from fairgrid.localnet.demo import LIAR, Check, Holding
from fairgrid.protocol.views import Account


@dataclass
class Shown:
    """A settled task of five honest workers and the liar, as the demo sees it."""

    deals: Deals
    record: DealRecord
    accounts: dict[str, str]
    before: Mapping[str, Holding]
    after: Mapping[str, Holding]
    settlement: Settlement

    @property
    def client(self) -> Client:
        return cast(Client, SimpleNamespace(chain=self.deals.chain))

    def balances(self) -> Check:
        return demo._balances_add_up(self.before, self.after, self.settlement)

    async def covered(self) -> Check:
        return await demo._hub_is_covered(self.deals.chain, self.after)

    def paid(self) -> Check:
        return demo._honest_were_paid(self.accounts, self.settlement)

    async def lost(self) -> Check:
        liar = self.accounts[LIAR]
        return await demo._liar_lost(self.client, self.record, liar, self.before, self.after, self.settlement)

    def enriched(self, role: str, amount: int) -> Mapping[str, Holding]:
        """`after` with ``amount`` nRLC more in one account."""
        address = self.accounts[role]
        held = self.after[address]
        return {
            **self.after,
            address: replace(held, account=Account(held.account.stake + amount, held.account.locked)),
        }


async def _shown(deals: Deals, *, lies: bool) -> Shown:
    honest = [deals.worker(f"worker-{number}") for number in range(1, 6)]
    liar = deals.worker(LIAR)
    record = await deals.record(10)
    task = record.task_ids[0]
    accounts = {f"worker-{number}": signer.address for number, signer in enumerate(honest, start=1)}
    accounts |= {LIAR: liar.address, "requester": deals.requester.address, "pool-owner": deals.scheduler.address}
    await deals.initialize(record)
    locked = await demo._holdings(deals.chain, accounts)
    if lies:
        await deals.contribute(liar, task, BAD)
    for worker in honest if lies else honest[:4]:
        await deals.contribute(worker, task, GOOD)
    for worker in honest if lies else honest[:4]:
        await deals.reveal(worker, task, GOOD)
    await deals.finalize(task)
    after = await demo._holdings(deals.chain, accounts)
    settlement = await collect_settlement(deals.chain, task, from_block=record.block_number)
    return Shown(deals, record, accounts, locked, after, settlement)


@pytest.fixture
async def shown(tmp_path: Path) -> Shown:
    return await _shown(Deals(tmp_path), lies=True)


async def test_every_check_holds_when_the_liar_lost_and_the_honest_were_paid(shown: Shown) -> None:
    for check in (shown.balances(), await shown.covered(), shown.paid(), await shown.lost()):
        assert check.holds, check.to_json()
    assert "sum to 0" in shown.balances().detail
    assert "5 of 5" in shown.paid().detail


@pytest.mark.parametrize("amount", [1, -1])
async def test_one_nrlc_too_many_or_too_few_in_an_account_is_noticed(shown: Shown, amount: int) -> None:
    shown.after = shown.enriched("worker-3", amount)
    check = shown.balances()
    assert not check.holds
    assert shown.accounts["worker-3"] in check.detail
    assert not (await shown.covered()).holds


def test_payment_that_nobody_received_is_noticed(shown: Shown) -> None:
    stranger = Payment("0x" + "99" * 20, 5, 0)
    giver = Payment("0x" + "98" * 20, 0, 5)
    shown.settlement = replace(shown.settlement, payments=(*shown.settlement.payments, stranger, giver))
    assert not shown.balances().holds


def test_gains_that_exceed_the_losses_are_noticed(shown: Shown) -> None:
    first, *others = shown.settlement.payments
    shown.settlement = replace(shown.settlement, payments=(replace(first, seized=first.seized + 1), *others))
    assert not shown.balances().holds


def test_honest_worker_that_gained_nothing_is_noticed(shown: Shown) -> None:
    unpaid = shown.accounts["worker-2"]
    kept = tuple(payment for payment in shown.settlement.payments if payment.account != unpaid)
    shown.settlement = replace(shown.settlement, payments=kept)
    check = shown.paid()
    assert not check.holds
    assert "4 of 5" in check.detail


def test_task_that_nobody_contributed_to_pays_nobody(shown: Shown) -> None:
    shown.settlement = Settlement()
    assert not shown.paid().holds


def test_liar_among_those_who_agreed_is_noticed(shown: Shown) -> None:
    lines = tuple(replace(line, agreed=True) for line in shown.settlement.contributions)
    liar = Payment(shown.accounts[LIAR], 10, 0)
    others = tuple(payment for payment in shown.settlement.payments if payment.account != liar.account)
    shown.settlement = replace(shown.settlement, contributions=lines, payments=(*others, liar))
    assert not shown.paid().holds


async def test_liar_that_never_contributed_has_lost_nothing(tmp_path: Path) -> None:
    shown = await _shown(Deals(tmp_path), lies=False)
    check = await shown.lost()
    assert not check.holds
    assert "lost 0 nRLC" in check.detail
    assert shown.balances().holds, "and the rest is in order"


@pytest.mark.parametrize("amount", [1, -1])
async def test_liar_that_lost_more_or_less_than_its_stake_is_noticed(shown: Shown, amount: int) -> None:
    shown.after = shown.enriched(LIAR, amount)
    assert not (await shown.lost()).holds


async def test_report_holds_only_if_every_check_does(shown: Shown) -> None:
    good, bad = Check("a", True, ""), Check("b", False, "why")
    assert bad.to_json() == {"claim": "b", "holds": False, "detail": "why"}
    for checks, holds in (((good, good), True), ((good, bad), False)):
        report = demo.DemoReport(
            record=shown.record,
            result=cast(CollectedResult, None),
            settlement=shown.settlement,
            before=shown.before,
            after=shown.after,
            names={},
            checks=checks,
            seconds=1.0,
            start_seconds=1.0,
        )
        assert report.holds is holds


@pytest.mark.parametrize("digest", [GOOD, BAD])
async def test_local_run_has_the_deals_own_ids_and_its_digest_is_compared(
    digest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deals = Deals(tmp_path)
    record = await deals.record(1)
    asked: dict[str, Any] = {}

    async def run_locally(job: Job, **options: Any) -> SimpleNamespace:
        asked.update(options)
        return SimpleNamespace(digest=GOOD)

    monkeypatch.setattr(demo, "run_locally", run_locally)
    sandbox = AsyncMock()
    monkeypatch.setattr(demo, "find_runtime", lambda name: SimpleNamespace(sandbox=lambda: sandbox))
    client = cast(Client, SimpleNamespace(chain=deals.chain))
    job = cast(Job, SimpleNamespace(runtime=SimpleNamespace(runtime_id="any")))
    result = CollectedResult(tmp_path, "bafy", digest, (), None)
    check = await demo._equals_local_run(client, job, record, result, tmp_path / "run")
    assert check.holds is (digest == GOOD)
    sandbox.close.assert_awaited_once()
    assert (asked["deal_id"], asked["task_id"]) == (record.deal_id, record.task_ids[0])
