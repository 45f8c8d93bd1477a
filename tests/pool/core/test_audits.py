"""Silent audits in the scheduler: sealed, never authorised, compared after the consensus; and what follows from it."""

from __future__ import annotations

import pytest

from fairgrid.pool.core.events import ChainReconciled, ConsensusReached, RevealMined, TaskFinalized
from fairgrid.pool.core.instructions import (
    Finalize,
    Instruction,
    PayAuditor,
    RequestOpening,
    SendAuthorisation,
    SendLease,
)
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.standing import Standing
from fairgrid.protocol.views import TaskStatus
from tests.pool.fakes import Fake, address, honest
from tests.pool.support import World

EVERYTHING = Policy(audit_share=1.0)


def liar(answer: str = "wrong", name: str = "liar") -> Fake:
    return Fake(name, owner=name, answer=answer)


def standing(world: World, fake: Fake) -> Standing:
    return world.machine.standings.get(fake.address, Standing(fake.address, address(fake.owner)))


def join_later(world: World, *fakes: Fake) -> None:
    """Have these come when the first two workers have their leases."""
    world.run()
    for fake in fakes:
        world.fakes[fake.address] = fake
        world.join(fake)


def contributes(fake: Fake, **policy: float) -> Policy:
    """A policy that audits everything and lets this worker contribute."""
    return Policy(audit_share=1.0, authorisation_order=(fake.address,), **policy)  # type: ignore[arg-type]


# --- the audit is silent ------------------------------------------------------------------------------------------


def test_an_auditor_seals_is_never_authorised_and_opens_only_after_the_consensus() -> None:
    world = World(honest(2), EVERYTHING)
    task = world.deal(1)
    seen: list[TaskStatus] = []

    def note_the_chains_status(instruction: Instruction) -> bool:
        if isinstance(instruction, RequestOpening):
            seen.append(world.chain[task].status)
        return False

    world.on_send = note_the_chains_status
    state = world.run_until_final(task)
    assert state.phase is Phase.COMPLETED
    assert len(world.given(SendLease)) == 2
    (authorised,) = world.given(SendAuthorisation)
    opened = {request.worker for request in world.given(RequestOpening)}
    assert opened == set(world.fakes)
    assert set(seen) == {TaskStatus.REVEALING}
    (auditor,) = [replica for replica in state.replicas if replica.worker != authorised.worker]
    assert (auditor.phase, auditor.opened) == (ReplicaPhase.DISMISSED, True)
    assert {replica.seal != "" for replica in state.replicas} == {True}


def test_leases_of_contributor_and_auditor_look_the_same() -> None:
    world = World(honest(2), EVERYTHING)
    world.deal(1)
    world.run()
    first, second = world.given(SendLease)
    unlike = {"worker", "lease_id"}
    assert {name for name in first.__struct_fields__ if getattr(first, name) != getattr(second, name)} == unlike


def test_without_an_audit_share_one_worker_computes_a_task_of_trust_1() -> None:
    world = World(honest(3), Policy())
    world.run_until_final(world.deal(1))
    assert len(world.given(SendLease)) == 1


def test_when_nobody_else_is_there_the_task_goes_on_unaudited_after_the_fill_wait() -> None:
    (only,) = honest(1)
    world = World([only], EVERYTHING)
    task = world.deal(1)
    world.run()
    assert not world.given(SendAuthorisation)
    state = world.run_until_final(task)
    assert state.phase is Phase.COMPLETED
    assert len(world.given(SendLease)) == 1


def test_proven_workers_are_audited_as_often_as_the_policy_says_and_newcomers_always() -> None:
    fakes = honest(6)
    world = World(fakes, Policy(audit_share=0.2, proven_after=2))
    for number in range(120):
        world.run_until_final(world.deal(1, name=f"deal{number}"))
    tasks = list(world.machine.tasks.values())
    late = [task.extra for task in tasks[60:]]
    assert tasks[0].extra == 1, "a newcomer's"
    assert 0 < sum(late) < 30
    assert all(standing(world, fake).valid_in_a_row > 2 for fake in fakes)


