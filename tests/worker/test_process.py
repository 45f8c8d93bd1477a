"""`fairgrid worker` as the process that owners run: a real chain, a real storage, the real interpreter."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.deploy import Deployment, deploy, plan_contracts
from fairgrid.chain.interface import Call
from fairgrid.chain.network import Network, save_network
from fairgrid.cli.main import main
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, checksum
from fairgrid.protocol.manifest import FileRef, Manifest, Resources, params_for
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.pool_messages import Authorisation, Lease
from fairgrid.protocol.typed_data import Domain, order_typed_data
from fairgrid.protocol.views import TaskStatus
from fairgrid.protocol.worker_messages import Contributed, LeaseFailed, Ready, Revealed, Seal
from fairgrid.runtime.wasm.interpreters import (
    default_runtime_id,
    install_interpreter,
    interpreter_cid,
    interpreter_sha256,
)
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.keys import dev_signer
from fairgrid.wallet.keystore import open_or_create_key, save_keystore
from fairgrid.worker.onchain.ownership import save_ownership, sign_ownership
from fairgrid.worker.records.store import WorkerStore
from fairgrid.worker.setup.opening import DATABASE_NAME, NETWORK_NAME, exclusive
from tests.worker.fake_pool import FakePool
from tests.worker.machine_kit import TO_CONTRIBUTED, fed, record

OWNER = dev_signer(0)
STAKE = 30
_created = 0


@dataclass
class Place:
    """A deployed chain with app and workerpool, a storage, and a folder."""

    anvil: AnvilProcess
    chain: JsonRpcChain
    storage: StorageClient
    network: Network
    app: str
    folder: Path

    async def lease(self, script: bytes) -> Lease:
        """A task that runs ``script`` on no input, as a lease."""
        global _created
        _created += 1
        salt = f"0x{_created:064x}"
        name = FileRef("job.py", await self.storage.add_bytes(script), len(script))
        manifest = Manifest(script=name, runtime=default_runtime_id(), resources=Resources(fuel=300 * 10**9))
        params = params_for(self.network.storage, await self.storage.add_bytes(manifest.to_bytes()))
        pool = self.network.pool_address
        request = RequestOrder(
            self.app,
            0,
            ZERO_ADDRESS,
            0,
            pool,
            100,
            OWNER.address,
            1,
            beneficiary=OWNER.address,
            params=params,
            salt=salt,
        )
        orders = (
            self._signed(AppOrder(self.app, 0, 1, salt=salt)),
            NULL_DATASET_ORDER,
            self._signed(WorkerpoolOrder(pool, 100, 1, trust=1, salt=salt)),
            self._signed(request),
        )
        receipt = await self.chain.transact(calls.match_orders(self.chain.hub, *orders), OWNER)
        deal_id = next(str(event.arguments["dealid"]) for event in receipt.events if event.name == "OrdersMatched")
        await self.chain.transact(calls.initialize(self.chain.hub, deal_id, 0), OWNER)
        return Lease(f"l{_created}", deal_id, ids.task_id(deal_id, 0), 0, 0, 30.0)

    def _signed(self, order: Order) -> Any:
        domain = Domain(self.network.chain_id, self.network.hub)
        return order.signed(OWNER.sign_typed_data(order_typed_data(order, domain)))

    def authorisation(self, lease: Lease, worker: str) -> Authorisation:
        """The scheduler's signature."""
        signature = OWNER.sign_message(ids.authorisation_message(worker, lease.task_id))
        return Authorisation(lease.lease_id, lease.task_id, ZERO_ADDRESS, signature)

    async def fund(self, address: str, *, wei: int = 10**18, deposit: int = 1_000) -> None:
        """Give coins and a deposit."""
        self.anvil.request("anvil_setBalance", address, hex(wei))
        await self.chain.transact(calls.deposit_for(self.chain.hub, deposit, address), OWNER)


