from __future__ import annotations

from fairgrid.pool.core.events import (
    EffectFailed,
    LeaseFailed,
    Tick,
    UploadReported,
)
from fairgrid.pool.core.instructions import (
    BanWorker,
    Claim,
    Finalize,
    Initialize,
    Instruction,
    Reopen,
    RequestUpload,
    SendAbort,
    SendLease,
    VerifyUpload,
)
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.policy import Policy
from tests.pool.fakes import Fake, address, honest
from tests.pool.support import TIMEREF, World

# --- uploads ------------------------------------------------------------------------------------------------------


def test_a_dishonest_uploader_is_banned_and_the_next_winner_asked() -> None:
    fakes = honest(4)
    order = tuple(fake.address for fake in fakes)
    fakes[0].uploads_as = "forged"
    world = World(fakes, Policy(authorisation_order=order))
    state = world.run_until_final(world.deal(10))
    assert state.phase is Phase.COMPLETED
    assert [request.worker for request in world.given(RequestUpload)] == [fakes[0].address, fakes[1].address]
    (ban,) = world.given(BanWorker)
    assert ban.worker == fakes[0].address
    assert world.given(Finalize)[0].cid == "cid:right"


def test_a_silent_uploader_is_passed_over_but_not_banned() -> None:
    fakes = honest(4)
    fakes[0].uploads = False
    world = World(fakes, Policy(authorisation_order=tuple(fake.address for fake in fakes)))
    task = world.deal(10)
    world.run()
    world.tick(59)
    assert len(world.given(RequestUpload)) == 1
    world.tick(1)
    assert world.run_until_final(task).phase is Phase.COMPLETED
    assert world.given(RequestUpload)[1].worker == fakes[1].address
    assert not world.given(BanWorker)


def test_an_upload_that_is_not_in_storage_is_no_lie_and_is_asked_again_after_a_pause() -> None:
    (worker,) = fakes = [Fake("w", owner="w", uploads_as="gone")]
    world = World(fakes)
    task = world.deal(1)
    world.run()
    assert len(world.given(RequestUpload)) == 1
    assert not world.given(BanWorker)
    worker.uploads_as = ""
    world.tick(1)
    assert len(world.given(RequestUpload)) == 1
    assert world.run_until_final(task).phase is Phase.COMPLETED


def test_the_only_winner_that_is_here_is_asked_again_after_a_pause_while_another_is_away() -> None:
    here, away = fakes = honest(2)
    here.uploads_as = "gone"
    world = World(fakes, Policy(authorisation_order=(here.address, away.address)))

    def lose(instruction: Instruction) -> bool:
        if isinstance(instruction, RequestUpload) and away.connected:
            world.lose(away)
        return False

    world.on_send = lose
    task = world.deal(4)
    world.run()
    assert len(world.given(RequestUpload)) == 1
    here.uploads_as = ""
    assert world.run_until_final(task).phase is Phase.COMPLETED
    assert [request.worker for request in world.given(RequestUpload)] == [here.address, here.address]


def test_an_upload_nobody_asked_for_is_not_looked_at() -> None:
    fakes = honest(4)
    fakes[0].uploads = False
    world = World(fakes, Policy(authorisation_order=tuple(fake.address for fake in fakes)))
    task = world.deal(10)
    world.run()
    other = world.given(SendLease, fakes[1])[0]
    world.feed(UploadReported(fakes[1].address, other.lease_id, task, "cid:right"))
    assert not world.given(VerifyUpload)


def test_nothing_is_finalized_before_all_winners_revealed_or_the_reveal_deadline_passed() -> None:
    fakes = honest(2)
    fakes[1].reveals = False
    world = World(fakes, Policy(authorisation_order=tuple(fake.address for fake in fakes)))
    task = world.deal(4)
    world.run()
    assert world.machine.tasks[task].upload.verified
    world.tick(2 * TIMEREF - 1)
    world.run()
    assert not world.given(Finalize)
    world.tick(1)
    assert len(world.given(Finalize)) == 1


