"""`fairgrid worker` as the process that owners run: a real chain, a real storage, the real interpreter."""

from __future__ import annotations

import asyncio
import signal
import time

import psutil
import pytest

from fairgrid.chain.deploy import plan_contracts
from fairgrid.chain.interface import Call
from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.views import TaskStatus
from fairgrid.protocol.worker_messages import Contributed, LeaseFailed, Ready, Revealed, Seal
from fairgrid.worker.onchain.ownership import save_ownership, sign_ownership
from tests.worker.fake_pool import FakePool
from tests.worker.process.place import OWNER, Place, ends, network_file, start_options, worker


async def test_a_worker_waits_for_gas_and_begins_when_it_has_some(place: Place, pool: FakePool) -> None:
    address, options = start_options(place, pool)
    with worker(*options) as process:
        assert process.stdout is not None and process.stderr is not None
        error = process.stderr
        assert address in await asyncio.to_thread(lambda: next(line for line in error if "Waiting" in line))
        await place.fund(address)
        assert await asyncio.to_thread(process.stdout.readline) == f"ready {pool.url}\n"
        seconds, _ = await ends(process, signal.SIGTERM)
        assert process.returncode == 0 and seconds < 60


async def test_a_worker_computes_survives_kill_9_contributes_and_reveals(place: Place, pool: FakePool) -> None:
    address, options = start_options(place, pool)
    await place.fund(address)
    lease = await place.lease(b"print('hello', sum(range(1000)))")
    with worker(*options) as process:
        await pool.send(lease)
        seal = await pool.expect(Seal)
        process.kill()
    stdout = place.folder / "worker" / "tasks" / lease.task_id / "result" / "stdout.txt"
    assert stdout.read_text() == "hello 499500\n"
    pool.messages.clear()
    with worker(*options):
        assert (await pool.expect(Ready)).held[0].task_id == lease.task_id
        assert await pool.expect(Seal) == seal
        await pool.send(place.authorisation(lease, address))
        await pool.expect(Contributed)
        await pool.expect(Revealed)
        task = await place.chain.view_task(lease.task_id)
        assert (task.status, task.reveal_counter) == (TaskStatus.REVEALING, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_computing_hands_the_lease_back_and_leaves_no_process(
    place: Place, pool: FakePool, number: signal.Signals
) -> None:
    address, options = start_options(place, pool)
    await place.fund(address)
    lease = await place.lease(b"while True: pass")
    with worker(*options) as process:
        await pool.send(lease)
        children = psutil.Process(process.pid)
        await pool.until(lambda: "computing" in pool.phases and children.children(recursive=True))
        sandboxes = children.children(recursive=True)
        seconds, error = await ends(process, number)
        assert (process.returncode, seconds < 60) == (0, True), error
        assert "Traceback" not in error
    assert (await pool.expect(LeaseFailed)).task_id == lease.task_id
    assert not psutil.wait_procs(sandboxes, timeout=60)[1], "the sandbox died with the worker"


async def test_a_worker_with_time_to_stop_finishes_what_it_holds_and_ends_at_the_second_signal(
    place: Place, pool: FakePool
) -> None:
    address, options = start_options(place, pool)
    (place.folder / "worker" / "policy.toml").write_text("stop_within_s = 3600\n")
    await place.fund(address)
    lease = await place.lease(b"print(sum(range(3_000_000)))")
    other = await place.lease(b"print('another one')")
    with worker(*options) as process:
        await pool.send(lease)
        await pool.until(lambda: "computing" in pool.phases)
        process.send_signal(signal.SIGTERM)
        await pool.until(lambda: pool.heartbeats and pool.heartbeats[-1].free_slots == 0)
        await pool.send(other)
        assert (await pool.expect(LeaseFailed)).task_id == other.task_id
        assert (await pool.expect(Seal)).task_id == lease.task_id
        await pool.send(place.authorisation(lease, address))
        await pool.expect(Contributed)
        await pool.expect(Revealed)
        assert process.poll() is None
        seconds, error = await ends(process, signal.SIGTERM)
        assert (process.returncode, seconds < 60) == (0, True), error
    assert not pool.seen(LeaseFailed)


@pytest.mark.timeout(180)
async def test_a_worker_without_a_task_for_the_time_of_its_option_ends_by_itself(place: Place, pool: FakePool) -> None:
    address, options = start_options(place, pool)
    await place.fund(address)
    # Longer than a busy machine takes to start it: the time begins before it is enrolled.
    with worker(*options, "--idle-exit", "25s") as process:
        assert (await pool.expect(Ready)).free_slots == 1
        _, error = await asyncio.to_thread(process.communicate, None, 60)
        assert process.returncode == 0, error
        assert "Ends by itself: there was no task for 25 s" in error


async def test_a_worker_hands_back_what_it_did_not_finish_in_its_time_to_stop(place: Place, pool: FakePool) -> None:
    address, options = start_options(place, pool)
    (place.folder / "worker" / "policy.toml").write_text("stop_within_s = 2\n")
    await place.fund(address)
    lease = await place.lease(b"while True: pass")
    with worker(*options) as process:
        await pool.send(lease)
        await pool.until(lambda: "computing" in pool.phases)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert (await pool.expect(LeaseFailed)).task_id == lease.task_id
        assert time.monotonic() - began >= 2
        _, error = await asyncio.to_thread(process.communicate, None, 60)
        assert process.returncode == 0, error


async def test_a_chain_that_is_down_is_waited_for(place: Place) -> None:
    options = (
        "--network",
        network_file(place.network, place.folder, rpc="http://127.0.0.1:9"),
        "--dir",
        str(place.folder / "w"),
    )
    with worker("start", *options) as process:
        assert process.stderr is not None
        error = process.stderr
        assert "does not answer" in await asyncio.to_thread(lambda: next(line for line in error if "Waiting" in line))
        seconds, _ = await ends(process, signal.SIGTERM)
        assert process.returncode == 0 and seconds < 60


async def test_a_worker_behind_a_role_account_contributes_and_reveals_on_a_real_chain(
    place: Place, pool: FakePool
) -> None:
    hot, options = start_options(place, pool)
    factory = plan_contracts(OWNER.address)["role_accounts"].address
    terms = (OWNER.address, hot, 1, ZERO32)
    account = str(await place.chain.read("role_accounts", factory, "addressOf", *terms))
    await place.chain.transact(Call("role_accounts", factory, "create", terms), OWNER)
    await place.fund(account, wei=0)
    place.anvil.request("anvil_setBalance", hot, hex(10**18))
    network = place.network
    signed = sign_ownership(OWNER, account, network.pool_address, chain_id=network.chain_id, hub=network.hub)
    save_ownership(signed, place.folder / "worker" / "owner.json")
    lease = await place.lease(b"print('cold')")
    with worker(*options):
        await pool.send(lease)
        await pool.expect(Seal)
        await pool.send(place.authorisation(lease, account))
        await pool.expect(Contributed)
        await pool.expect(Revealed)
    task = await place.chain.view_task(lease.task_id)
    assert task.contributors == (account,) and task.reveal_counter == 1
    assert (await place.chain.view_account(hot)).stake == 0
