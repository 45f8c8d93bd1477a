"""Runs of the batch lane: their sizes, their life, their splits, and the refund of what was never opened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fairgrid.pool.core.deal_terms import DealTerms
from fairgrid.pool.core.events import ChainReconciled, EffectFailed, RunOpened
from fairgrid.pool.core.instructions import (
    Claim,
    Finalize,
    FinalizeRun,
    Initialize,
    Instruction,
    OpenRun,
    RefundRest,
    SendDone,
    SendLease,
    SplitRun,
    VerifyUpload,
)
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.runs import run_size
from fairgrid.pool.core.task_facts import ChainFacts
from fairgrid.protocol.runs import run_id
from fairgrid.protocol.views import TaskStatus
from tests.pool.fakes import Fake, address, honest
from tests.pool.support import IDENTITY, TIMEREF, World

DEAL = DealTerms("0x" + "d1" * 32, 4, TIMEREF, 0, 10, address("requester"), in_batch_lane=True)
FOREIGN = "0x" + "00" * 32


def size(policy: Policy | None = None, deal: DealTerms = DEAL, **change: object) -> int:
    facts: dict[str, object] = {"left": 1_000, "seconds_each": 1.0, "time_left_s": 400.0, "runs_at_once": 1}
    return run_size(policy or Policy(), deal, **(facts | change))  # type: ignore[arg-type]


def finish(world: World, *, seconds: float = 2.0, limit: int = 300) -> None:
    """Let all that was opened end."""
    for _ in range(limit):
        world.run()
        if not any(not task.is_final for task in world.machine.tasks.values()):
            return
        world.tick(seconds)
    raise AssertionError([(task.index, task.count, task.phase) for task in world.machine.tasks.values()])


def counts(world: World) -> list[tuple[int, int]]:
    return [(instruction.index, instruction.count) for instruction in world.given(OpenRun)]


def slow(world: World, *, each_s: float) -> None:
    """Let workers take their time for each task of a run."""

    def take_time(instruction: Instruction) -> bool:
        if isinstance(instruction, SendLease) and instruction.count:
            world.now += each_s * instruction.count / len(world.fakes)
        return False

    world.on_send = take_time


def test_the_first_run_is_a_probe_and_later_ones_fit_into_the_time_that_is_meant_for_one() -> None:
    assert size(seconds_each=None) == Policy().batch_probe_tasks
    assert size(seconds_each=None, left=2) == 2
    assert size(Policy(batch_run_s=30.0)) == 30
    assert size(Policy(batch_run_s=1_000.0)) == TIMEREF
    assert size(time_left_s=80.0) == 20
    assert size(seconds_each=0.0) == 1_000
    assert size(Policy(batch_run_tasks=7)) == 7


def test_a_bag_is_shared_among_those_who_can_work_side_by_side() -> None:
    assert size(left=10, runs_at_once=3) == 4
    assert size(left=5, runs_at_once=3) == 4


def test_no_run_is_opened_of_which_not_one_task_would_fit() -> None:
    assert size(seconds_each=400.0) == 0
    assert size(seconds_each=399.0) == 1


def test_a_run_with_callbacks_is_smaller_than_what_its_results_can_carry() -> None:
    policy = Policy(batch_run_tasks=100_000)
    assert size(policy, left=100_000, seconds_each=1e-6) == 65_536
    assert size(policy, replace(DEAL, callback=address("c")), left=100_000, seconds_each=1e-6) == 4_096


@given(
    left=st.integers(1, 10**6),
    seconds_each=st.none() | st.floats(0, 10**4),
    time_left_s=st.floats(0.1, 10**4),
    runs_at_once=st.integers(1, 100),
)
def test_a_run_never_has_more_tasks_than_are_left_nor_takes_longer_than_there_is(
    left: int, seconds_each: float | None, time_left_s: float, runs_at_once: int
) -> None:
    count = size(left=left, seconds_each=seconds_each, time_left_s=time_left_s, runs_at_once=runs_at_once)
    assert 0 <= count <= min(left, Policy().batch_run_tasks)
    if seconds_each is not None:
        assert count * seconds_each <= time_left_s or count == 0


def test_a_bag_is_settled_in_runs_and_no_task_of_it_is_initialized() -> None:
    world = World(honest(2))
    slow(world, each_s=1.0)
    world.deal(4, bot_size=100, lane=True)
    assert counts(world) == [(0, 4)]
    finish(world)
    runs = counts(world)
    assert [first for first, _ in runs] == [sum(count for _, count in runs[:place]) for place in range(len(runs))]
    assert sum(count for _, count in runs) == 100
    assert 2 <= len(runs) < 10
    assert len(world.given(FinalizeRun)) == len(runs)
    assert not world.given(Initialize) and not world.given(Finalize) and not world.given(RefundRest)
    checks = world.given(VerifyUpload)
    assert [(check.first, check.count) for check in checks] == sorted(runs)


def test_one_run_is_opened_after_the_other_at_the_cursor() -> None:
    world = World(honest(2), Policy(batch_probe_tasks=3, batch_run_tasks=5))
    open_at_once = 0

    def watch(instruction: Instruction) -> bool:
        nonlocal open_at_once
        if isinstance(instruction, OpenRun):
            unopened = [task for task in world.machine.tasks.values() if task.phase is Phase.INITIALIZING]
            open_at_once = max(open_at_once, len(unopened))
        return False

    world.on_send = watch
    world.deal(1, bot_size=20, lane=True)
    finish(world)
    assert open_at_once == 1
    assert counts(world) == [(0, 3), (3, 5), (8, 5), (13, 4), (17, 3)]


def test_an_opening_that_was_refused_is_tried_again_and_nothing_else_is_opened_meanwhile() -> None:
    world = World(honest(1))
    refusals = 2

    def refuse(instruction: Instruction) -> bool:
        nonlocal refusals
        if isinstance(instruction, OpenRun) and refusals:
            refusals -= 1
            world.feed(EffectFailed(instruction.task_id, "openrun", "no luck"))
            return True
        return False

    world.on_send = refuse
    world.deal(1, bot_size=10, lane=True)
    finish(world)
    assert counts(world)[:3] == [(0, 4)] * 3
    assert sum(count for _, count in counts(world)[2:]) == 10


def test_a_run_counts_every_task_of_it_against_a_workers_deposit() -> None:
    poor, rich = Fake("poor", owner="poor", stake=39), Fake("rich", owner="rich", stake=40)
    world = World([poor, rich])
    world.deal(1, bot_size=4, lane=True)
    world.run()
    assert not world.given(SendLease, poor)
    assert [lease.count for lease in world.given(SendLease, rich)] == [4]


def test_workers_that_are_left_decide_a_disagreement_and_the_run_is_not_split() -> None:
    workers = [*honest(3), Fake("liar", owner="liar", lies_at=1)]
    order = (address("liar"),)
    world = World(workers, Policy(authorisation_order=order, first_round_replicas=2))
    world.deal(2, bot_size=4, lane=True)
    finish(world)
    assert not world.given(SplitRun)
    assert {facts.status for task, facts in world.chain.items() if task in world.runs} == {TaskStatus.COMPLETED}


def test_a_disagreement_that_nobody_is_left_to_decide_is_cut_down_to_the_task_that_divides() -> None:
    world = World([*honest(2), Fake("liar", owner="liar", lies_at=5)])
    deal = world.deals[world.deal(4, bot_size=16, lane=True)].deal_id
    finish_but(world, run_id(deal, 5, 1))
    states = {world.runs[task]: facts.status for task, facts in world.chain.items() if task in world.runs}
    completed = [index for (first, n), status in states.items() if status is TaskStatus.COMPLETED
                 for index in range(first, first + n)]  # fmt: skip
    assert sorted(completed) == [index for index in range(16) if index != 5]
    assert states[5, 1] is TaskStatus.ACTIVE
    assert all(status is not TaskStatus.SPLIT or count > 1 for (_, count), status in states.items())
    split = [task for task in world.machine.tasks.values() if task.phase is Phase.SPLIT]
    assert split and all(not task.is_public for task in split)
    assert {done.task_id for done in world.given(SendDone)} >= {task.task_id for task in split}
    while world.chain_time < world.deals[deal].final_deadline:
        world.tick(TIMEREF)
        world.run()
    finish(world)
    assert [claim.task_id for claim in world.given(Claim)] == [run_id(deal, 5, 1)]
    assert not world.given(RefundRest)


def finish_but(world: World, stuck: str) -> None:
    for _ in range(100):
        world.run()
        if stuck in world.machine.tasks and not any(
            not task.is_final for task in world.machine.tasks.values() if task.task_id != stuck
        ):
            return
        world.tick(2)
    raise AssertionError("it never came to the one task that divides")


def test_what_was_never_opened_is_refunded_in_one_step_and_open_runs_are_claimed() -> None:
    world = World([])
    world.deal(4, bot_size=1_000, lane=True)
    world.run()
    world.tick(7 * TIMEREF)
    world.run()
    assert not world.given(RefundRest)
    world.tick(3 * TIMEREF)
    finish(world)
    assert len(world.given(Claim)) == 1 and len(world.given(RefundRest)) == 1
    assert not world.given(Initialize)


@pytest.mark.parametrize("refusal", ["", "It asks for what we do not have."])
def test_a_deal_of_which_no_run_could_be_opened_is_refunded_whole(refusal: str) -> None:
    world = World(honest(1))
    world.on_send = lambda instruction: isinstance(instruction, OpenRun)
    world.deal(1, bot_size=10, lane=True, refusal=refusal)
    world.run()
    world.tick(10 * TIMEREF)
    finish(world)
    assert len(world.given(RefundRest)) == 1 and not world.given(Claim)
    assert not world.given(SendLease)
    world.tick(world.policy.keep_finished_s)
    world.tick(1)
    assert not world.machine.bags


def test_a_run_whose_opening_is_seen_only_after_the_deadline_is_claimed_all_the_same() -> None:
    world = World([])
    world.on_send = lambda instruction: isinstance(instruction, OpenRun)
    deal = world.deals[world.deal(4, bot_size=10, lane=True)].deal_id
    world.run()
    (opening,) = world.given(OpenRun)
    world.tick(10 * TIMEREF)
    world.run()
    assert world.machine.tasks[opening.task_id].phase is Phase.FAILED and not world.given(Claim)
    world.feed(RunOpened(opening.task_id, deal, 0, opening.count))
    assert [claim.task_id for claim in world.given(Claim)] == [opening.task_id]


def test_a_restored_pool_goes_on_with_its_runs() -> None:
    world = World(honest(1), Policy(batch_probe_tasks=2))
    world.deal(1, bot_size=6, lane=True)
    world.run()
    again = PoolMachine(IDENTITY, world.policy)
    machine = world.machine
    again.restore(machine.tasks.values(), [], bags=machine.bags.values(), in_flight=set(), now=world.now)
    world.machine = again
    for fake in world.fakes.values():
        world.join(fake)
    world.tick(1)
    finish(world)
    assert sum(count for _, count in counts(world)) == 6


def test_a_run_that_only_the_chain_knows_is_taken_up() -> None:
    world = World(honest(1))
    world.on_send = lambda instruction: isinstance(instruction, OpenRun)
    deal = world.deals[world.deal(1, bot_size=4, lane=True)].deal_id
    half = run_id(deal, 0, 2)
    world.feed(RunOpened(half, deal, 0, 2))
    assert world.machine.tasks[half].parent == run_id(deal, 0, 4)
    world.feed(RunOpened(run_id(FOREIGN, 0, 2), FOREIGN, 0, 2))
    assert len(world.machine.tasks) == 2
    world.feed(ChainReconciled(half, ChainFacts()))
    world.tick(1)
    assert world.machine.tasks[half].phase is Phase.ABANDONED
    world.feed(RunOpened(half, deal, 0, 2))
    assert world.machine.tasks[half].phase is Phase.SEALING