def test_a_consensus_that_nobody_reveals_is_reopened_and_others_compute_the_task_anew() -> None:
    (silent,) = fakes = honest(1)
    silent.reveals = False
    world = World(fakes)
    task = world.deal(1)
    world.run()
    for fake in honest(1, "later"):
        world.fakes[fake.address] = fake
        world.join(fake)
    world.tick(2 * TIMEREF - 1)
    assert not world.given(Reopen)
    world.tick(1)
    assert world.machine.tasks[task].phase is Phase.REOPENING
    state = world.run_until_final(task)
    assert state.phase is Phase.COMPLETED
    assert (len(world.given(Reopen)), state.round) == (1, 1)
    assert {seen.worker for seen in state.facts.revealed()} == {fake.address for fake in honest(1, "later")}


def test_a_task_may_be_reopened_again_and_each_time_under_a_key_of_its_own() -> None:
    fakes = honest(2)
    for fake in fakes:
        fake.reveals = False
    world = World(fakes)
    task = world.deal(1)
    assert world.run_until_final(task).phase is Phase.FAILED
    assert [reopen.key for reopen in world.given(Reopen)] == [f"{task}/reopen/0", f"{task}/reopen/1"]


def test_a_refused_reopen_is_sent_again() -> None:
    (silent,) = fakes = honest(1)
    silent.reveals = False
    world = World(fakes)
    world.on_send = lambda instruction: isinstance(instruction, Reopen)
    task = world.deal(1)
    world.run()
    world.tick(2 * TIMEREF)
    world.feed(EffectFailed(task, "reopen", "nonce too low"))
    world.tick(2)
    assert len(world.given(Reopen)) == 2


def test_nobody_reveals_when_it_is_too_late_to_compute_anew_and_the_requester_is_refunded() -> None:
    (worker,) = fakes = [Fake("w", owner="w", reveals=False, seals=False)]
    world = World(fakes, Policy(seal_window_min_s=1_000, lease_ttl_s=1_000))
    task = world.deal(1)
    world.run()
    world.tick(6 * TIMEREF)
    world.seal(worker, world.given(SendLease)[0])
    world.run()
    world.tick(2 * TIMEREF)
    assert world.machine.tasks[task].phase is Phase.ABANDONED
    assert not world.given(Reopen)
    assert world.run_until_final(task).phase is Phase.FAILED


def test_a_task_on_which_too_many_replicas_fail_is_given_up_with_the_reason_and_refunded() -> None:
    fakes = [Fake(f"w{number}", owner=f"w{number}", seals=False) for number in range(4)]
    world = World(fakes, Policy(max_replicas_per_task=3))
    task = world.deal(1)
    world.run()
    for number in range(3):
        lease = world.given(SendLease)[number]
        world.feed(LeaseFailed(lease.worker, lease.lease_id, task, f"no disk left ({number})"))
    assert len(world.given(SendLease)) == 3
    state = world.machine.tasks[task]
    assert state.phase is Phase.ABANDONED
    assert state.story[-1].text == "abandoned: 3 replicas failed; the last one: no disk left (2)."
    assert world.run_until_final(task).phase is Phase.FAILED


def test_a_task_on_which_somebodys_stake_depends_is_not_given_up_for_failed_replicas() -> None:
    good = honest(1)
    bad = [Fake(f"w{number}", owner=f"w{number}", seals=False) for number in range(3)]
    world = World(good, Policy(max_replicas_per_task=2))
    task = world.deal(4)
    world.run()
    world.contribute(good[0], task)
    for fake in bad:
        world.fakes[fake.address] = fake
        world.join(fake)
    for _ in range(3):
        lease = world.given(SendLease)[-1]
        if lease.worker != good[0].address:
            world.feed(LeaseFailed(lease.worker, lease.lease_id, task, "broken"))
    assert world.machine.tasks[task].phase is Phase.SEALING


