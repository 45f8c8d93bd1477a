"""Runs of trust 1 that are computed unopened and settled in one transaction, and when that is not to be."""

from __future__ import annotations

from fairgrid.pool.core.accounts import accounts_of
from fairgrid.pool.core.events import ChainReconciled, RunOpened
from fairgrid.pool.core.instructions import (
    BanWorker,
    Claim,
    FinalizeRun,
    OpenRun,
    RefundRest,
    RequestUpload,
    SendAbort,
    SendAuthorisation,
    SendLease,
    VerifyUpload,
)
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.task_facts import ChainFacts
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.core.unopened import LINE_WAIT_S
from fairgrid.protocol.runs import run_id
from fairgrid.protocol.views import TaskStatus
from tests.pool.fakes import Fake, digest_of, honest
from tests.pool.support import IDENTITY, TIMEREF, World


def able(name: str = "w", **changes: object) -> Fake:
    return Fake(name, owner=name, fast=True, settles=True, **changes)  # type: ignore[arg-type]


def finish(world: World, *, seconds: float = 2.0, limit: int = 300) -> None:
    for _ in range(limit):
        world.run()
        if not any(not task.is_final for task in world.machine.tasks.values()):
            return
        world.tick(seconds)
    raise AssertionError([(task.index, task.count, task.phase) for task in world.machine.tasks.values()])


def authorised(world: World) -> list[bool]:
    return [sent.fast for sent in world.given(SendAuthorisation)]


def runs_of(world: World) -> dict[tuple[int, int], TaskState]:
    return {(task.index, task.count): task for task in world.machine.tasks.values()}


def test_a_bag_of_trust_1_costs_the_pool_no_transaction_and_its_workers_one_for_each_run() -> None:
    world = World([able()], Policy(batch_run_tasks=8))
    deal = world.deals[world.deal(1, bot_size=20, lane=True)].deal_id
    finish(world)
    assert not world.given(OpenRun) and not world.given(FinalizeRun)
    assert [lease.unopened for lease in world.given(SendLease)] == [True, True, True]
    assert authorised(world) == [True, True, True]
    assert world.cursors[deal] == 20
    assert {state.phase for state in runs_of(world).values()} == {Phase.COMPLETED}


def test_the_result_is_fetched_and_checked_before_the_run_is_authorised() -> None:
    world = World([able()])
    world.deal(1, bot_size=4, lane=True)
    finish(world)
    (check,) = world.given(VerifyUpload)
    assert (check.first, check.count, check.digest) == (0, 4, digest_of("right"))
    assert world.log.index(check) < world.log.index(world.given(SendAuthorisation)[0])
    assert [request.early for request in world.given(RequestUpload)] == [True]


def lined_up() -> tuple[World, TaskState, TaskState]:
    """Two planned runs of one deal: the first computes, the second is ready."""
    first, second = able("first"), able("second")
    world = World([first], Policy(batch_probe_tasks=2, batch_run_tasks=2, speculation_factor=0, lease_ttl_s=900))
    deal = world.deals[world.deal(1, bot_size=6, lane=True)].deal_id
    first.seals = True
    world.on_send = lambda sent: isinstance(sent, SendLease) and sent.index > 0 and _stop_sealing(first)
    world.run()
    world.on_send = lambda sent: False
    head = world.machine.tasks[run_id(deal, 2, 2)]
    assert head.phase is Phase.SEALING and head.planned
    world.fakes[second.address] = second
    world.join(second)
    world.run()
    behind = world.machine.tasks[run_id(deal, 4, 2)]
    assert behind.planned and behind.phase is Phase.CONTRIBUTING
    return world, head, behind


def _stop_sealing(fake: Fake) -> bool:
    fake.seals = False
    return False


def test_a_run_that_is_ready_waits_for_the_one_at_the_cursor() -> None:
    world, head, behind = lined_up()
    sent = len(world.given(SendAuthorisation))
    world.tick(LINE_WAIT_S - 1)
    world.run()
    assert len(world.given(SendAuthorisation)) == sent and not world.given(OpenRun)
    first = next(fake for fake in world.fakes.values() if not fake.seals)
    world.seal(first, world.given(SendLease, first)[-1])
    world.run()
    assert head.phase is Phase.COMPLETED and behind.phase is Phase.COMPLETED
    assert not world.given(OpenRun)


