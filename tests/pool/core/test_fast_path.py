"""Tasks of trust 1 that one worker contributes and finalizes in one transaction, and when that is not to be."""

from __future__ import annotations

from fairgrid.pool.core.events import ChainReconciled, UploadReported
from fairgrid.pool.core.instructions import (
    BanWorker,
    Finalize,
    RequestOpening,
    RequestUpload,
    SendAuthorisation,
    SendRevealNotice,
    VerifyUpload,
)
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.task_facts import ChainFacts
from fairgrid.protocol.views import TaskStatus
from tests.pool.fakes import Fake, digest_of, honest
from tests.pool.support import World


def _fast(name: str = "w", **changes: object) -> Fake:
    return Fake(name, owner=name, fast=True, **changes)  # type: ignore[arg-type]


def _authorised(world: World) -> list[bool]:
    return [sent.fast for sent in world.given(SendAuthorisation)]


def test_a_lone_worker_uploads_before_its_authorisation_and_ends_the_task_in_one_transaction() -> None:
    worker = _fast()
    world = World([worker])
    task = world.deal(1)
    world.run()
    (request,) = world.given(RequestUpload)
    assert request.early
    (check,) = world.given(VerifyUpload)
    assert check.digest == digest_of("right")
    assert world.log.index(check) < world.log.index(world.given(SendAuthorisation)[0])
    assert _authorised(world) == [True]
    state = world.machine.tasks[task]
    assert state.phase is Phase.COMPLETED and state.is_settled
    assert not [*world.given(Finalize), *world.given(SendRevealNotice), *world.given(RequestOpening)]
    assert world.machine.standings[worker.address].valid_in_a_row == 1


def test_a_worker_that_cannot_contributes_and_reveals_as_ever() -> None:
    world = World(honest(1))
    state = world.run_until_final(world.deal(1))
    assert state.phase is Phase.COMPLETED
    assert _authorised(world) == [False]
    assert [request.early for request in world.given(RequestUpload)] == [False]
    assert len(world.given(Finalize)) == 1


def test_a_pool_that_does_not_want_it_takes_the_slow_path() -> None:
    world = World([_fast()], Policy(fast_path=0))
    assert world.run_until_final(world.deal(1)).phase is Phase.COMPLETED
    assert _authorised(world) == [False]


def test_above_trust_1_nothing_leaves_before_consensus() -> None:
    world = World([_fast("a"), _fast("b")])
    assert world.run_until_final(world.deal(4)).phase is Phase.COMPLETED
    assert not any(request.early for request in world.given(RequestUpload))
    assert not any(_authorised(world))


def test_an_audited_task_takes_the_slow_path_and_is_compared() -> None:
    world = World([_fast("a"), _fast("b")], Policy(audit_share=1.0))
    state = world.run_until_final(world.deal(1))
    assert state.phase is Phase.COMPLETED and state.judged
    assert _authorised(world) == [False]
    assert not any(request.early for request in world.given(RequestUpload))


def test_who_opens_another_digest_than_it_sealed_is_banned_before_it_is_authorised() -> None:
    world = World([_fast(opens_as="other")])
    world.deal(1)
    world.run()
    assert len(world.given(BanWorker)) == 1
    assert not world.given(SendAuthorisation) and not world.given(VerifyUpload)


def test_who_uploads_other_bytes_than_it_sealed_is_banned_before_it_is_authorised() -> None:
    world = World([_fast(uploads_as="forged")])
    world.deal(1)
    world.run()
    assert len(world.given(BanWorker)) == 1
    assert not world.given(SendAuthorisation)


def test_an_upload_that_cannot_be_had_leads_to_the_slow_path() -> None:
    worker = _fast(uploads_as="gone")
    world = World([worker])
    task = world.deal(1)
    world.run()
    assert _authorised(world) == [False] and not world.given(BanWorker)
    worker.uploads_as = ""
    assert world.run_until_final(task).phase is Phase.COMPLETED


