"""Random interleavings of everything that can happen to a pool, and what must hold in each of them."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairgrid.pool.core.events import ChainReconciled, LeaseFailed
from fairgrid.pool.core.instructions import (
    BanWorker,
    Finalize,
    Instruction,
    SendAuthorisation,
    SendLease,
    VerifyUpload,
)
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.policy import Policy
from fairgrid.protocol.views import TaskStatus
from tests.pool.fakes import Fake, digest_of
from tests.pool.support import TIMEREF, World

_ANSWERS = ("right", "wrong", "wrong too")


@st.composite
def _fakes(draw: st.DrawFn) -> list[Fake]:
    owners = draw(st.integers(min_value=1, max_value=8))
    fakes = []
    for number in range(draw(st.integers(min_value=1, max_value=9))):
        answer = draw(st.sampled_from(("right", "right", "right", "wrong", "wrong too")))
        fakes.append(
            Fake(
                f"w{number}",
                owner=f"o{number % owners}",
                score=draw(st.sampled_from((0, 0, 12, 30))),
                slots=draw(st.integers(min_value=1, max_value=2)),
                answer=answer,
                contributes=draw(st.sampled_from(("", "", "", "wrong"))),
                seals=draw(st.integers(0, 9)) > 0,
                obeys_authorisation=draw(st.integers(0, 9)) > 0,
                reveals=draw(st.integers(0, 9)) > 0,
                opens=draw(st.integers(0, 9)) > 0,
                uploads=draw(st.integers(0, 9)) > 0,
                uploads_as=draw(st.sampled_from(("", "", "", "forged", "gone"))),
            )
        )
    return fakes


class _Watched(World):
    """Checks after every event what must always hold."""

    def check(self) -> None:
        hidden = [digest_of(answer) for answer in _ANSWERS]
        for task in self.machine.tasks.values():
            assert len(task.in_phase(ReplicaPhase.AUTHORISED)) <= 1
            owners = [replica.owner for replica in task.replicas if not replica.ended]
            assert len(owners) == len(set(owners))
            if task.facts.status < TaskStatus.REVEALING:
                told = repr(self.machine.story(task.task_id))
                assert not any(digest in told for digest in hidden)

    def obey(self, instruction: Instruction) -> None:
        task = self.machine.tasks.get(instruction.task_id)
        if isinstance(instruction, SendAuthorisation) and task is not None:
            replica = task.replica(instruction.lease_id)
            assert replica is not None and replica.seal
        if isinstance(instruction, Finalize) and task is not None:
            assert instruction.cid == f"cid:{_answer_of(task.facts.result_digest)}"
        if not isinstance(instruction, VerifyUpload | BanWorker):
            assert not any(digest_of(answer) in repr(instruction) for answer in _ANSWERS)
        super().obey(instruction)
        self.check()


def _answer_of(digest: str) -> str:
    return next(answer for answer in _ANSWERS if digest_of(answer) == digest)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    fakes=_fakes(),
    trust=st.sampled_from((1, 2, 4, 10)),
    bot_size=st.integers(min_value=1, max_value=3),
    first_round=st.integers(min_value=1, max_value=5),
    seed=st.integers(min_value=0, max_value=2**32),
)
def test_in_every_interleaving_each_task_ends_and_nothing_leaks(
    fakes: list[Fake], trust: int, bot_size: int, first_round: int, seed: int
) -> None:
    chance = random.Random(seed)
    world = _Watched(fakes, Policy(first_round_replicas=first_round))
    world.deal(trust, bot_size=bot_size)
    sealed_when_authorised(world)
    for _ in range(300):
        act = chance.random()
        if act < 0.70 and world.pending:
            world.obey(world.pending.pop(chance.randrange(min(3, len(world.pending)))))
        elif act < 0.80:
            world.tick(chance.choice((0.5, 1, 5, 20)))
        elif act < 0.85:
            fake = chance.choice(fakes)
            if fake.connected:
                world.lose(fake)
        elif act < 0.92:
            fake = chance.choice(fakes)
            if not fake.connected and not world.machine.is_banned(fake.address, fake.owner):
                world.join(fake)
        elif act < 0.95:
            task = chance.choice(list(world.chain))
            world.feed(ChainReconciled(task, world.chain[task]))
        else:
            leases = world.given(SendLease)
            if leases:
                lease = chance.choice(leases)
                world.feed(LeaseFailed(lease.worker, lease.lease_id, lease.task_id, "disk full"))
        world.check()
    world.run()
    for _ in range(40):
        world.tick(TIMEREF / 2)
        world.run()
        world.check()
    for task, facts in world.chain.items():
        assert facts.status in (TaskStatus.COMPLETED, TaskStatus.FAILED)
        state = world.machine.tasks.get(task)
        assert state is None or state.phase in (Phase.COMPLETED, Phase.FAILED)


def sealed_when_authorised(world: World) -> None:
    """From now on, no authorisation goes out while a lease of the same task still waits for its seal."""
    inner = world.feed

    def feed(event: object) -> tuple[Instruction, ...]:
        given = inner(event)  # type: ignore[arg-type]
        for instruction in given:
            if isinstance(instruction, SendAuthorisation):
                task = world.machine.tasks[instruction.task_id]
                assert not task.in_phase(ReplicaPhase.LEASED)
        return given

    world.feed = feed  # type: ignore[method-assign]


@pytest.mark.parametrize("liars", [0, 1, 2])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_honest_workers_enough_for_the_trust_always_complete_with_the_right_result(liars: int, seed: int) -> None:
    chance = random.Random(seed)
    fakes = [Fake(f"h{number}", owner=f"h{number}") for number in range(8)]
    fakes += [Fake(f"l{number}", owner=f"l{number}", answer="wrong") for number in range(liars)]
    chance.shuffle(fakes)
    order = tuple(fake.address for fake in fakes)
    world = World(fakes, Policy(first_round_replicas=chance.randint(1, 10), authorisation_order=order))
    task = world.deal(10)
    for _ in range(20_000):
        if not world.pending:
            if world.machine.tasks[task].is_final:
                break
            world.tick(1)
        else:
            world.obey(world.pending.pop(chance.randrange(len(world.pending))))
    state = world.machine.tasks[task]
    assert state.phase is Phase.COMPLETED
    assert state.facts.result_digest == digest_of("right")
    assert not world.given(BanWorker)
