from __future__ import annotations

import pytest
from msgspec.structs import replace

from fairgrid.pool.core.events import (
    ChainReconciled,
    ContributionMined,
    DealMatched,
    DealUndone,
    EffectFailed,
    TaskFinalized,
    TaskInitialized,
    TaskSettledAtOnce,
)
from fairgrid.pool.core.instructions import (
    BanWorker,
    Claim,
    Finalize,
    Initialize,
    RequestOpening,
    RequestUpload,
    SendAbort,
    SendAuthorisation,
    SendDone,
    SendLease,
    SendRevealNotice,
    VerifyUpload,
)
from fairgrid.pool.core.phases import TRANSITIONS, InvalidTransition, Phase, ReplicaPhase
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.task_facts import ChainFacts
from fairgrid.protocol.views import TaskStatus
from tests.pool.fakes import Fake, address, digest_of, honest
from tests.pool.support import TIMEREF, World, phase_of

# --- the straight way ---------------------------------------------------------------------------------------------


def test_one_worker_at_trust_1_goes_from_deal_to_finalized_and_done() -> None:
    (worker,) = fakes = honest(1)
    world = World(fakes)
    task = world.deal(1)
    state = world.run_until_final(task)
    assert state.phase is Phase.COMPLETED
    assert [type(instruction) for instruction in world.log] == [
        Initialize,
        SendLease,
        SendAuthorisation,
        SendRevealNotice,
        RequestOpening,
        RequestUpload,
        VerifyUpload,
        Finalize,
        SendDone,
    ]
    assert world.given(Finalize)[0].cid == "cid:right"
    assert world.given(SendLease, worker)[0].round == 0


def test_a_story_tells_the_phases_in_order_and_numbers_its_lines() -> None:
    world = World(honest(1))
    task = world.deal(1)
    world.run_until_final(task)
    story = world.machine.story(task)
    assert [line.number for line in story] == list(range(1, len(story) + 1))
    told = [line.text.split(":")[0] for line in story if line.text.split(":")[0] in set(Phase)]
    assert told == [
        "received",
        "initializing",
        "sealing",
        "contributing",
        "revealing",
        "uploading",
        "finalizing",
        "completed",
    ]


def test_every_task_of_a_bag_ends_with_fewer_workers_than_tasks() -> None:
    world = World(honest(2))
    world.deal(1, bot_size=5)
    for task in list(world.machine.tasks):
        assert world.run_until_final(task).phase is Phase.COMPLETED
    assert len(world.given(Initialize)) == 5


def test_no_more_tasks_are_taken_on_than_the_policy_allows() -> None:
    world = World([], Policy(max_active_tasks=2))
    world.deal(1, bot_size=3)
    world.tick()
    assert len(world.given(Initialize)) == 2


def test_a_deal_seen_twice_is_one_deal() -> None:
    world = World(honest(1))
    world.deal(1)
    world.deal(1)
    world.run()
    assert len(world.given(Initialize)) == 1


# --- the chain's word ---------------------------------------------------------------------------------------------


def test_a_refused_transaction_is_sent_again_after_a_pause() -> None:
    world = World([])
    world.on_send = lambda instruction: True
    task = world.deal(1)
    world.feed(EffectFailed(task, "initialize", "nonce too low"))
    world.tick(1)
    assert len(world.given(Initialize)) == 1
    world.tick(1)
    assert len(world.given(Initialize)) == 2
    world.tick(60)
    assert len(world.given(Initialize)) == 2


def test_events_that_are_given_twice_change_nothing() -> None:
    fakes = honest(2)
    world = World(fakes)
    task = world.deal(4)
    world.run()
    facts = world.chain[task]
    count = len(world.log)
    world.feed(TaskInitialized(task))
    for seen in facts.contributions:
        world.feed(ContributionMined(task, seen.worker, seen.result_hash, seen.weight))
    world.feed(TaskFinalized(task))
    assert len(world.log) == count
    assert world.machine.tasks[task].phase is Phase.COMPLETED


