"""The state machine of `test_stateful_batch`: as `hub_machine`, with runs, and both lanes at once on the same deals."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, initialize, invariant, multiple, rule

from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.views import TaskStatus
from tests.contracts.batch_play import LANE, RESULTS, BatchPlay, answer
from tests.contracts.hub_machine import HubMachine
from tests.contracts.hub_strategies import BROKER, DIGESTS, ENCLAVE, callbacks, people
from tests.contracts.play import PRICE
from tests.protocol.actors import Actor

__all__ = ["BatchMachine"]

TEE = 1
counts = st.integers(1, 4) | st.integers(0, 9)
positions = st.integers(0, 3)
versions = st.sampled_from([0, 0, 0, 1])
workers = st.integers(0, 5)
run_votes = st.lists(versions, min_size=1, max_size=6) | st.sampled_from([[0] * 6, [1, 0, 0, 0, 0], [0, 1, 0, 0, 0]])
endings = st.sampled_from(
    ["finalize"] * 3
    + ["settle"] * 3
    + ["split", "disagree and split", "keep silent and split", "keep silent", "finalize late", "leave"]
)
authorities = st.sampled_from(["scheduler"] * 8 + ["stranger", "broker"])


@st.composite
def bag_terms(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Terms of a deal in the batch lane."""
    price = draw(st.sampled_from([0, 7, PRICE, PRICE, 3 * 10**9]))
    tee = draw(st.sampled_from([0, 0, 0, TEE]))
    lane = int(LANE["tag"], 16)
    volume = draw(st.integers(1, 9))
    return {
        "app": {"tag": f"0x{tee:064x}", "appprice": draw(st.sampled_from([0, 103]))},
        "workerpool": {"workerpoolprice": price, "tag": f"0x{lane | tee:064x}", "volume": draw(st.integers(1, 9))},
        "request": {
            "volume": volume,
            "trust": draw(st.sampled_from([0, 1, 1, 2, 3, 3, 4])),
            "workerpoolmaxprice": max(price, PRICE),
            "tag": LANE["tag"],
            "callback": draw(callbacks),
        },
    }


