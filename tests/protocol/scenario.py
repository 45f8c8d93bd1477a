"""A model hub with people, assets and money, and shortcuts through the life of a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.model import Event, Hub, Revert
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, DatasetOrder, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.views import AppInfo, DatasetInfo
from tests.protocol.actors import Actor

CHAIN_ID = 31337
TIMEREF = 300
DEPOSIT = 10**12
GOOD = "0x" + "aa" * 32
BAD = "0x" + "bb" * 32

Orders = tuple[AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder]


@dataclass
class People:
    """Who plays."""

    admin: Actor
    app_owner: Actor
    dataset_owner: Actor
    scheduler: Actor
    requester: Actor
    stranger: Actor
    workers: tuple[Actor, ...]

    @property
    def all(self) -> tuple[Actor, ...]:
        return (
            self.admin,
            self.app_owner,
            self.dataset_owner,
            self.scheduler,
            self.requester,
            self.stranger,
            *self.workers,
        )


def make_people() -> People:
    """The same people every time."""
    return People(
        admin=Actor("admin"),
        app_owner=Actor("app owner"),
        dataset_owner=Actor("dataset owner"),
        scheduler=Actor("scheduler"),
        requester=Actor("requester"),
        stranger=Actor("stranger"),
        workers=tuple(Actor(f"worker {index}") for index in range(6)),
    )


def refusal(call: Callable[..., object], *args: object, **kwargs: object) -> str | None:
    """The revert text of a call that must revert (None: without data)."""
    with pytest.raises(Revert) as revert:
        call(*args, **kwargs)
    return revert.value.text


class Scenario:
    """Everybody has `DEPOSIT` in the escrow; app, dataset and pool exist, in category 0 (`TIMEREF` seconds)."""

    def __init__(self) -> None:
        self.people = make_people()
        self.hub = Hub.deploy(chain_id=CHAIN_ID, owner=self.people.admin.address)
        admin = self.people.admin.address
        for actor in self.people.all:
            self.hub.token.approve(admin, self.hub.address, DEPOSIT)
            self.hub.deposit_for(admin, DEPOSIT, actor.address)
        self.app = self.hub.registries.apps.create(
            AppInfo(self.people.app_owner.address, "app", "WASM", b"", ZERO32, b"")
        )
        self.dataset = self.hub.registries.datasets.create(
            DatasetInfo(self.people.dataset_owner.address, "dataset", b"", ZERO32)
        )
        self.pool = self.hub.registries.workerpools.create(self.people.scheduler.address, "pool")

    # --- orders -------------------------------------------------------------------------------------------------

    def unsigned(self, *, with_dataset: bool = False, **changes: dict[str, Any]) -> Orders:
        """Four orders that match; ``changes`` by kind (``app=dict(appprice=3)``)."""
        app = AppOrder(self.app, 100, 10)
        dataset = DatasetOrder(self.dataset, 50, 10) if with_dataset else NULL_DATASET_ORDER
        workerpool = WorkerpoolOrder(self.pool, 1_000, 10, trust=100)
        request = RequestOrder(
            self.app,
            100,
            dataset.dataset,
            50,
            ZERO_ADDRESS,
            1_000,
            self.people.requester.address,
            2,
            trust=3,
            beneficiary=self.people.stranger.address,
            params="{}",
        )
        return (
            replace(app, **changes.get("app", {})),
            replace(dataset, **changes.get("dataset", {})),
            replace(workerpool, **changes.get("workerpool", {})),
            replace(request, **changes.get("request", {})),
        )

    def sign(self, orders: Orders) -> Orders:
        """The orders, each signed by whom it should be (the null dataset order stays as it is)."""
        app, dataset, workerpool, request = orders
        domain = self.hub.domain
        if dataset.dataset != ZERO_ADDRESS:
            dataset = self.people.dataset_owner.sign_order(dataset, domain)
        return (
            self.people.app_owner.sign_order(app, domain),
            dataset,
            self.people.scheduler.sign_order(workerpool, domain),
            self.people.requester.sign_order(request, domain),
        )

    def orders(self, *, with_dataset: bool = False, **changes: dict[str, Any]) -> Orders:
        """Four signed orders that match, but for ``changes``."""
        return self.sign(self.unsigned(with_dataset=with_dataset, **changes))

    def deal(self, *, with_dataset: bool = False, **changes: dict[str, Any]) -> str:
        """A deal of `orders`; its id."""
        return self.hub.match_orders(self.people.stranger.address, *self.orders(with_dataset=with_dataset, **changes))

    # --- tasks --------------------------------------------------------------------------------------------------

    def task(self, *, with_dataset: bool = False, **changes: Any) -> str:
        """The first task of a new deal, initialized; its id."""
        deal = self.deal(with_dataset=with_dataset, **changes)
        return self.hub.initialize(self.people.stranger.address, deal, self.hub.view_deal(deal).bot_first)

    def contribute(self, worker: Actor, task: str, digest: str = GOOD) -> None:
        """An authorised contribution of ``digest``."""
        self.hub.contribute(
            worker.address,
            task,
            ids.result_hash(task, digest),
            ids.result_seal(worker.address, task, digest),
            authorisation_sign=self.people.scheduler.authorise(worker.address, task),
        )

    def reveal(self, worker: Actor, task: str, digest: str = GOOD) -> None:
        """The worker reveals ``digest``."""
        self.hub.reveal(worker.address, task, digest)

    def contributed_task(self, contributions: dict[int, str], *, with_dataset: bool = False, **changes: Any) -> str:
        """A task after these contributions (digest by index of the worker)."""
        task = self.task(with_dataset=with_dataset, **changes)
        for index, digest in contributions.items():
            self.contribute(self.people.workers[index], task, digest)
        return task

    def completed_task(self, contributions: dict[int, str], *, with_dataset: bool = False, **changes: Any) -> str:
        """A task that was finalized after all who contributed `GOOD` revealed."""
        task = self.contributed_task(contributions, with_dataset=with_dataset, **changes)
        for index, digest in contributions.items():
            if digest == GOOD:
                self.reveal(self.people.workers[index], task)
        self.hub.finalize(self.people.scheduler.address, task, b"results")
        return task

    # --- looking ------------------------------------------------------------------------------------------------

    def names_since(self, mark: int) -> list[str]:
        """Names of the events since there were ``mark`` of them."""
        return [event.name for event in self.hub.events[mark:]]

    def last(self, name: str) -> Event:
        """The latest event of that name."""
        return next(event for event in reversed(self.hub.events) if event.name == name)

    def stake(self, actor: Actor) -> int:
        """Free money of the actor."""
        return self.hub.balance_of(actor.address)

    def locked(self, actor: Actor) -> int:
        """Locked money of the actor."""
        return self.hub.frozen_of(actor.address)

    def assert_money_adds_up(self) -> None:
        """Σ balances = supply ≤ tokens held, and Σ frozen = balance of the hub."""
        hub = self.hub
        assert sum(hub.balance_of(account) for account in hub.accounts) == hub.total_supply
        assert hub.total_supply <= hub.token.balance_of(hub.address)
        assert sum(hub.frozen_of(account) for account in hub.accounts) == hub.balance_of(hub.address)