def test_an_event_that_does_not_fit_raises_with_the_whole_story_and_the_chain_then_sets_it_right() -> None:
    world = World(honest(1))
    world.on_send = lambda instruction: True
    task = world.deal(1)
    with pytest.raises(InvalidTransition) as raised:
        world.feed(TaskSettledAtOnce(task, address("worker"), digest_of("hash"), digest_of("digest")))
    assert raised.value.phase is Phase.INITIALIZING
    assert raised.value.wanted is Phase.COMPLETED
    assert [line.text for line in raised.value.story] == [line.text for line in world.machine.story(task)]
    assert "trust 1" in str(raised.value)
    world.feed(ChainReconciled(task, ChainFacts(status=TaskStatus.COMPLETED)))
    assert world.machine.tasks[task].phase is Phase.COMPLETED


def test_a_reorganisation_that_undoes_the_initialisation_sends_it_again() -> None:
    world = World([])
    task = world.deal(1)
    world.run()
    world.feed(ChainReconciled(task, ChainFacts()))
    assert len(world.given(Initialize)) == 2
    assert world.machine.tasks[task].phase is Phase.INITIALIZING


def test_a_reorganisation_that_undoes_a_contribution_waits_for_it_before_authorising_another() -> None:
    fakes = honest(4)
    for fake in fakes:
        fake.obeys_authorisation = False
    world = World(fakes)
    task = world.deal(10)
    world.run()
    first = world.fakes[world.given(SendAuthorisation)[0].worker]
    before = world.chain[task]
    world.contribute(first, task)
    second = world.fakes[world.given(SendAuthorisation)[1].worker]
    world.chain[task] = before
    world.feed(ChainReconciled(task, before))
    assert phase_of(world, task, first) is ReplicaPhase.AUTHORISED
    assert len(world.given(SendAuthorisation)) == 2
    world.contribute(second, task)
    assert len(world.given(SendAuthorisation)) == 2
    for fake in fakes:
        fake.obeys_authorisation = True
    world.contribute(first, task)
    assert world.run_until_final(task).phase is Phase.COMPLETED


def test_a_reorganisation_that_undoes_the_consensus_takes_the_task_back_and_it_still_completes() -> None:
    fakes = honest(4)
    world = World(fakes, Policy(authorisation_order=tuple(fake.address for fake in fakes)))
    world.on_send = lambda instruction: isinstance(instruction, RequestOpening | RequestUpload)
    task = world.deal(10)
    world.run()
    assert world.machine.tasks[task].phase is Phase.UPLOADING
    undone = ChainFacts(TaskStatus.ACTIVE, contributions=world.chain[task].contributions[:3])
    undone = replace(
        undone,
        contributions=tuple(replace(seen, status=type(seen.status).CONTRIBUTED) for seen in undone.contributions),
    )
    world.chain[task] = undone
    world.feed(ChainReconciled(task, undone))
    assert world.machine.tasks[task].phase is Phase.CONTRIBUTING
    world.on_send = lambda instruction: False
    world.contribute(fakes[3], task)
    assert world.run_until_final(task).phase is Phase.COMPLETED
    assert not world.given(BanWorker)


def test_a_reorganisation_that_undoes_finalize_sends_it_again() -> None:
    world = World(honest(1))
    task = world.deal(1)
    world.run_until_final(task)
    facts = replace(world.chain[task], status=TaskStatus.REVEALING)
    world.chain[task] = facts
    world.feed(ChainReconciled(task, facts))
    assert len(world.given(Finalize)) == 2
    assert world.run_until_final(task).phase is Phase.COMPLETED


def test_a_finished_task_leaves_the_memory_after_a_while() -> None:
    world = World(honest(1), Policy(keep_finished_s=300))
    task = world.deal(1)
    world.run_until_final(task)
    world.tick(299)
    assert task in world.machine.tasks
    world.tick(1)
    assert task not in world.machine.tasks