def test_a_run_that_holds_up_others_for_too_long_is_opened_and_the_others_are_settled_at_once() -> None:
    world, head, behind = lined_up()
    world.tick(LINE_WAIT_S + 1)
    world.run()
    assert [opening.task_id for opening in world.given(OpenRun)] == [head.task_id]
    assert (behind.phase, head.phase) == (Phase.COMPLETED, Phase.SEALING)
    first = next(fake for fake in world.fakes.values() if not fake.seals)
    world.seal(first, world.given(SendLease, first)[-1])
    finish(world)
    assert head.phase is Phase.COMPLETED
    assert [end.task_id for end in world.given(FinalizeRun)] == [head.task_id]


def test_an_audited_run_is_opened_after_its_seals_and_takes_the_slow_path() -> None:
    world = World([able("a"), able("b")], Policy(audit_share=1.0))
    world.deal(1, bot_size=4, lane=True)
    finish(world)
    (opening,) = world.given(OpenRun)
    assert world.log.index(opening) > max(world.log.index(lease) for lease in world.given(SendLease))
    assert authorised(world) == [False]
    assert not any(request.early for request in world.given(RequestUpload))
    (state,) = runs_of(world).values()
    assert state.judged and state.phase is Phase.COMPLETED


def test_workers_that_cannot_settle_get_runs_that_are_opened_first() -> None:
    world = World(honest(1))
    world.deal(1, bot_size=4, lane=True)
    finish(world)
    assert len(world.given(OpenRun)) == 1 and len(world.given(FinalizeRun)) == 1
    assert [lease.unopened for lease in world.given(SendLease)] == [False]


def test_a_run_is_opened_when_those_who_could_settle_it_are_gone() -> None:
    worker, other = able(seals=False), Fake("old", owner="old")
    world = World([worker])
    world.deal(1, bot_size=4, lane=True)
    world.run()
    world.fakes[other.address] = other
    world.join(other)
    world.lose(worker)
    world.run()
    assert not world.given(SendLease, other)
    finish(world, seconds=30)
    assert len(world.given(OpenRun)) == 1 and len(world.given(SendLease, other)) == 1


def test_a_policy_without_the_fast_path_and_a_trust_above_1_open_runs_first() -> None:
    world = World([able()], Policy(fast_path=0))
    world.deal(1, bot_size=4, lane=True)
    finish(world)
    assert len(world.given(OpenRun)) == 1
    world = World([able("a"), able("b")])
    world.deal(4, bot_size=4, lane=True)
    finish(world)
    assert len(world.given(OpenRun)) == 1 and not any(authorised(world))


def test_who_uploads_other_bytes_than_it_sealed_is_banned_and_the_run_is_computed_by_another() -> None:
    world = World([able("liar", uploads_as="forged")])
    world.deal(1, bot_size=4, lane=True)
    world.run()
    assert len(world.given(BanWorker)) == 1 and not world.given(SendAuthorisation)
    honest_one = able("other")
    world.fakes[honest_one.address] = honest_one
    world.join(honest_one)
    finish(world)
    assert authorised(world) == [True] and not world.given(OpenRun)


def test_results_that_cannot_be_had_lead_to_a_run_that_is_opened() -> None:
    worker = able(uploads_as="gone")
    world = World([worker])
    world.deal(1, bot_size=4, lane=True)
    world.run()
    assert len(world.given(OpenRun)) == 1
    worker.uploads_as = ""
    finish(world)
    assert authorised(world) == [False] and len(world.given(FinalizeRun)) == 1