def test_which_tasks_are_audited_hangs_on_the_pools_secret() -> None:
    from fairgrid.pool.core.machine import PoolMachine

    def drawn(secret: bytes) -> list[int]:
        world = World([], EVERYTHING)
        world.machine = PoolMachine(
            world.machine._book.identity, Policy(audit_share=0.5, proven_after=1), secret=secret
        )
        world.tick()
        fakes = honest(4)
        world.fakes = {fake.address: fake for fake in fakes}
        for fake in fakes:
            world.join(fake)
        for number in range(30):
            world.run_until_final(world.deal(1, name=f"deal{number}"))
        return [task.extra for task in world.machine.tasks.values()][8:]

    assert drawn(b"one") == drawn(b"one") != drawn(b"two")


def test_beside_a_proven_worker_a_newcomer_never_contributes() -> None:
    veteran, newcomer = Fake("veteran", owner="veteran"), Fake("newcomer", owner="newcomer")
    world = World([veteran], Policy(audit_share=0.01, proven_after=1))
    for number in range(4):
        world.run_until_final(world.deal(1, name=f"before{number}"))
    world.fakes[newcomer.address] = newcomer
    world.join(newcomer)
    before = len(world.given(SendAuthorisation))
    for number in range(3):
        world.run_until_final(world.deal(1, name=f"after{number}"))
        if standing(world, newcomer).valid_in_a_row:
            break
    authorised = [instruction.worker for instruction in world.given(SendAuthorisation)[before:]]
    assert newcomer.address not in authorised
    assert standing(world, newcomer).valid == 1, "its silent replica counts"


# --- who differs --------------------------------------------------------------------------------------------------


def test_a_lying_contributor_is_disproved_by_auditor_and_arbiter_and_never_finalized() -> None:
    bad = liar()
    good = honest(2)
    world = World([bad, good[0]], contributes(bad))
    task = world.deal(1, price=1_000)
    join_later(world, good[1])
    state = world.run_until_final(task)
    assert state.disproved and state.phase is Phase.FAILED, "the requester is refunded"
    assert not world.given(Finalize)
    assert [instruction.worker for instruction in world.given(SendAuthorisation)] == [bad.address]
    assert standing(world, bad).disproved == 1
    assert {standing(world, fake).valid for fake in good} == {1}
    assert {standing(world, fake).owed_nrlc for fake in good} == {500}
    assert sum(replica.arbiter for replica in state.replicas) == 1


def test_a_lying_auditor_is_quarantined_and_the_honest_contributor_is_paid() -> None:
    bad, (good, arbiter) = liar(), honest(2)
    world = World([bad, good], contributes(good))
    task = world.deal(1)
    join_later(world, arbiter)
    state = world.run_until_final(task)
    assert state.phase is Phase.COMPLETED and not state.disproved
    assert standing(world, bad).disproved == 1 and standing(world, good).valid == 1
    assert bad.address not in world.machine.bans, "quarantine ends, a ban does not"


def test_who_is_in_quarantine_gets_no_work_until_it_is_over() -> None:
    bad, good = liar(), honest(2)
    world = World([bad, good[0]], contributes(good[0], first_quarantine_s=500.0))
    task = world.deal(1)
    join_later(world, good[1])
    world.run_until_final(task)
    assert standing(world, bad).disproved == 1
    leases = len(world.given(SendLease, bad))
    until = standing(world, bad).quarantined_until
    world.run_until_final(world.deal(1, name="next"))
    assert world.now < until and len(world.given(SendLease, bad)) == leases
    world.tick(until - world.now)
    for fake in good:
        world.lose(fake)
    world.deal(1, name="afterwards")
    world.run()
    assert len(world.given(SendLease, bad)) == leases + 1