def test_a_worker_that_does_not_upload_is_authorised_for_the_slow_path_after_a_while() -> None:
    worker = _fast(uploads=False)
    world = World([worker])
    task = world.deal(1)
    world.run()
    world.tick(59)
    assert not world.given(SendAuthorisation)
    world.tick(1)
    assert _authorised(world) == [False]
    worker.uploads = True
    assert world.run_until_final(task).phase is Phase.COMPLETED


def test_who_finalizes_another_result_than_it_opened_is_banned() -> None:
    world = World([_fast(contributes="other")])
    task = world.deal(1)
    world.run()
    assert world.machine.tasks[task].phase is Phase.COMPLETED  # The hub asked nobody.
    (ban,) = world.given(BanWorker)
    assert "another result" in ban.reason


def test_who_contributes_only_is_finalized_with_the_upload_that_was_checked() -> None:
    worker = _fast()
    world = World([worker])
    world.on_send = lambda sent: isinstance(sent, SendAuthorisation) and sent.fast and _contributes(world, worker, sent)
    state = world.run_until_final(world.deal(1))
    assert state.phase is Phase.COMPLETED
    assert [end.cid for end in world.given(Finalize)] == ["cid:right"]
    assert len(world.given(VerifyUpload)) == 1


def test_an_upload_that_is_not_what_was_contributed_in_the_end_is_not_finalized() -> None:
    worker = _fast(contributes="other")
    world = World([worker])
    world.on_send = lambda sent: isinstance(sent, SendAuthorisation) and sent.fast and _contributes(world, worker, sent)
    world.deal(1)
    world.run()
    assert len(world.given(BanWorker)) == 1
    assert not world.given(Finalize)


def test_a_worker_that_comes_back_is_asked_again_and_told_again() -> None:
    worker = _fast(uploads=False)
    world = World([worker])
    task = world.deal(1)
    world.run()
    world.lose(worker)
    worker.uploads, worker.obeys_authorisation = True, False
    world.join(worker)
    world.run()
    assert [request.early for request in world.given(RequestUpload)] == [True, True]
    world.lose(worker)
    worker.obeys_authorisation = True
    world.join(worker)
    world.run()
    assert _authorised(world) == [True, True]
    assert world.machine.tasks[task].phase is Phase.COMPLETED


def test_a_restart_while_the_upload_is_checked_checks_it_again() -> None:
    worker = _fast()
    world = World([worker])
    world.on_send = lambda sent: isinstance(sent, VerifyUpload)
    task = world.deal(1)
    world.run()
    state = world.machine.tasks[task]
    again = World([], world.policy)
    outcome = again.machine.restore([state], [], in_flight=(), now=world.now)
    (check,) = [sent for sent in outcome.instructions if isinstance(sent, VerifyUpload)]
    assert check.digest == digest_of("right")


def test_a_reorganisation_that_takes_it_back_lets_the_same_worker_do_it_again() -> None:
    worker = _fast()
    world = World([worker])
    task = world.deal(1)
    world.run()
    world.chain[task] = ChainFacts(TaskStatus.ACTIVE)
    world.feed(ChainReconciled(task, world.chain[task]))
    assert world.machine.tasks[task].phase is Phase.CONTRIBUTING
    world.contribute_and_finalize(worker, task)
    world.run()
    assert world.machine.tasks[task].phase is Phase.COMPLETED
    assert not world.given(BanWorker)


def test_an_early_upload_that_nobody_asked_for_is_nothing() -> None:
    worker = Fake("w", owner="w", obeys_authorisation=False)
    world = World([worker])
    task = world.deal(1)
    world.run()
    (lease,) = worker.leases
    world.feed(UploadReported(worker.address, lease, task, "cid:right", "0x", digest_of("right"), worker.salt))
    assert not world.given(VerifyUpload)


def _contributes(world: World, worker: Fake, sent: SendAuthorisation) -> bool:
    world.contribute(worker, sent.task_id)
    return True