class BatchMachine(HubMachine):
    """Random people on one hub, with bags in the batch lane; runs are among the tasks: every call meets them."""

    tasks = HubMachine.tasks
    deals = HubMachine.deals
    bags = Bundle("bags")
    runs = Bundle("runs")

    play: BatchPlay

    def new_play(self) -> BatchPlay:
        return BatchPlay()

    def __init__(self) -> None:
        super().__init__()
        self.balances = self.free_money()

    # --- helpers ------------------------------------------------------------------------------------------------

    def free_money(self) -> dict[str, int]:
        """What everybody but the hub has free."""
        model = self.play.model
        return {account: model.balance_of(account) for account in model.accounts if account != model.address}

    def authority(self, name: str) -> Actor:
        people = self.play.people
        return {"scheduler": people.scheduler, "stranger": people.stranger, "broker": BROKER}[name]

    def enclave_of(self, deal: str) -> tuple[Actor | None, Actor | None]:
        """Who signs for a deal's results, and who authorises that: nobody and the scheduler without an enclave."""
        if not int(self.play.model.view_deal(deal).tag, 16) & TEE:
            return None, None
        return ENCLAVE, BROKER if self.play.model.tee_broker != ZERO_ADDRESS else None

    def boss(self, caller: int) -> Actor:
        """The scheduler, most of the time."""
        return self.play.people.scheduler if caller < 10 else self.everybody[caller]

    # --- start --------------------------------------------------------------------------------------------------

    @initialize(targets=(deals, bags), with_dataset=st.booleans(), votes=run_votes, ending=endings, rest=people)
    def there_is_a_bag(self, with_dataset: bool, votes: list[int], ending: str, rest: int) -> str:
        """Every example begins with a bag of nine tasks, of which a run of four has come to an ending."""
        trust = 1 if ending == "settle" else 3
        deal = self.play.new_deal({"request": {"trust": trust}}, volume=9, with_dataset=with_dataset)
        self.live_a_run(deal, 4, votes, ending)
        for run in self.play.runs:
            self.materialise_what_is_there(run, len(votes))
        if rest < 3:
            self.refund_rest(deal, rest, wait=True)
        return deal

    # --- deals and runs -----------------------------------------------------------------------------------------

    @rule(targets=(deals, bags), changes=bag_terms(), with_dataset=st.booleans(), sponsored=st.booleans())
    def match_a_bag(self, changes: Any, with_dataset: bool, sponsored: bool) -> Any:
        orders = self.play.orders(changes, with_dataset=with_dataset)
        self.used_orders.update(orders)
        outcome = self.note("match", self.play.match(orders, sponsored=sponsored))
        return outcome.value if outcome.happened else multiple()

    @rule(targets=(tasks, runs), deal=bags, count=counts, caller=people)
    def open_run(self, deal: str, count: int, caller: int) -> Any:
        outcome = self.note("openRun", self.play.begin(deal, count, self.boss(caller)))
        return outcome.value if outcome.happened else multiple()

    @rule(deal=deals, count=counts)
    def open_run_of_any_deal(self, deal: str, count: int) -> None:
        self.note("openRun", self.play.begin(deal, count))

    @rule(target=tasks, deal=bags, caller=people)
    def open_the_next_task(self, deal: str, caller: int) -> Any:
        index = self.play.model.view_lane(deal).cursor
        outcome = self.note("initialize", self.play.initialize(self.boss(caller).address, deal, index))
        if not outcome.happened:
            return multiple()
        self.play.tasks.append(outcome.value)
        return outcome.value

    @rule(targets=(tasks, runs), number=st.integers(0, 9))
    def remember_a_run(self, number: int) -> Any:
        """Runs that another rule brought about."""
        known = self.play.runs
        return known[number % len(known)] if known else multiple()

    @rule(run=runs, worker=workers, version=versions, authority=authorities)
    def contribute_to_a_run(self, run: str, worker: int, version: int, authority: str) -> None:
        enclave, broker = self.enclave_of(self.play.model.view_run(run).deal_id)
        who = broker if broker and authority == "scheduler" else self.authority(authority)
        digest = self.play.run_digest(run, version)
        outcome = self.play.contribution(self.play.people.workers[worker], run, digest, authority=who, enclave=enclave)
        self.note("contribute to a run", outcome)

    @rule(run=runs, worker=workers, version=versions)
    def reveal_a_run(self, run: str, worker: int, version: int) -> None:
        digest = self.play.run_digest(run, version)
        self.note("reveal a run", self.play.reveal(self.play.people.workers[worker].address, run, digest))

    @rule(targets=(tasks, runs), run=runs | tasks, left=counts, caller=people)
    def split(self, run: str, left: int, caller: int) -> Any:
        outcome = self.note("splitRun", self.play.split(run, left, self.boss(caller)))
        return multiple(*outcome.value) if outcome.happened else multiple()

    @rule(run=runs | tasks, version=versions, caller=people, results=st.sampled_from([RESULTS] * 5 + [b""]))
    def finalize_run(self, run: str, version: int, caller: int, results: bytes) -> None:
        self.note("finalizeRun", self.play.finish_run(run, version, self.boss(caller), results))

    @rule(
        targets=(tasks, runs),
        deal=bags | deals,
        count=counts,
        worker=workers,
        authority=authorities,
        results=st.sampled_from([RESULTS, RESULTS, b"", b"x" * 65]),
    )
    def settle_run(self, deal: str, count: int, worker: int, authority: str, results: bytes) -> Any:
        enclave, broker = self.enclave_of(deal)
        outcome = self.play.settle(
            deal,
            count,
            self.play.people.workers[worker],
            authority=broker if broker and authority == "scheduler" else self.authority(authority),
            enclave=enclave,
            results=results,
        )
        self.note("settleRun", outcome)
        return outcome.value if outcome.happened else multiple()

    @rule(
        target=tasks, run=runs | tasks, position=positions, version=versions, with_callback=st.booleans(), spoil=people
    )
    def materialise(self, run: str, position: int, version: int, with_callback: bool, spoil: int) -> Any:
        """Prove a task of a run; sometimes with something that is wrong."""
        index = self.play.model.view_run(run).first + position
        wrong = ({"proof": (ZERO32,)}, {"root": ZERO32}, {"results_hash": ZERO32}, {"digest": ZERO32})
        outcome = self.play.prove(
            run,
            position,
            answer(index, version) if with_callback else b"",
            version,
            **(wrong[spoil] if spoil < len(wrong) else {}),
        )
        self.note("materialise", outcome)
        return outcome.value if outcome.happened else multiple()

    @rule(target=tasks, run=runs, position=positions)
    def materialise_what_is_there(self, run: str, position: int) -> Any:
        """Prove a task of a run as it was finalized; once."""
        view = self.play.model.view_run(run)
        inside = position % view.count
        called = self.play.model.view_deal(view.deal_id).callback != ZERO_ADDRESS
        outcome = self.play.prove(run, inside, answer(view.first + inside) if called else b"")
        self.note("materialise", outcome)
        return outcome.value if outcome.happened else multiple()

    @rule(deal=bags | deals, caller=people, wait=st.booleans())
    def refund_rest(self, deal: str, caller: int, wait: bool) -> None:
        play = self.play
        record = play.model.view_deal(deal)
        if wait:
            play.now = max(play.now, record.start_time + 10 * play.model.view_category(record.category).timeref)
        self.note("refundRest", play.refund_rest(self.who(caller), deal))

    # --- tasks in one transaction, and arrays -------------------------------------------------------------------

    @rule(task=tasks, worker=workers, digest=st.sampled_from(DIGESTS), authority=authorities, callback=st.booleans())
    def contribute_alone(self, task: str, worker: int, digest: str, authority: str, callback: bool) -> None:
        enclave, broker = self.enclave_of(self.play.model.view_task(task).deal_id)
        outcome = self.play.contribute_alone(
            self.play.people.workers[worker],
            task,
            digest,
            b"callback" if callback else b"",
            authority=broker if broker and authority == "scheduler" else self.authority(authority),
            enclave=enclave,
        )
        self.note("contributeAndFinalize", outcome)

    @rule(some=st.lists(tasks, max_size=3), caller=people)
    def claim_several(self, some: list[str], caller: int) -> None:
        self.note("claimArray", self.play.claim_array(self.who(caller), some))
        for task in some:
            self.play.check_task(task)

    @rule(
        target=tasks,
        deal=deals,
        offsets=st.lists(st.integers(0, 2), max_size=3),
        more=st.integers(-1, 1),
        claim=st.booleans(),
        caller=people,
    )
    def open_several(self, deal: str, offsets: list[int], more: int, claim: bool, caller: int) -> Any:
        """From the next index on; sometimes with arrays of different lengths."""
        play = self.play
        start = (play.unopened(deal) or [play.model.view_deal(deal).bot_first])[0]
        indexes = [start + offset for offset in sorted(offsets)]
        deals = [deal] * max(len(indexes) + (more if more < 0 or len(offsets) == 2 else 0), 0)
        call = play.initialize_and_claim_array if claim else play.initialize_array
        known = set(play.model.task_ids)
        outcome = self.note("arrays", call(self.boss(caller).address, deals, indexes))
        new = [task for task in play.model.task_ids if task not in known]
        assert outcome.happened or not new
        play.tasks += new
        for task in new:
            play.check_task(task)
        play.check_lane(deal)
        return multiple(*new)

    # --- short cuts ---------------------------------------------------------------------------------------------

    @rule(target=tasks, deal=bags, worker=workers)
    def live_a_lone_task(self, deal: str, worker: int) -> Any:
        """The next task of a bag, in the classic lane, by one worker in one transaction if the trust allows it."""
        outcome = self.open_the_next_task(deal, 0)
        if not isinstance(outcome, str):
            return outcome
        enclave, broker = self.enclave_of(deal)
        who = self.play.people.workers[worker]
        callback = b"callback" if self.play.model.view_deal(deal).callback != ZERO_ADDRESS else b""
        digest = DIGESTS[-1] if callback else DIGESTS[0]
        alone = self.play.contribute_alone(who, outcome, digest, callback, authority=broker, enclave=enclave)
        self.note("contributeAndFinalize", alone)
        return outcome

    @rule(
        targets=(tasks, runs),
        deal=bags,
        count=counts,
        votes=run_votes,
        ending=endings,
    )
    def live_a_run(self, deal: str, count: int, votes: list[int], ending: str) -> Any:
        """A run from its opening to one of several endings."""
        play = self.play
        size = min(count, len(play.unopened(deal))) or 1
        if ending == "settle":
            enclave, broker = self.enclave_of(deal)
            outcome = play.settle(deal, size, play.people.workers[len(votes) - 1], authority=broker, enclave=enclave)
            self.note("settleRun", outcome)
            return outcome.value if outcome.happened else multiple()
        opened = self.note("openRun", play.begin(deal, size))
        if not opened.happened:
            return multiple()
        run = str(opened.value)
        if ending == "split":
            return self.split_in_the_middle(run)
        if ending == "disagree and split":
            votes = [0, 1]
        self.contribute_until_consensus(run, [play.run_digest(run, version) for version in votes])
        if ending == "disagree and split":
            return self.split_in_the_middle(run)
        if ending.startswith("finalize") and self.is_revealing(run):
            self.reveal_and_finalize_run(run, late=ending == "finalize late")
        elif ending.startswith("keep silent"):
            play.now = max(play.now, play.model.view_task(run).reveal_deadline)
            self.note("reopen", play.reopen(play.people.scheduler.address, run))
            if ending == "keep silent and split":
                return self.split_in_the_middle(run)
            self.contribute_until_consensus(run, [play.run_digest(run, version) for version in reversed(votes)])
        return run

    @rule(run=runs, late=st.booleans())
    def bring_a_run_to_its_end(self, run: str, late: bool) -> None:
        """Everybody agrees, reveals, and the scheduler finalizes; as far as that still goes."""
        self.contribute_until_consensus(run, [self.play.run_digest(run)] * 6)
        if self.is_revealing(run):
            self.reveal_and_finalize_run(run, late=late)

    def split_in_the_middle(self, run: str) -> Any:
        """Split, as far as that goes; the first half is then lived to its end."""
        outcome = self.note("splitRun", self.play.split(run, max(self.play.model.view_run(run).count // 2, 1)))
        if not outcome.happened:
            return run
        self.contribute_until_consensus(outcome.value[0], [self.play.run_digest(outcome.value[0])] * 6)
        if self.is_revealing(outcome.value[0]):
            self.reveal_and_finalize_run(outcome.value[0], late=False)
        return multiple(run, *outcome.value)

    def reveal_and_finalize_run(self, run: str, *, late: bool) -> None:
        """All winners reveal and the scheduler finalizes; or all but the first, and then it gets late."""
        play = self.play
        state = play.model.view_task(run)
        contribution = {worker: play.model.view_contribution(run, worker) for worker in state.contributors}
        for version in (0, 1):
            digest = play.run_digest(run, version)
            for position, worker in enumerate(state.contributors):
                wins = contribution[worker].result_hash == state.consensus_value
                if wins and (position > 0 or not late):
                    self.note("reveal a run", play.reveal(worker, run, digest))
            self.note("finalizeRun", play.finish_run(run, version))
            if late:
                play.now = max(play.now, state.reveal_deadline)
                self.note("finalizeRun", play.finish_run(run, version))

    # --- what always holds --------------------------------------------------------------------------------------

    @invariant()
    def nobody_pays_without_consent(self) -> None:
        now = self.free_money()
        fallen = {account for account, before in self.balances.items() if now.get(account, 0) < before}
        assert fallen <= self.play.consented, fallen - self.play.consented
        self.balances = now
        self.play.consented.clear()

    @invariant()
    def locked_money_is_what_unsettled_tasks_may_cost(self) -> None:
        self.play.check_locked_money_is_owed()

    def teardown(self) -> None:
        for run in self.play.runs:
            status = self.play.model.view_run(run).status
            self.reached[f"run {TaskStatus(status).name.lower()}"] += 1
        super().teardown()