def test_an_auditor_that_does_not_open_its_seal_counts_as_differing() -> None:
    good, silent = Fake("good", owner="good"), Fake("silent", owner="silent", opens=False)
    world = World([good, silent], contributes(good, opening_timeout_s=20.0))
    state = world.run_until_final(world.deal(1))
    assert state.phase is Phase.COMPLETED
    assert standing(world, silent).disproved == 1 and standing(world, good).valid == 1
    assert silent.address not in world.machine.bans
    assert state.is_settled


def test_an_auditor_whose_opening_is_not_what_it_sealed_is_banned_with_the_evidence() -> None:
    good, other = Fake("good", owner="good"), Fake("other", owner="other", opens_as="something else")
    world = World([good, other], contributes(good))
    state = world.run_until_final(world.deal(1))
    assert state.phase is Phase.COMPLETED
    assert other.address in world.machine.bans


def test_if_no_two_agree_the_chains_consensus_counts_and_nobody_is_blamed() -> None:
    fakes = [liar(f"answer {number}", f"w{number}") for number in range(6)]
    world = World(fakes, contributes(fakes[0]))
    state = world.run_until_final(world.deal(1))
    assert state.phase is Phase.COMPLETED
    assert sum(replica.arbiter for replica in state.replicas) == world.policy.max_arbiters
    assert all(standing(world, fake).disproved == 0 for fake in fakes)


def test_without_an_arbiter_the_dispute_ends_by_itself_and_nothing_hangs() -> None:
    bad, good = liar(), Fake("good", owner="good")
    world = World([bad, good], contributes(good, dispute_wait_s=60.0))
    state = world.run_until_final(world.deal(1))
    assert state.phase is Phase.COMPLETED and state.judged
    assert standing(world, bad).disproved == 0


def test_an_arbiter_that_disappears_is_replaced_by_another() -> None:
    bad, good = liar(), honest(3)
    world = World([bad, good[0]], contributes(bad))
    task = world.deal(1)
    world.run()
    gone: list[str] = []

    def lose_the_first_arbiter(instruction: object) -> bool:
        if isinstance(instruction, SendLease) and len(world.given(SendLease)) >= 3 and not gone:
            gone.append(instruction.worker)
            world.lose(world.fakes[instruction.worker])
            return True
        return False

    world.on_send = lose_the_first_arbiter
    join_later(world, *good[1:])
    state = world.run_until_final(task)
    assert gone and state.disproved
    assert [replica.phase for replica in state.replicas if replica.worker == gone[0]] != [ReplicaPhase.DISMISSED]


def test_above_trust_1_a_liar_that_the_chain_rejected_loses_its_record_too() -> None:
    bad, good = liar(), honest(6)
    world = World([bad, *good], Policy(first_round_replicas=7, authorisation_order=(bad.address,)))
    state = world.run_until_final(world.deal(4))
    assert state.phase is Phase.COMPLETED
    assert standing(world, bad).disproved == 1
    assert all(standing(world, fake).disproved == 0 for fake in good)


def test_audits_above_trust_1_compare_those_that_were_not_needed() -> None:
    world = World(honest(6), EVERYTHING)
    state = world.run_until_final(world.deal(4))
    assert len(world.given(SendLease)) == 3 and len(world.given(SendAuthorisation)) == 2
    assert sum(replica.opened for replica in state.replicas) == 3


# --- records ------------------------------------------------------------------------------------------------------


def test_a_task_counts_once_in_the_record_however_often_the_chain_says_it() -> None:
    (worker,) = honest(1)
    world = World([worker], Policy())
    task = world.deal(1, price=5_000_000)
    world.run_until_final(task)
    world.feed(TaskFinalized(task))
    world.feed(ChainReconciled(task, world.chain[task]))
    assert standing(world, worker).valid == 1
    assert standing(world, worker).paid == {address("requester"): 5_000_000}


