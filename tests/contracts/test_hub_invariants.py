"""Money: whatever happens in whatever order, nothing appears, nothing disappears, and nothing stays locked for ever."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.rewards import KITTY_ADDRESS
from tests.contracts.registries import Reverted
from tests.contracts.world import Person, World, bytes32

START = 1_800_000_000
STAKE = 5_000 * 10**9
prices = st.sampled_from([0, 1, 99, 10_001, 50 * 10**9])


class HubMachine(RuleBasedStateMachine):
    """Requester, sponsor, scheduler, owners and five workers, some of whom lie, are silent, or run out of money."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.undo = ExitStack()
        self.undo.enter_context(world.anchor())
        world.now = START
        self.workers = [world.worker(number) for number in range(5)]
        self.sponsor = Person("sponsor")
        self.people = [
            world.owner,
            world.requester,
            world.scheduler,
            world.app_owner,
            world.dataset_owner,
            self.sponsor,
            *self.workers,
        ]
        self.deals: list[tuple[str, int, int]] = []  # deal, first index, size
        self.tasks: list[str] = []
        self.changed = False
        self.digests: dict[tuple[str, str], str] = {}
        for person in self.people[1:]:
            world.fund(person, STAKE)

    def teardown(self) -> None:
        try:
            self._end_everything()
        finally:
            self.undo.close()

    # --- what people do; a refusal is no error, but must change nothing ------------------------------------------

    def _try(self, function: str, *arguments: Any, sender: Person) -> Any:
        before = self._books()
        self.changed = True
        try:
            return self.world.hub.call(function, *arguments, sender=sender.address)
        except Reverted:
            self.changed = False
            assert self._books() == before
            return None

    def _books(self) -> list[tuple[int, int]]:
        accounts = [*(person.address for person in self.people), KITTY_ADDRESS, self.world.hub.address]
        return [self.world.stored_account(account) for account in accounts]

    @initialize(stake=st.integers(0, 200), reward=st.integers(0, 100))
    def set_policy(self, stake: int, reward: int) -> None:
        self.world.set_policy(self.world.pool, stake, reward)

    @rule(
        app=prices,
        pool=prices,
        dataset=prices,
        volume=st.integers(1, 3),
        trust=st.integers(0, 9),
        with_dataset=st.booleans(),
        sponsored=st.booleans(),
    )
    def match(
        self, app: int, pool: int, dataset: int, volume: int, trust: int, with_dataset: bool, sponsored: bool
    ) -> None:
        orders = self.world.orders(
            with_dataset=with_dataset,
            app={"appprice": app},
            dataset={"datasetprice": dataset},
            workerpool={"workerpoolprice": pool},
            request={
                "appmaxprice": app,
                "datasetmaxprice": dataset,
                "workerpoolmaxprice": pool,
                "volume": volume,
                "trust": trust,
            },
        )
        function = "sponsorMatchOrders" if sponsored else "matchOrders"
        deal = self._try(function, *orders.arguments, sender=self.sponsor)
        if deal is not None:
            self.deals.append((deal, 0, volume))

    @precondition(lambda self: self.deals)
    @rule(data=st.data())
    def open_task(self, data: st.DataObject) -> None:
        deal, first, size = data.draw(st.sampled_from(self.deals))
        task = self._try("initialize", deal, data.draw(st.integers(first, first + size)), sender=self.sponsor)
        if task is not None:
            self.tasks.append(task)

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), number=st.integers(0, 4), lies=st.booleans())
    def contribute(self, data: st.DataObject, number: int, lies: bool) -> None:
        task = data.draw(st.sampled_from(self.tasks[-3:]))
        worker = self.workers[number]
        digest = bytes32(2 if lies else 1)
        arguments = self.world.contribution(task, worker, digest)
        before = self.world.view_contribution(task, worker).status
        self._try("contribute", *arguments, sender=worker)
        if before == 0:
            self.digests[task, worker.address] = digest

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), number=st.integers(0, 4))
    def reveal(self, data: st.DataObject, number: int) -> None:
        task = data.draw(st.sampled_from(self.tasks[-3:]))
        worker = self.workers[number]
        self._try("reveal", task, self.digests.get((task, worker.address), bytes32(1)), sender=worker)

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), function=st.sampled_from(["reopen", "claim"]))
    def reopen_or_claim(self, data: st.DataObject, function: str) -> None:
        self._try(function, data.draw(st.sampled_from(self.tasks)), sender=self.world.scheduler)

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def finalize(self, data: st.DataObject) -> None:
        self._try("finalize", data.draw(st.sampled_from(self.tasks)), b"r", b"", sender=self.world.scheduler)

    @rule(seconds=st.sampled_from([1, 599, 600, 2_100, 3_000]))
    def wait(self, seconds: int) -> None:
        self.world.now += seconds

    @rule(data=st.data(), amount=st.integers(0, 2 * STAKE), function=st.sampled_from(["withdraw", "transfer"]))
    def move_money(self, data: st.DataObject, amount: int, function: str) -> None:
        people = st.sampled_from(self.people[1:])
        arguments: tuple[Any, ...] = (amount,)
        if function == "transfer":
            arguments = (data.draw(people).address, amount)
        self._try(function, *arguments, sender=data.draw(people))

    # --- what always holds -----------------------------------------------------------------------------------------

    @invariant()
    def the_books_balance(self) -> None:
        hub = self.world.hub
        books = self._books()
        assert books[-1] == (sum(locked for _, locked in books[:-1]), 0), "the hub holds what is locked"
        assert sum(free for free, _ in books) == hub.call("totalSupply")
        assert hub.call("totalSupply") == self.world.rlc.call("balanceOf", hub.address)
        assert self.world.stored_account(ZERO_ADDRESS) == (0, 0)

    def views_agree_with_storage(self) -> None:
        accounts = [*(person.address for person in self.people), KITTY_ADDRESS, self.world.hub.address]
        assert [self.world.hub.call("viewAccount", account) for account in accounts] == self._books()

    @precondition(lambda self: self.changed)
    @invariant()
    def counters_agree_with_contributions(self) -> None:
        for task in self.tasks[-1:]:
            view = self.world.view_task(task)
            statuses = [self.world.view("viewContribution", task, who).status for who in view.contributors]
            assert 0 not in statuses
            assert view.revealCounter == statuses.count(2) <= view.winnerCounter <= len(statuses)

    def _end_everything(self) -> None:
        """Time passes, everybody claims: only the kitty still holds something."""
        world = self.world
        world.now += 10**6
        for deal, first, size in self.deals:
            for index in range(first, first + size):
                self._try("initialize", deal, index, sender=self.sponsor)
        for deal, first, size in self.deals:
            for index in range(first, first + size):
                self._try("claim", task_id(deal, index), sender=self.sponsor)
        self.the_books_balance()
        self.views_agree_with_storage()
        assert [world.frozen(person) for person in self.people] == [0] * len(self.people)


@pytest.mark.timeout(240)
def test_no_sequence_of_calls_makes_or_loses_money(deployed_world: World) -> None:
    class Here(HubMachine):
        def __init__(self) -> None:
            super().__init__(deployed_world)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