def test_a_machine_that_was_restored_goes_on_and_asks_for_its_lost_transactions_again() -> None:
    world = World([])
    world.on_send = lambda instruction: True
    task = world.deal(1)
    held = world.machine.tasks[task]
    again = World([])
    again.chain, again.deals = world.chain, world.deals
    again.machine.restore([held], [], in_flight=set(), now=again.now)
    again.tick(1)
    assert [type(instruction) for instruction in again.log] == [Initialize]


def test_a_restored_machine_leaves_a_transaction_that_is_under_way_alone() -> None:
    world = World([])
    world.on_send = lambda instruction: True
    task = world.deal(1)
    again = World([])
    again.machine.restore([world.machine.tasks[task]], [], in_flight={f"{task}/initialize"}, now=again.now)
    again.tick(1)
    assert not again.log


def test_after_a_restart_no_worker_is_banned_or_replaced_for_the_pools_own_absence() -> None:
    fakes = honest(2)
    for fake in fakes:
        fake.opens = False
    world = World(fakes)
    task = world.deal(4)
    world.run_until_final(task, seconds=0.1)
    again = World([])
    again.now, again.chain_time = world.now + 600, world.chain_time + 600
    again.machine.restore([world.machine.tasks[task]], [], in_flight=set(), now=again.now)
    again.tick(0)
    assert not again.given(BanWorker)
    again.fakes = world.fakes
    for fake in fakes:
        fake.opens = True
        again.join(fake)
    again.run()
    again.tick(120)
    assert not again.given(BanWorker)
    assert len(again.given(SendDone)) >= 2


def test_a_contributor_is_known_again_when_the_database_was_lost() -> None:
    fakes = honest(2)
    world = World(fakes)
    world.on_send = lambda instruction: isinstance(instruction, SendRevealNotice | RequestUpload)
    task = world.deal(4)
    world.run()
    again = World([])
    again.chain, again.deals, again.fakes = world.chain, world.deals, world.fakes
    again.feed(DealMatched(world.deals[task], 0, 1))
    again.pending.clear()
    again.feed(ChainReconciled(task, world.chain[task]))
    for fake in fakes:
        again.join(fake)
    assert again.run_until_final(task).phase is Phase.COMPLETED


def test_a_deal_that_a_reorganisation_took_back_is_not_worked_on_and_ends_without_a_transaction() -> None:
    (worker,) = fakes = [Fake("w", owner="w", seals=False)]
    world = World(fakes)
    task = world.deal(1)
    world.run()
    world.feed(DealUndone(world.deals[task].deal_id))
    assert world.machine.tasks[task].phase is Phase.ABANDONED
    assert world.given(SendAbort, worker)
    world.tick(10 * TIMEREF)
    assert world.machine.tasks[task].phase is Phase.FAILED
    assert not world.given(Claim)


def test_a_deal_that_comes_back_in_another_block_is_worked_on_with_its_new_deadlines() -> None:
    world = World(honest(1))
    world.on_send = lambda instruction: True
    task = world.deal(1)
    terms = world.deals[task]
    world.feed(DealUndone(terms.deal_id))
    world.on_send = lambda instruction: False
    world.pending.clear()
    again = replace(terms, start_time=terms.start_time + 3)
    world.deals[task] = again
    world.feed(DealMatched(again, 0, 1))
    assert world.machine.tasks[task].deal == again
    assert world.run_until_final(task).phase is Phase.COMPLETED


# --- the table ----------------------------------------------------------------------------------------------------


def test_every_phase_has_a_row_and_every_row_leads_to_an_end() -> None:
    assert set(TRANSITIONS) == set(Phase)
    ends = {Phase.COMPLETED, Phase.FAILED, Phase.SPLIT}
    reach = set(ends)
    for _ in Phase:
        reach |= {phase for phase, following in TRANSITIONS.items() if following & reach}
    assert reach == set(Phase)
    assert not any(TRANSITIONS[end] for end in ends)
