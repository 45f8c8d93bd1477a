"""Short words for plays on `PublishedTwins`: funded people, orders that match but for a change, contributions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS, from_hex, keccak
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.trust import worker_weight
from fairgrid.protocol.views import TaskStatus
from tests.contracts.published_twins import PublishedTwins
from tests.contracts.twins import Orders, Outcome
from tests.protocol.actors import Actor
from tests.protocol.scenario import BAD, GOOD

__all__ = ["BAD", "ESCROWED", "GOOD", "PRICE", "Play"]

OUTSIDE = 10**12
ESCROWED = 10**11
PRICE = 10_001

Changes = Mapping[str, Mapping[str, Any]]


@cache
def _callback_code() -> bytes:
    # the compiler takes half a second to import: only who needs it waits
    from vyper import compile_code

    source = (Path(__file__).parent / "mocks" / "callback.vy").read_text()
    return from_hex(compile_code(source, output_formats=["bytecode"])["bytecode"])


class Play(PublishedTwins):
    """Everybody has `ESCROWED` inside, RLC outside, and lets the hub take it."""

    def __init__(self) -> None:
        super().__init__()
        self.deals: list[str] = []
        self.tasks: list[str] = []
        self._salt = 0
        self._callbacks: dict[int, str] = {}
        admin = self.people.admin.address
        for actor in self.people.all:
            if actor is not self.people.admin:
                assert self.rlc_transfer(admin, actor.address, OUTSIDE + ESCROWED).happened
            assert self.rlc_approve(actor.address, self.deployed.hub, OUTSIDE + ESCROWED).happened
            assert self.deposit(actor.address, ESCROWED).happened

    def callback(self, mode: int) -> str:
        """A receiver of results: it keeps them (mode 0), fails (1), burns its gas (2), or calls the hub back (3)."""
        if mode not in self._callbacks:
            code = _callback_code() + mode.to_bytes(32, "big")
            self._callbacks[mode] = self.chain.deploy(self.people.admin.address, code)
        return self._callbacks[mode]

    # --- orders -------------------------------------------------------------------------------------------------

    def unsigned(self, changes: Changes | None = None, *, with_dataset: bool = False, pool: int = 0) -> Orders:
        """Four new orders that match, but for ``changes`` by kind; a number as callback is a mode of `callback`."""
        self._salt += 1
        salt = f"0x{self._salt:064x}"
        change = changes or {}
        app = AppOrder(self.assets.apps[0], 103, 1_000, salt=salt)
        dataset = DatasetOrder(self.assets.datasets[0], 57, 1_000, salt=salt) if with_dataset else NULL_DATASET_ORDER
        workerpool = WorkerpoolOrder(self.assets.pools[pool], PRICE, 1_000, trust=1_000, salt=salt)
        request = RequestOrder(
            app.app,
            103,
            dataset.dataset,
            57,
            ZERO_ADDRESS,
            PRICE,
            self.people.requester.address,
            1,
            trust=3,
            beneficiary=self.people.stranger.address,
            params="{}",
            salt=salt,
        )
        requested = dict(change.get("request", {}))
        if isinstance(requested.get("callback"), int):
            requested["callback"] = self.callback(requested["callback"])
        return (
            replace(app, **change.get("app", {})),
            replace(dataset, **change.get("dataset", {})),
            replace(workerpool, **change.get("workerpool", {})),
            replace(request, **requested),
        )

    @property
    def owners(self) -> tuple[Actor, Actor, Actor, Actor]:
        """Who signs app, dataset, workerpool and request order."""
        people = self.people
        return people.app_owner, people.dataset_owner, people.scheduler, people.requester

    def sign(self, orders: Orders) -> Orders:
        """The orders with good signatures (none for a null dataset order)."""
        app, dataset, workerpool, request = orders
        domain = self.model.domain
        if dataset.dataset != ZERO_ADDRESS:
            dataset = self.people.dataset_owner.sign_order(dataset, domain)
        return (
            self.people.app_owner.sign_order(app, domain),
            dataset,
            self.people.scheduler.sign_order(workerpool, domain),
            self.people.requester.sign_order(request, domain),
        )

    def orders(self, changes: Changes | None = None, *, with_dataset: bool = False, pool: int = 0) -> Orders:
        """Four new signed orders that match, but for ``changes`` by kind."""
        return self.sign(self.unsigned(changes, with_dataset=with_dataset, pool=pool))

    def match(self, orders: Orders, caller: Actor | None = None, *, sponsored: bool = False) -> Outcome:
        """Match, and remember the deal."""
        outcome = self.match_orders((caller or self.people.stranger).address, orders, sponsored=sponsored)
        if outcome.happened:
            self.deals.append(outcome.value)
        return outcome

    def pay_and_match(self, orders: Orders, amount: int, caller: Actor | None = None) -> Outcome:
        """Deposit and match in one transaction of RLC, and remember the deal."""
        before = set(self.model.deal_ids)
        outcome = self.approve_and_deposit((caller or self.people.requester).address, amount, orders)
        for deal in self.model.deal_ids:
            if deal not in before:
                self.check_deal(deal)
                self.deals.append(deal)
        return outcome

    # --- tasks --------------------------------------------------------------------------------------------------

    def open(self, deal: str, index: int) -> Outcome:
        """Initialize, as somebody who may, and remember the task."""
        in_lane = self.model.view_lane(deal).in_batch_lane
        opener = self.people.scheduler if in_lane else self.people.stranger
        outcome = self.initialize(opener.address, deal, index)
        if outcome.happened:
            self.tasks.append(outcome.value)
        return outcome

    def unopened(self, deal: str) -> list[int]:
        """The indexes of a deal that may still be opened, in the order in which they may."""
        record, lane = self.model.view_deal(deal), self.model.view_lane(deal)
        end = record.bot_first + record.bot_size
        if lane.in_batch_lane:
            return [] if lane.refunded else list(range(lane.cursor, end))
        states = {index: self.model.view_task(ids.task_id(deal, index)) for index in range(record.bot_first, end)}
        return [index for index, state in states.items() if state.status == TaskStatus.UNSET]

    def new_task(self, changes: Changes | None = None, *, with_dataset: bool = False, pool: int = 0) -> str:
        """The first task of a new deal."""
        deal = self.match(self.orders(changes, with_dataset=with_dataset, pool=pool))
        assert deal.happened, deal.revert
        task = self.open(deal.value, self.model.view_deal(deal.value).bot_first)
        return str(task.value)

    def contribution(
        self,
        worker: Actor,
        task: str,
        digest: str = GOOD,
        *,
        authority: Actor | None = None,
        enclave: Actor | None = None,
        seal_of: Actor | None = None,
    ) -> Outcome:
        """Contribute ``digest``, authorised by the scheduler unless somebody else is named."""
        challenge = enclave.address if enclave else ZERO_ADDRESS
        hash_ = ids.result_hash(task, digest)
        seal = ids.result_seal((seal_of or worker).address, task, digest)
        return self.contribute(
            worker.address,
            task,
            hash_,
            seal,
            challenge,
            enclave.sign_message(ids.enclave_message(hash_, seal)) if enclave else "0x",
            (authority or self.people.scheduler).authorise(worker.address, task, challenge),
        )

    def contribute_all(self, task: str, digests: Mapping[int, str]) -> None:
        """Each of these workers contributes its digest, and may."""
        for index, digest in digests.items():
            assert self.contribution(self.people.workers[index], task, digest).happened

    def reveal_all(self, task: str, indexes: tuple[int, ...], digest: str = GOOD) -> None:
        """Each of these workers reveals, and may."""
        for index in indexes:
            assert self.reveal(self.people.workers[index].address, task, digest).happened

    def finish(self, task: str, results: bytes = b"results", callback: bytes = b"") -> Outcome:
        """The scheduler finalizes."""
        return self.finalize(self.people.scheduler.address, task, results, callback)

    def completed(self, digests: Mapping[int, str], changes: Changes | None = None, **options: Any) -> str:
        """A new task, finalized after all who contributed `GOOD` revealed."""
        task = self.new_task(changes, **options)
        self.contribute_all(task, digests)
        self.reveal_all(task, tuple(index for index, digest in digests.items() if digest == GOOD))
        outcome = self.finish(task)
        assert outcome.happened, outcome.revert
        return task

    def make_veterans(self, workers: tuple[int, ...], tasks: int) -> None:
        """These workers agree on so many tasks of one deal, and their scores grow by as much."""
        left = tasks
        while left:
            scores = [self.model.view_score(self.people.workers[index].address) for index in workers]
            # weights change at multiples of three: until then one trust needs the last worker, and no more than it
            count = min(left, *(3 - score % 3 for score in scores))
            trust = 1 + math.prod(worker_weight(score) for score in scores[:-1])
            deal = self.match(self.orders({"request": {"trust": trust, "volume": count}}))
            assert deal.happened, deal.revert
            for index in range(count):
                task = str(self.open(deal.value, index).value)
                self.contribute_all(task, dict.fromkeys(workers, GOOD))
                self.reveal_all(task, workers)
                assert self.finish(task).happened
            left -= count

    # --- the end ------------------------------------------------------------------------------------------------

    def settle_everything(self) -> None:
        """Let every deadline pass, open and claim what is left: nobody's money stays locked but the kitty's."""
        ends = [self.model.view_deal(deal).start_time + 10 * 36_000 for deal in self.deals]
        self.now = max([self.now, *ends])
        for deal in self.deals:
            self.open_the_rest(deal)
        for task in self.tasks:
            if self.model.view_task(task).status in (TaskStatus.ACTIVE, TaskStatus.REVEALING):
                assert self.claim(self.people.stranger.address, task).happened
            self.check_task(task)
        for deal in self.deals:
            self.check_deal(deal)
        self.check_accounts()
        self.check_money_adds_up()
        model = self.model
        assert {account for account in model.accounts if model.frozen_of(account)} <= {KITTY_ADDRESS}

    def open_the_rest(self, deal: str) -> None:
        """Open every task that was never opened."""
        for index in self.unopened(deal):
            assert self.open(deal, index).happened

    def check_callbacks_did_nothing(self) -> None:
        """All that a callback tried from inside was refused. (That failing changed nothing, the model shows.)"""
        for mode in self._callbacks:
            assert not int.from_bytes(self.ask_callback(mode, "meddled()"), "big")

    def ask_callback(self, mode: int, getter: str) -> bytes:
        """What a getter of a `callback` answers."""
        return self.chain.raw_view(self.callback(mode), keccak(getter.encode())[:4])

    def withdraw_everything(self) -> None:
        """Everybody takes all there is; what stays is the kitty's."""
        for actor in self.people.all:
            assert self.withdraw(actor.address, self.model.balance_of(actor.address)).happened
        model = self.model
        assert model.total_supply == model.frozen_of(KITTY_ADDRESS)
        self.check_accounts()
