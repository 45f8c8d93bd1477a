"""What the operator's decisions change for the scheduler, without any I/O."""

from __future__ import annotations

import dataclasses

from fairgrid.pool.administration.task_why import keeps_away, why_task
from fairgrid.pool.core.events import (
    OperatorBanned,
    OperatorUnbanned,
    PolicyChanged,
    PoolDrained,
    WorkerDrained,
    WorkerLabelled,
)
from fairgrid.pool.core.instructions import Initialize, SendAbort, SendLease
from fairgrid.pool.core.matching import Requirements
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.policy import Policy
from fairgrid.protocol.machine import Machine
from tests.pool.fakes import Fake, address, honest
from tests.pool.support import World


def test_a_drained_pool_begins_no_task_and_ends_those_that_have_begun() -> None:
    world = World(honest(1))
    running = world.deal(1, name="running")
    world.feed(PoolDrained(True))
    later = world.deal(1, name="later")
    assert world.run_until_final(running).phase is Phase.COMPLETED
    assert later not in world.machine.tasks
    assert [sent.task_id for sent in world.log if isinstance(sent, Initialize)] == [running]
    world.feed(PoolDrained(False))
    assert world.run_until_final(later).phase is Phase.COMPLETED


def test_a_drained_worker_gets_no_lease_also_when_it_connects_anew() -> None:
    world = World([])
    fake = Fake("one", "one")
    world.fakes[fake.address] = fake
    world.feed(WorkerDrained(fake.address, True))
    world.join(fake)
    task = world.deal(1)
    world.run()
    assert world.given(SendLease) == [] and world.machine.tasks[task].phase is Phase.SEALING
    book = world.machine.book
    assert keeps_away(book, world.machine.tasks[task], book.workers[fake.address]) == "drained by the operator"
    world.feed(WorkerDrained(fake.address, False))
    assert world.run_until_final(task).phase is Phase.COMPLETED


def test_a_ban_ends_what_the_owners_workers_compute_and_others_get_it_at_once() -> None:
    one, two = Fake("one", "same", seals=False), Fake("two", "same", seals=False)
    world = World([one, two])
    tasks = [world.deal(1, name="a"), world.deal(1, name="b")]
    world.run()
    assert len(world.given(SendLease)) == 2
    world.feed(OperatorBanned(one.address, address("same"), "it is too slow"))
    assert {sent.worker for sent in world.log if isinstance(sent, SendAbort)} == {one.address, two.address}
    assert not world.machine.workers and world.machine.is_banned(two.address, address("same"))
    phases = [replica.phase for task in tasks for replica in world.machine.tasks[task].replicas]
    assert phases == [ReplicaPhase.BANNED, ReplicaPhase.BANNED]
    other = Fake("other", "other")
    world.fakes[other.address] = other
    world.join(other)
    for task in tasks:
        assert world.run_until_final(task).phase is Phase.COMPLETED
    world.join(one)
    assert one.address not in world.machine.workers


def test_one_of_two_bans_of_an_owner_is_lifted_and_the_other_counts_on() -> None:
    world = World([])
    for name in ("one", "two"):
        world.feed(OperatorBanned(address(name), address("same"), name))
    world.feed(OperatorUnbanned(address("one")))
    assert world.machine.is_banned(address("three"), address("same"))
    assert world.machine.bans[address("same")].reason == "two"
    world.feed(OperatorUnbanned(address("same")))
    assert not world.machine.bans


def test_labels_that_are_given_stay_with_the_worker_and_what_its_owner_claims_is_not_lost() -> None:
    fake = Fake("one", "one", machine=Machine(labels=("eu", "gold")))
    bare = Fake("bare", "bare")
    world = World([fake, bare])
    task = world.deal(1, requirements=Requirements(labels=("lab-2",)))
    world.run()
    assert world.given(SendLease) == []
    world.feed(WorkerLabelled(fake.address, ("lab-2", "gold")))
    assert [lease.worker for lease in world.given(SendLease)] == [fake.address]
    machine = world.machine.workers[fake.address].machine
    assert machine is not None and machine.labels == ("eu", "gold", "lab-2")
    world.feed(WorkerLabelled(fake.address, ()))
    machine = world.machine.workers[fake.address].machine
    assert machine is not None and machine.labels == ("eu", "gold")
    world.feed(WorkerLabelled(bare.address, ("lab-2",)))
    machine = world.machine.workers[bare.address].machine
    assert machine is not None and machine.labels == ("lab-2",)
    assert world.run_until_final(task).phase is Phase.COMPLETED


def test_another_policy_counts_from_the_next_event_on() -> None:
    world = World(honest(3), Policy(max_active_tasks=1))
    world.deal(1, bot_size=3)
    assert world.machine.book.active == 1
    world.feed(PolicyChanged(dataclasses.replace(world.policy, max_active_tasks=2)))
    assert world.machine.book.active == 2
    assert world.machine.book.standings.policy.proven_after == world.policy.proven_after


def test_each_worker_is_kept_away_by_the_first_rule_that_speaks_against_it() -> None:
    quarantined, poor = Fake("quarantined", "quarantined"), Fake("poor", "poor", stake=1)
    world = World([quarantined, poor, *honest(1)])
    book = world.machine.book
    book.standings.disproved(quarantined.address, quarantined.address, world.now)
    task = world.deal(8)
    world.run()
    answer = why_task(book, book.tasks[task], begun=True, chain_silence_s=1, transactions_left=7)
    assert answer.kept_away == {"in quarantine": 1, "deposit too small": 1, "its owner has a replica": 1}
    assert answer.suitable == 0 and answer.waits_for == "more workers"
    rules = {rule.rule: rule for rule in answer.rules}
    assert not rules["trust"].allowed and "Trust 8 is asked; 1 worker(s)" in rules["trust"].text
    assert rules["gas"].allowed and "7 transaction(s)" in rules["gas"].text
    silent = why_task(book, book.tasks[task], begun=True, chain_silence_s=99, transactions_left=0)
    failing = {rule.rule for rule in silent.rules if not rule.allowed}
    assert failing >= {"chain", "gas", "trust", "suitable_workers"}