@pytest.fixture(scope="module")
def deployment(module_anvil: AnvilProcess) -> Deployment:
    install_interpreter(default_runtime_id())
    return asyncio.run(deploy(module_anvil.rpc_url))


@pytest.fixture(scope="module")
def storage_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    command = [sys.executable, "-m", "fairgrid", "storage", "start", "--port", "0", "--dir"]
    process = subprocess.Popen(
        [*command, str(tmp_path_factory.mktemp("storage"))],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    yield process.stdout.readline().split()[1]
    process.terminate()
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def assets(module_anvil: AnvilProcess, deployment: Deployment) -> tuple[str, str]:
    """App and workerpool."""

    async def make() -> tuple[str, str]:
        chain = JsonRpcChain(module_anvil.rpc_url, chain_id=deployment.chain_id, hub=deployment.hub, rlc=deployment.rlc)
        async with chain:
            await chain.transact(calls.approve(deployment.rlc, deployment.hub, 10**12), OWNER)
            await chain.transact(calls.deposit(deployment.hub, 10**9), OWNER)
            app = calls.create_app(
                deployment.app_registry,
                OWNER.address,
                default_runtime_id(),
                "WASM",
                f"/ipfs/{interpreter_cid(default_runtime_id())}".encode(),
                interpreter_sha256(default_runtime_id()),
            )
            app_address = await _created_address(chain, app)
            pool = calls.create_workerpool(deployment.workerpool_registry, OWNER.address, "test pool")
            pool_address = await _created_address(chain, pool)
            await chain.transact(calls.change_policy(pool_address, stake_ratio=STAKE, scheduler_ratio=10), OWNER)
            return app_address, pool_address

    return asyncio.run(make())


async def _created_address(chain: JsonRpcChain, call: Any) -> str:
    receipt = await chain.transact(call, OWNER)
    transfer = next(event for event in receipt.events if event.name == "Transfer")
    return checksum(f"0x{int(transfer.arguments['tokenId']):040x}")


@pytest.fixture
def network(module_anvil: AnvilProcess, deployment: Deployment, storage_url: str, assets: tuple[str, str]) -> Network:
    return Network(
        name="test",
        chain_id=deployment.chain_id,
        rpc=module_anvil.rpc_url,
        hub=deployment.hub,
        hub_code_hash=deployment.hub_code_hash,
        rlc=deployment.rlc,
        market="http://127.0.0.1:1",
        storage=storage_url,
        pool="http://127.0.0.1:1",
        pool_address=assets[1],
    )


@pytest.fixture
async def place(
    module_anvil: AnvilProcess, network: Network, assets: tuple[str, str], tmp_path: Path
) -> AsyncIterator[Place]:
    async with await JsonRpcChain.connect(network) as chain, StorageClient(network.storage) as storage:
        yield Place(module_anvil, chain, storage, network, assets[0], tmp_path)


@pytest.fixture
async def pool(place: Place) -> AsyncIterator[FakePool]:
    network = place.network
    async with FakePool(chain_id=network.chain_id, hub=network.hub, workerpool=network.pool_address) as opened:
        yield opened


@contextlib.contextmanager
def worker(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`fairgrid worker …`, killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fairgrid", "worker", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


def network_file(network: Network, folder: Path, **change: Any) -> str:
    """A network file, with changes."""
    path = folder / "net.json"
    save_network(replace(network, **change), path)
    return str(path)


def run_worker(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command that ends by itself, run in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["worker", *arguments])
    captured = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.out, " ".join(captured.err.split())


async def _ends(process: subprocess.Popen[str], number: signal.Signals) -> tuple[float, str]:
    """Seconds until the process ended after a signal, and its stderr."""
    began = time.monotonic()
    process.send_signal(number)
    _, error = await asyncio.to_thread(process.communicate, None, 20)
    return time.monotonic() - began, error


async def test_a_worker_waits_for_gas_and_begins_when_it_has_some(place: Place, pool: FakePool) -> None:
    address, options = start_options(place, pool)
    with worker(*options) as process:
        assert process.stdout is not None and process.stderr is not None
        error = process.stderr
        assert address in await asyncio.to_thread(lambda: next(line for line in error if "Waiting" in line))
        await place.fund(address)
        assert await asyncio.to_thread(process.stdout.readline) == f"ready {pool.url}\n"
        seconds, _ = await _ends(process, signal.SIGTERM)
        assert process.returncode == 0 and seconds < 60


async def test_a_worker_computes_survives_kill_9_contributes_and_reveals(place: Place, pool: FakePool) -> None:
    address, options = start_options(place, pool)
    await place.fund(address)
    lease = await place.lease(b"print('hello', sum(range(1000)))")
    with worker(*options) as process:
        await pool.send(lease)
        seal = await pool.expect(Seal, timeout_s=40)
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


def start_options(place: Place, pool: FakePool) -> tuple[str, tuple[str, ...]]:
    """A new worker's address, and how to start it at ``pool``."""
    folder = place.folder / "worker"
    options = ("--network", network_file(place.network, place.folder), "--dir", str(folder), "--pool", pool.url)
    return open_or_create_key(folder).address, ("start", *options)


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
        seconds, error = await _ends(process, number)
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
        seconds, error = await _ends(process, signal.SIGTERM)
        assert (process.returncode, seconds < 60) == (0, True), error
    assert not pool.seen(LeaseFailed)


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
        seconds, _ = await _ends(process, signal.SIGTERM)
        assert process.returncode == 0 and seconds < 60


def test_a_lie_is_refused_before_anything_is_opened_on_a_real_chain(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--network", network_file(network, tmp_path, chain_id=1), "--dir", str(tmp_path / "w"))
    code, out, error = run_worker(capsys, "start", *options, "--misbehave", "flip-byte")
    assert (code, out) == (2, "") and "local test chain" in error
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        ({"chain_id": 1}, 2, "is on chain 31337"),
        ({"hub_code_hash": "0x" + "00" * 32}, 5, "not what the network"),
        ({"hub": ZERO_ADDRESS}, 2, "no contract"),
        ({"pool": "pool"}, 2, "not a pool's address"),
    ],
)
def test_a_network_file_that_does_not_hold_is_refused(
    network: Network,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    code: int,
    word: str,
) -> None:
    options = ("--network", network_file(network, tmp_path, **change), "--dir", str(tmp_path / "w"))
    found, out, error = run_worker(capsys, "start", *options)
    assert (found, out) == (code, "") and word in error


def test_a_missing_network_file_a_bad_policy_or_an_open_key_is_refused(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "w"
    code, _, error = run_worker(capsys, "start", "--network", str(tmp_path / "none"), "--dir", str(folder))
    assert code == 2 and "There is no network" in error
    options = ("--network", network_file(network, tmp_path), "--dir", str(folder))
    open_or_create_key(folder)
    (folder / "policy.toml").write_text("max_steak = 1")
    code, _, error = run_worker(capsys, "start", *options)
    assert code == 2 and "max_steak" in error
    (folder / "keystore.json").chmod(0o644)
    code, _, error = run_worker(capsys, "start", *options)
    assert code == 2 and "chmod" in error


def test_a_second_worker_in_the_same_folder_is_refused(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "w"
    with exclusive(folder):
        code, _, error = run_worker(capsys, "start", "--network", network_file(network, tmp_path), "--dir", str(folder))
    assert code == 2 and "Another worker runs" in error


def test_a_folder_of_another_hub_is_refused(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "w"
    address = open_or_create_key(folder).address
    store = WorkerStore.open(folder / DATABASE_NAME)
    store.bind(chain_id=31337, hub=ZERO_ADDRESS, worker=address)
    store.close()
    code, _, error = run_worker(capsys, "start", "--network", network_file(network, tmp_path), "--dir", str(folder))
    assert code == 2 and "belongs to hub" in error


def test_status_shows_what_is_held_and_the_account_on_chain(
    network: Network, module_anvil: AnvilProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = open_or_create_key(tmp_path).address
    module_anvil.request("anvil_setBalance", address, hex(7))
    save_network(network, tmp_path / NETWORK_NAME)
    store = WorkerStore.open(tmp_path / DATABASE_NAME)
    store.apply([record(fed(TO_CONTRIBUTED))])
    store.close()
    code, out, _ = run_worker(capsys, "status", "--dir", str(tmp_path), "--json")
    status = json.loads(out)
    assert code == 0
    assert [held["phase"] for held in status["held"]] == ["contributed"]
    assert (status["chain"]["gasWei"], status["chain"]["stake"], status["chain"]["score"]) == (7, 0, 0)
    assert "contributed" in run_worker(capsys, "status", "--dir", str(tmp_path))[2]


def test_status_of_a_chain_that_is_down_shows_the_rest(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = open_or_create_key(tmp_path).address
    save_network(replace(network, rpc="http://127.0.0.1:9"), tmp_path / NETWORK_NAME)
    code, out, _ = run_worker(capsys, "status", "--dir", str(tmp_path), "--json")
    status = json.loads(out)
    assert code == 0
    assert (status["address"], status["chain"]) == (address, None) and "does not answer" in status["chainMessage"]


def test_status_without_a_worker_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, error = run_worker(capsys, "status", "--dir", str(tmp_path))
    assert (code, out) == (2, "") and "worker init" in error
    assert os.listdir(tmp_path) == []


def test_init_twice_shows_the_same_address_and_what_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run_worker(capsys, "init", "--dir", str(tmp_path / "w"), "--json")
    document = json.loads(out)
    code, _, shown = run_worker(capsys, "init", "--dir", str(tmp_path / "w"))
    assert code == 0 and document["address"] in shown
    assert document["address"] == open_or_create_key(tmp_path / "w").address and len(document["needs"]) == 3


def test_an_owner_far_away_enrols_a_worker_and_the_worker_takes_only_that_account(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hot, folder = open_or_create_key(tmp_path / "w").address, tmp_path / "w"
    save_keystore(OWNER, tmp_path / "cold.json", "secret", scrypt_n=1 << 12)
    (tmp_path / "password").write_text("secret\n")
    out = folder / "owner.json"
    options: tuple[str, ...] = (
        "enrol",
        "--operator",
        hot,
        "--network",
        network_file(network, tmp_path),
        "--out",
        str(out),
    )
    options += (
        "--keystore",
        str(tmp_path / "cold.json"),
        "--password-file",
        str(tmp_path / "password"),
        "--yes",
        "--json",
    )
    code, text, error = run_worker(capsys, *options)
    assert code == 2 and "--create" in (text + error) and not out.exists()
    code, text, _ = run_worker(capsys, *options, "--create")
    first = json.loads(text)
    assert (code, first["created"], first["operator"], first["owner"]) == (0, True, hot, OWNER.address)
    code, text, _ = run_worker(capsys, *options, "--create")
    assert json.loads(text)["roleAccount"] == first["roleAccount"] and json.loads(text)["created"] is False
    start = ("start", "--network", network_file(network, tmp_path), "--dir", str(folder))
    code, _, error = run_worker(capsys, *start, "--owner-account", ZERO_ADDRESS)
    assert code == 2 and first["roleAccount"] in error
    code, text, _ = run_worker(capsys, "status", "--dir", str(folder), "--json")
    status = json.loads(text)
    assert (status["address"], status["key"]) == (first["roleAccount"], hot)


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
        await pool.expect(Seal, timeout_s=40)
        await pool.send(place.authorisation(lease, account))
        await pool.expect(Contributed)
        await pool.expect(Revealed)
    task = await place.chain.view_task(lease.task_id)
    assert task.contributors == (account,) and task.reveal_counter == 1
    assert (await place.chain.view_account(hot)).stake == 0