@pytest.mark.parametrize("missed", [ConsensusReached, RevealMined])
def test_an_end_whose_reasons_were_missed_blames_nobody_until_the_chain_is_asked(missed: type) -> None:
    (worker,) = honest(1)
    world = World([worker], Policy(fast_path=0))
    feed = world.feed
    world.feed = lambda event: () if isinstance(event, missed) else feed(event)  # type: ignore[method-assign]
    task = world.deal(1, price=5_000_000)
    world.run()
    if missed is ConsensusReached:
        world.reveal(worker, task)
    world._set(task, status=TaskStatus.COMPLETED)
    world.feed(TaskFinalized(task))
    assert world.machine.tasks[task].phase is not Phase.COMPLETED
    assert (standing(world, worker).disproved, standing(world, worker).valid) == (0, 0)
    world.feed(ChainReconciled(task, world.chain[task]))
    assert world.machine.tasks[task].phase is Phase.COMPLETED
    assert (standing(world, worker).disproved, standing(world, worker).valid) == (0, 1)


def test_changed_records_come_with_the_outcome_to_be_stored_and_restored() -> None:
    from fairgrid.pool.core.machine import PoolMachine

    bad, good = liar(), honest(2)
    world = World([bad, good[0]], contributes(bad))
    stored: dict[str, Standing] = {}
    handle = world.machine.handle

    def keeping(event: object, *, now: float) -> object:
        outcome = handle(event, now=now)  # type: ignore[arg-type]
        stored.update((standing.worker, standing) for standing in outcome.standings)
        return outcome

    world.machine.handle = keeping  # type: ignore[method-assign,assignment]
    task = world.deal(1)
    join_later(world, good[1])
    world.run_until_final(task)
    assert standing(world, bad).disproved == 1
    assert stored == dict(world.machine.standings)
    again = PoolMachine(world.machine._book.identity, world.policy)
    again.restore([], [], standings=stored.values(), in_flight=(), now=world.now)
    assert again.standings == world.machine.standings


@pytest.mark.parametrize("faults", [1, 3])
def test_faults_shrink_the_quota_of_a_worker(faults: int) -> None:
    lazy = Fake("lazy", owner="lazy", seals=False)
    world = World([lazy], Policy(quota_after_fault=8))
    for number in range(faults):
        world.deal(1, name=f"deal{number}")
        world.run()
        world.tick(61)
        world.tick(400)
    assert standing(world, lazy).faults == faults
    assert standing(world, lazy).quota == 8 >> (faults - 1)


def test_an_auditor_is_paid_when_it_is_owed_enough_and_every_payment_has_a_number() -> None:
    world = World([Fake("a", owner="a"), Fake("b", owner="b")], Policy(audit_share=1.0, audit_payment_nrlc=80))
    for number in range(4):
        world.deal(1, name=f"deal {number}", price=100)
        world.run()
    payments = world.given(PayAuditor)
    assert sum(payment.amount_nrlc for payment in payments) == 200 - sum(
        standing.owed_nrlc for standing in world.machine.standings.values()
    )
    assert payments and all(payment.amount_nrlc >= 80 for payment in payments)
    for worker in {payment.worker for payment in payments}:
        numbers = [payment.number for payment in payments if payment.worker == worker]
        assert numbers == list(range(len(numbers)))
        paid = sum(payment.amount_nrlc for payment in payments if payment.worker == worker)
        assert (world.machine.standings[worker].payments, world.machine.standings[worker].paid_nrlc) == (
            len(numbers), paid
        )  # fmt: skip


def test_a_pool_that_does_not_pay_writes_down_what_it_owes() -> None:
    world = World([Fake("a", owner="a"), Fake("b", owner="b")], Policy(audit_share=1.0, audit_payment_nrlc=0))
    world.deal(1, price=100)
    world.run()
    assert not world.given(PayAuditor)
    assert sum(standing.owed_nrlc for standing in world.machine.standings.values()) == 50
