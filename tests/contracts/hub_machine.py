"""The state machine of `test_stateful_hub`: random people make random calls on contracts and model at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.orders import Order
from fairgrid.protocol.typed_data import CLOSE, SIGN, order_hash
from fairgrid.protocol.views import ContributionStatus, TaskStatus
from tests.contracts.hub_strategies import (
    BROKER,
    CALLBACK_DATA,
    DIGESTS,
    EDGES,
    ENCLAVE,
    amounts,
    at_an_edge,
    people,
    terms,
    votes,
    ways_to_sign,
)
from tests.contracts.play import BAD, GOOD, Play
from tests.contracts.twins import Orders, Outcome
from tests.protocol.actors import Actor, compact, malleable

__all__ = ["HubMachine"]


class HubMachine(RuleBasedStateMachine):
    """Random people on one hub; bundles hold orders, deals and tasks that exist."""

    reached: ClassVar[Counter[str]] = Counter()
    """Over all examples: which calls happened, and which were refused."""

    orders = Bundle("orders")
    deals = Bundle("deals")
    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.play = self.new_play()
        self.everybody = self.play.people.all
        self.used_orders: set[Order] = set()

    # --- helpers ------------------------------------------------------------------------------------------------

    def new_play(self) -> Play:
        """Where it is played."""
        return Play()

    def note(self, name: str, outcome: Outcome) -> Outcome:
        """Count an outcome."""
        label = f"{name} {'happened' if outcome.happened else 'refused'}"
        self.reached[label] += 1
        event(label)
        return outcome

    def who(self, number: int) -> str:
        return self.everybody[number].address

    def signed(self, order: Any, owner: Actor, way: str) -> Any:
        """The order, signed in one of `ways_to_sign`."""
        domain, stranger = self.play.model.domain, self.play.people.stranger
        good = owner.sign_order(order, domain)
        if way == "presigned":
            self.note("presign", self.play.manage_order(owner.address, order, SIGN, "0x"))
        elif way == "presigned for":
            sign = owner.sign_operation(order, SIGN, domain)
            self.note("presign", self.play.manage_order(stranger.address, order, SIGN, sign))
        elif way == "presigned by a stranger":
            sign = stranger.sign_operation(order, SIGN, domain)
            self.note("presign", self.play.manage_order(stranger.address, order, SIGN, sign))
        signs = {
            "signed": good.sign,
            "compact": compact(good.sign),
            "malleable": malleable(good.sign),
            "forged": stranger.sign_order(order, domain).sign,
        }
        return order.signed(signs.get(way, "0x"))

    # --- start --------------------------------------------------------------------------------------------------

    @initialize(veterans=st.integers(0, 7))
    def some_have_a_history(self, veterans: int) -> None:
        """In an eighth of the examples two workers have scores that weigh more."""
        if veterans == 5:
            self.play.make_veterans((0, 1), 13)

    @initialize(target=tasks, with_dataset=st.booleans(), liar=st.integers(0, 3), ends_well=st.booleans())
    def one_task_is_over(self, with_dataset: bool, liar: int, ends_well: bool) -> str:
        """Every example begins with a task that was finalized or claimed."""
        digests = [BAD if index == liar else GOOD for index in range(6)]
        task = self.play.new_task(with_dataset=with_dataset)
        self.contribute_until_consensus(task, digests)
        if ends_well:
            self.reveal_and_finalize(task, late=False)
        else:
            self.play.now = self.play.model.view_task(task).final_deadline
            self.note("claim", self.play.claim(self.play.people.stranger.address, task))
        return task

    # --- money --------------------------------------------------------------------------------------------------

    @rule(caller=people, other=people, amount=amounts, how=st.integers(0, 12))
    def move_money(self, caller: int, other: int, amount: int, how: int) -> None:
        """In, out, and about."""
        play, me, you = self.play, self.who(caller), self.who(other)
        moves: tuple[Callable[[], Outcome], ...] = (
            lambda: play.deposit(me, amount),
            lambda: play.deposit_for(me, amount, you),
            lambda: play.approve_and_deposit(me, amount),
            lambda: play.receive_approval(me, you, amount, play.deployed.rlc),
            lambda: play.rlc_approve(me, play.deployed.hub, amount),
            lambda: play.withdraw(me, amount),
            lambda: play.withdraw_to(me, amount, you),
            lambda: play.transfer(me, you, amount),
            lambda: play.approve(me, you, amount),
            lambda: play.transfer_from(me, you, self.who(0), amount),
            lambda: play.deposit_for_array(me, (amount, 1), (you, me)),
            lambda: play.deposit_with_permit(self.everybody[caller], amount),
            lambda: play.deposit_with_permit(self.everybody[caller], amount, spoilt=True),
        )
        self.note("move money", moves[how]())
        play.check_allowance(me, you)

    @rule(
        caller=people,
        pool=st.integers(0, 1),
        stake=st.sampled_from([0, 30, 77, 250]),
        reward=st.integers(0, 102),
        broker=st.sampled_from([None, None, ZERO_ADDRESS, BROKER.address]),
    )
    def administer(self, caller: int, pool: int, stake: int, reward: int, broker: str | None) -> None:
        """The pool's owner changes its policy, or the hub's owner names a broker; others try."""
        play = self.play
        if broker is None:
            who = play.people.scheduler.address if caller < 9 else self.who(caller)
            self.note("change policy", play.change_policy(who, play.assets.pools[pool], stake, reward))
        else:
            who = play.people.admin.address if caller < 9 else self.who(caller)
            self.note("set broker", play.set_tee_broker(who, broker))

    @rule(caller=people, worker=st.integers(0, 5))
    def import_a_score(self, caller: int, worker: int) -> None:
        """Scores of the hub before this one: strangers become veterans."""
        self.note("import score", self.play.import_score(self.who(caller), self.play.people.workers[worker].address))

    # --- orders and deals ---------------------------------------------------------------------------------------

    @rule(
        target=orders,
        changes=terms(),
        with_dataset=st.booleans(),
        pool=st.integers(0, 1),
        ways=st.tuples(ways_to_sign, ways_to_sign, ways_to_sign, ways_to_sign),
        broken=st.none() | st.none() | st.integers(0, EDGES - 1),
    )
    def write_orders(
        self, changes: Any, with_dataset: bool, pool: int, ways: tuple[str, ...], broken: int | None
    ) -> Orders:
        """Four new orders; about a third of them with a term that is wrong or at an edge."""
        unsigned = self.play.unsigned(changes, with_dataset=with_dataset, pool=pool)
        if broken is not None:
            unsigned = at_an_edge(self.play, unsigned, broken)
        signed: list[Any] = []
        for order, owner, way in zip(unsigned, self.play.owners, ways, strict=True):
            anonymous = order.KIND == "dataset" and getattr(order, "dataset", "") == ZERO_ADDRESS
            signed.append(order if anonymous else self.signed(order, owner, way))
        self.used_orders.update(signed)
        return tuple(signed)

    @rule(target=deals, orders=orders, caller=people, sponsored=st.booleans())
    def match(self, orders: Orders, caller: int, sponsored: bool) -> Any:
        outcome = self.note("match", self.play.match(orders, self.everybody[caller], sponsored=sponsored))
        return outcome.value if outcome.happened else multiple()

    @rule(target=deals, orders=orders, amount=amounts, caller=people)
    def pay_and_match(self, orders: Orders, amount: int, caller: int) -> Any:
        """Deposit and match at once; mostly as the requester."""
        who = self.play.people.requester if caller < 9 else self.everybody[caller]
        before = len(self.play.deals)
        self.note("pay and match", self.play.pay_and_match(orders, amount, who))
        return self.play.deals[-1] if len(self.play.deals) > before else multiple()

    @rule(target=deals, first=orders, second=orders, kind=st.integers(0, 3))
    def match_a_mixture(self, first: Orders, second: Orders, kind: int) -> Any:
        """One order of another set: terms differ, volumes are consumed across deals."""
        mixed: list[Any] = list(first)
        mixed[kind] = second[kind]
        outcome = self.note("match", self.play.match(tuple(mixed)))
        return outcome.value if outcome.happened else multiple()

    @rule(orders=orders, kind=st.integers(0, 3), caller=people, with_sign=st.booleans())
    def close(self, orders: Orders, kind: int, caller: int, with_sign: bool) -> None:
        order, owner = orders[kind], self.play.owners[kind]
        sign = owner.sign_operation(order, CLOSE, self.play.model.domain) if with_sign else "0x"
        who = owner.address if caller < 4 else self.who(caller)
        self.note("close", self.play.manage_order(who, order, CLOSE, sign))

    @rule(orders=orders, kind=st.integers(0, 3), other=people)
    def ask_for_signatures(self, orders: Orders, kind: int, other: int) -> None:
        order = orders[kind]
        for signer in (self.play.owners[kind].address, self.who(other)):
            self.play.check_signature(signer, order_hash(order, self.play.model.domain), order.sign)

    @rule(orders=orders, deal=deals)
    def ask_for_a_dataset(self, orders: Orders, deal: str) -> None:
        """Could the deal use it in bulk? And what do the flat views say of the deal?"""
        self.note("ask for a dataset", self.play.check_dataset(orders[1], deal))
        self.play.check_legacy_deal(deal)

    # --- tasks --------------------------------------------------------------------------------------------------

    @rule(target=tasks, deal=deals, offset=st.integers(-1, 4))
    def open(self, deal: str, offset: int) -> Any:
        index = max(self.play.model.view_deal(deal).bot_first + offset, 0)
        outcome = self.note("initialize", self.play.open(deal, index))
        return outcome.value if outcome.happened else multiple()

    @rule(
        task=tasks,
        worker=st.integers(0, 5),
        digest=st.sampled_from(DIGESTS),
        authority=st.sampled_from(["scheduler"] * 6 + ["stranger", "broker"]),
        enclave=st.sampled_from([False, False, False, True]),
        copied=st.sampled_from([False] * 9 + [True]),
    )
    def contribute(self, task: str, worker: int, digest: str, authority: str, enclave: bool, copied: bool) -> None:
        people = self.play.people
        outcome = self.play.contribution(
            people.workers[worker],
            task,
            digest,
            authority={"scheduler": people.scheduler, "stranger": people.stranger, "broker": BROKER}[authority],
            enclave=ENCLAVE if enclave else None,
            seal_of=people.workers[(worker + 1) % 6] if copied else None,
        )
        self.note("contribute", outcome)

    @rule(task=tasks, worker=st.integers(0, 5), digest=st.sampled_from(DIGESTS))
    def reveal(self, task: str, worker: int, digest: str) -> None:
        self.note("reveal", self.play.reveal(self.play.people.workers[worker].address, task, digest))

    @rule(task=tasks, caller=people)
    def reopen(self, task: str, caller: int) -> None:
        who = self.play.people.scheduler.address if caller < 9 else self.who(caller)
        self.note("reopen", self.play.reopen(who, task))

    @rule(
        task=tasks,
        caller=people,
        results=st.binary(max_size=80),
        callback=st.sampled_from([b"", b"", CALLBACK_DATA, b"other"]),
    )
    def finalize(self, task: str, caller: int, results: bytes, callback: bytes) -> None:
        who = self.play.people.scheduler.address if caller < 9 else self.who(caller)
        self.note("finalize", self.play.finalize(who, task, results, callback))

    @rule(task=tasks, caller=people)
    def claim(self, task: str, caller: int) -> None:
        self.note("claim", self.play.claim(self.who(caller), task))

    # --- time ---------------------------------------------------------------------------------------------------

    @rule(task=tasks, deadline=st.integers(0, 2), nearby=st.integers(-1, 1))
    def wait_for_a_deadline(self, task: str, deadline: int, nearby: int) -> None:
        """To one second before, at, or after a deadline of a task, if it is ahead."""
        state = self.play.model.view_task(task)
        when = (state.reveal_deadline, state.contribution_deadline, state.final_deadline)[deadline] + nearby
        self.play.now = max(self.play.now, when)

    # --- short cuts through the life of a task --------------------------------------------------------------------

    @rule(
        target=tasks,
        changes=terms(),
        with_dataset=st.booleans(),
        pool=st.integers(0, 1),
        sponsored=st.booleans(),
        digests=votes,
        ending=st.sampled_from(["finalize"] * 6 + ["finalize late", "keep silent", "abandon", "leave", "leave"]),
    )
    def live_a_task(
        self,
        changes: Any,
        with_dataset: bool,
        pool: int,
        sponsored: bool,
        digests: list[str],
        ending: str,
    ) -> Any:
        """A deal, its first task, contributions until there is a consensus, and one of several endings."""
        play = self.play
        orders = play.orders(changes, with_dataset=with_dataset, pool=pool)
        self.used_orders.update(orders)
        deal = self.note("match", play.match(orders, sponsored=sponsored))
        if not deal.happened:
            return multiple()
        task = str(self.note("initialize", play.open(deal.value, 0)).value)
        self.contribute_until_consensus(task, digests)
        if ending.startswith("finalize") and self.is_revealing(task):
            self.reveal_and_finalize(task, late=ending == "finalize late")
        elif ending == "keep silent":
            play.now = max(play.now, play.model.view_task(task).reveal_deadline)
            self.note("reopen", play.reopen(play.people.scheduler.address, task))
            self.contribute_until_consensus(task, digests)
        elif ending == "abandon":
            play.now = play.model.view_task(task).final_deadline
            self.note("claim", play.claim(play.people.stranger.address, task))
        return task

    @rule(target=tasks, deal=deals, digests=votes, finalize=st.booleans())
    def live_the_next_task(self, deal: str, digests: list[str], finalize: bool) -> Any:
        """The next task of a bag."""
        for index in self.play.unopened(deal)[:1]:
            task = str(self.note("initialize", self.play.open(deal, index)).value)
            self.contribute_until_consensus(task, digests)
            if finalize and self.is_revealing(task):
                self.reveal_and_finalize(task, late=False)
            return task
        self.note("initialize", self.play.open(deal, self.play.model.view_deal(deal).bot_first))
        return multiple()

    def contribute_until_consensus(self, task: str, digests: list[str]) -> None:
        """Workers contribute these digests in turn; with an enclave where the deal asks for one."""
        tee = int(self.play.model.view_deal(self.play.model.view_task(task).deal_id).tag, 16) & 1
        with_broker = tee and self.play.model.tee_broker != ZERO_ADDRESS
        for worker, digest in zip(self.play.people.workers, digests, strict=False):
            if self.play.model.view_task(task).status == TaskStatus.ACTIVE:
                outcome = self.play.contribution(
                    worker,
                    task,
                    digest,
                    enclave=ENCLAVE if tee else None,
                    authority=BROKER if with_broker else None,
                )
                self.note("contribute", outcome)

    def reveal_and_finalize(self, task: str, *, late: bool) -> None:
        """All winners reveal and the scheduler finalizes; or all but the first, and then it gets late."""
        play = self.play
        state = play.model.view_task(task)
        digest = next((digest for digest in DIGESTS if ids.result_hash(task, digest) == state.consensus_value), GOOD)
        callback = CALLBACK_DATA if digest == DIGESTS[-1] else b""
        for index, worker in enumerate(state.contributors):
            if index > 0 or not late:
                self.note("reveal", play.reveal(worker, task, digest))
        self.note("finalize", play.finish(task, b"results", callback))
        if late:
            play.now = max(play.now, state.reveal_deadline)
            self.note("finalize", play.finish(task, b"late results", callback))

    def is_revealing(self, task: str) -> bool:
        """True while winners may reveal."""
        return self.play.model.view_task(task).status == TaskStatus.REVEALING

    # --- what always holds --------------------------------------------------------------------------------------

    @invariant()
    def accounts_agree_and_money_adds_up(self) -> None:
        self.play.check_accounts()
        self.play.check_money_adds_up()

    def teardown(self) -> None:
        """Deadlines pass, everything is claimed, everybody leaves; no order was used beyond its volume."""
        play = self.play
        for task in play.tasks:
            state = play.model.view_task(task)
            if state.status == TaskStatus.COMPLETED:
                proved = [
                    worker
                    for worker in state.contributors
                    if play.model.view_contribution(task, worker).status == ContributionStatus.PROVED
                ]
                self.reached["completed with a loser" if len(proved) < len(state.contributors) else "completed"] += 1
        for order in self.used_orders:
            hash_ = order_hash(order, play.model.domain)
            play.check_order(hash_)
            assert play.model.view_consumed(hash_) <= order.volume
        play.settle_everything()
        play.withdraw_everything()
        play.check_callbacks_did_nothing()