def test_a_callback_deal_is_finalized_with_the_callbacks_bytes() -> None:
    (worker,) = fakes = [Fake("w", owner="w", uploads=False)]
    world = World(fakes)
    task = world.deal(1, callback=address("oracle"))
    world.run()
    request = world.given(RequestUpload)[0]
    world.feed(UploadReported(worker.address, request.lease_id, task, "cid:right", "0xabcd"))
    (verify,) = world.given(VerifyUpload)
    assert verify.has_callback and verify.callback_data == "0xabcd"
    world.run_until_final(task)
    assert world.given(Finalize)[0].results_callback == "0xabcd"


def test_callback_bytes_of_a_deal_without_callback_do_not_reach_the_chain() -> None:
    (worker,) = fakes = [Fake("w", owner="w", uploads=False)]
    world = World(fakes)
    task = world.deal(1)
    world.run()
    request = world.given(RequestUpload)[0]
    world.feed(UploadReported(worker.address, request.lease_id, task, "cid:right", "0xabcd"))
    world.run_until_final(task)
    assert world.given(Finalize)[0].results_callback == "0x"


# --- refunds ------------------------------------------------------------------------------------------------------


def test_a_round_that_cannot_be_filled_waits_for_workers_and_goes_on_when_they_come() -> None:
    world = World(honest(1))
    task = world.deal(4)
    world.run()
    world.tick(3 * TIMEREF)
    assert world.machine.tasks[task].phase is Phase.SEALING
    for fake in honest(1, "late comer"):
        world.fakes[fake.address] = fake
        world.join(fake)
    assert world.run_until_final(task).phase is Phase.COMPLETED


def test_without_enough_workers_the_task_is_abandoned_and_claimed_exactly_at_the_final_deadline() -> None:
    (worker,) = fakes = honest(1)
    world = World(fakes)
    task = world.deal(4)
    world.run()
    world.tick(7 * TIMEREF)
    assert world.machine.tasks[task].phase is Phase.ABANDONED
    assert world.given(SendAbort, worker)
    world.tick(3 * TIMEREF - 1)
    assert not world.given(Claim)
    world.tick(1)
    world.run()
    assert len(world.given(Claim)) == 1
    assert world.machine.tasks[task].phase is Phase.FAILED


def test_a_task_that_was_never_initialised_is_initialised_and_claimed() -> None:
    world = World([])
    world.on_send = lambda instruction: isinstance(instruction, Initialize) and world.chain_time < 1_000_600
    task = world.deal(1)
    world.run()
    world.feed(EffectFailed(task, "initialize", "no gas"))
    world.tick(10 * TIMEREF)
    world.run()
    assert [type(instruction) for instruction in world.log] == [Initialize, Initialize, Claim]
    assert world.machine.tasks[task].phase is Phase.FAILED


def test_a_deal_this_pool_cannot_serve_is_only_refunded() -> None:
    world = World(honest(1))
    task = world.deal(1, refusal="It asks for a trusted execution environment.")
    world.run()
    assert not world.log
    world.tick(10 * TIMEREF)
    world.run()
    assert [type(instruction) for instruction in world.log] == [Initialize, Claim]
    assert "trusted execution environment" in world.machine.story(task)[1].text


def test_a_consensus_seen_after_the_contribution_deadline_still_completes() -> None:
    (worker,) = fakes = [Fake("w", owner="w", obeys_authorisation=False)]
    world = World(fakes, Policy(authorisation_timeout_s=10_000))
    task = world.deal(1)
    world.run()
    # The contribution is mined in time, but the pool hears of it late.
    world.tick(7 * TIMEREF - 1)
    late = world.machine.tasks[task].deal.contribution_deadline
    world.now += 5
    world.feed(Tick(late + 4))
    assert world.machine.tasks[task].phase is Phase.ABANDONED
    world.contribute(worker, task)
    assert world.run_until_final(task).phase is Phase.COMPLETED