def test_who_is_authorised_and_does_not_settle_is_replaced_and_may_not_be_paid_twice() -> None:
    idle = able("idle", obeys_authorisation=False)
    world = World([idle])
    deal = world.deals[world.deal(1, bot_size=4, lane=True)].deal_id
    world.run()
    other = able("other")
    world.fakes[other.address] = other
    world.join(other)
    for _ in range(100):
        world.tick(5)
        world.run()
        if world.cursors[deal]:
            break
    run = run_id(deal, 0, 4)
    assert [seen.worker for seen in world.chain[run].contributions] == [other.address]
    world.settle_run(idle, run)  # Too late: the cursor moved.
    assert world.cursors[deal] == 4 and not world.given(OpenRun)
    assert world.machine.tasks[run].phase is Phase.COMPLETED


def test_a_run_whose_workers_fail_too_often_is_opened_so_that_it_can_be_given_up() -> None:
    workers = [able(f"w{number}", seals=False) for number in range(3)]
    world = World(workers, Policy(max_replicas_per_task=2, seal_window_min_s=10, speculation_factor=0))
    world.deal(1, bot_size=4, lane=True)
    for _ in range(40):
        world.run()
        world.tick(20)
    assert len(world.given(OpenRun)) == 1
    while len(world.given(Claim)) < 1:
        world.tick(TIMEREF)
        world.run()
    assert not world.given(RefundRest)


def test_an_opening_that_comes_too_late_takes_other_tasks_and_what_was_planned_for_them_begins_anew() -> None:
    world, head, behind = lined_up()
    deal = head.deal.deal_id
    # The chain opened three tasks where the pool meant to have two runs of two.
    other = run_id(deal, 2, 3)
    world.cursors[deal] = 5
    world.runs[other], world.deals[other] = (2, 3), world.deals[deal]
    world.chain[other] = ChainFacts(TaskStatus.ACTIVE)
    world.feed(RunOpened(other, deal, 2, 3))
    assert head.phase is Phase.FAILED and behind.phase is Phase.FAILED
    assert {abort.task_id for abort in world.given(SendAbort)} >= {head.task_id, behind.task_id}
    for fake in world.fakes.values():
        fake.seals = True
    finish(world)
    done = {key for key, state in runs_of(world).items() if state.phase is Phase.COMPLETED}
    assert done == {(0, 2), (2, 3), (5, 1)}
    requester = [accounts_of(state, "0x" + "00" * 20)[0] for state in runs_of(world).values()]
    assert sum(account.tasks for account in requester) == 6


def test_a_reorganisation_that_takes_a_settled_run_back_lets_the_same_worker_settle_it_again() -> None:
    worker = able()
    world = World([worker])
    deal = world.deals[world.deal(1, bot_size=4, lane=True)].deal_id
    world.run()
    run = run_id(deal, 0, 4)
    world.chain[run], world.cursors[deal] = ChainFacts(), 0
    world.feed(ChainReconciled(run, world.chain[run]))
    assert world.machine.tasks[run].phase is Phase.SEALING and not world.given(OpenRun)
    world.settle_run(worker, run)
    world.run()
    assert world.machine.tasks[run].phase is Phase.COMPLETED
    assert not world.given(BanWorker) and len(world.given(SendLease)) == 1


def test_what_was_never_opened_when_the_final_deadline_comes_is_refunded_in_one_step() -> None:
    world, _, _ = lined_up()
    world.on_send = lambda sent: isinstance(sent, OpenRun | SendAuthorisation)
    while not world.given(RefundRest):
        world.tick(TIMEREF)
        world.run()
    (rest,) = [state for state in world.machine.tasks.values() if state.is_rest]
    assert (rest.index, rest.count) == (2, 4)
    assert not world.given(Claim)


def test_a_restored_pool_goes_on_with_what_its_workers_compute_and_authorises_it() -> None:
    world, head, behind = lined_up()
    again = PoolMachine(IDENTITY, world.policy)
    machine = world.machine
    again.restore(machine.tasks.values(), [], bags=machine.bags.values(), in_flight=set(), now=world.now)
    world.machine = again
    for fake in world.fakes.values():
        fake.seals = True
        world.join(fake)
    first = world.fakes[head.replicas[-1].worker]
    world.tick(1)
    world.seal(first, world.given(SendLease, first)[-1])
    finish(world)
    assert head.phase is Phase.COMPLETED and behind.phase is Phase.COMPLETED
    assert not world.given(OpenRun) and not world.given(BanWorker)
