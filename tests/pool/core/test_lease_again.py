"""A worker is leased a task again because its contribution seemed lost; then that is mined all the same."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fairgrid.pool.core.events import ChainReconciled, ConsensusReached, ContributionMined
from fairgrid.pool.core.instructions import BanWorker, RequestOpening, SendAuthorisation, SendLease
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.task_facts import SeenContribution
from fairgrid.protocol.ids import result_hash
from fairgrid.protocol.views import TaskStatus
from tests.pool.fakes import Fake, digest_of, honest
from tests.pool.support import TIMEREF, World


def _parts(world: World, task: str, fake: Fake) -> list[Replica]:
    return [replica for replica in world.machine.tasks[task].replicas if replica.worker == fake.address]


def leased_again() -> tuple[World, str, Fake]:
    """A task of trust 4 whose first worker was given up after its authorisation, and computes for another lease."""
    slow, other = Fake("slow", owner="slow", obeys_authorisation=False), honest(1)[0]
    world = World([slow, other], Policy(authorisation_order=(slow.address,)))
    task = world.deal(4)
    world.run()
    slow.seals = False
    for _ in range(40):
        world.tick(30)
        world.run()
        if len(world.given(SendLease, slow)) > 1:
            break
    assert [part.phase for part in _parts(world, task, slow)] == [ReplicaPhase.GIVEN_UP, ReplicaPhase.LEASED]
    return world, task, slow


@pytest.mark.parametrize("told", ["event", "view"])
def test_the_contribution_counts_under_the_first_lease_and_the_second_one_ends(told: str) -> None:
    world, task, slow = leased_again()
    first, second = _parts(world, task, slow)
    asked = len(world.given(SendAuthorisation, slow))
    value = result_hash(task, digest_of("right"))
    seen = SeenContribution(slow.address, value, 2)
    world.chain[task] = facts = world.chain[task].with_contribution(seen)
    world.feed(ContributionMined(task, slow.address, value, 2) if told == "event" else ChainReconciled(task, facts))
    assert first.phase is ReplicaPhase.CONTRIBUTED
    assert second.phase is ReplicaPhase.DISMISSED
    deadline = world.chain_time + 2 * TIMEREF
    world.chain[task] = replace(facts, status=TaskStatus.REVEALING, consensus_value=value, reveal_deadline=deadline)
    world.feed(ConsensusReached(task, value, deadline))
    assert world.run_until_final(task).phase is Phase.COMPLETED
    assert len(world.given(SendAuthorisation, slow)) == asked, "it is not asked to contribute twice"
    assert [request.lease_id for request in world.given(RequestOpening, slow)] == [first.lease_id]
    assert not world.given(BanWorker)
