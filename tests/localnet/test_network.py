"""Whole networks of real processes; small ones, for each of these is seconds of work."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.network import load_network
from fairgrid.errors import UsageError
from fairgrid.localnet.accounts import NRLC_PER_RLC, POOL_OWNER, REQUESTER
from fairgrid.localnet.folder import ProcessBook
from fairgrid.localnet.network import LocalNetwork
from fairgrid.localnet.options import LocalNetworkOptions, WorkerSpec, honest_workers
from fairgrid.localnet.processes import ProcessFailed
from fairgrid.localnet.status import network_status
from fairgrid.market.client import MarketClient
from fairgrid.runtime.wasm.interpreters import default_runtime_id, interpreter_cid, interpreter_sha256
from fairgrid.storage.client import StorageClient

pytestmark = pytest.mark.e2e


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalNetwork]:
    """Chain and services, no workers; not started yet, stopped afterwards."""
    network = LocalNetwork(tmp_path / "net", workers=())
    yield network
    await network.stop()


def pids(local: LocalNetwork) -> dict[str, int]:
    return {record.name: record.pid for record in ProcessBook(local.folder.processes).records() if record.running()}


async def test_a_network_with_a_worker_is_up_as_its_status_says_and_a_second_start_changes_nothing(
    tmp_path: Path,
) -> None:
    async with LocalNetwork(tmp_path / "net", workers=honest_workers(1)) as local:
        status = await network_status(local.folder.path)
        assert status.healthy
        assert [process.name for process in status.processes] == ["anvil", "market", "storage", "pool", "worker-1"]
        assert (status.owners, status.reachable_trust) == (1, 2)
        accounts = {account.name: account for account in status.accounts}
        assert accounts[REQUESTER].wallet == 9_000 * NRLC_PER_RLC
        assert accounts["worker-1"].stake == 100 * NRLC_PER_RLC
        assert accounts["worker-1"].address == local.accounts["worker-1"].address
        assert load_network(local.folder.path) == local.network == status.network

        network = local.network
        async with await JsonRpcChain.connect(network) as chain:
            app = await chain.view_app(local.apps[0])
            assert (app.type, app.name) == ("WASM", default_runtime_id())
            assert app.multiaddr.decode() == f"/ipfs/{interpreter_cid(default_runtime_id())}"
            assert app.checksum == interpreter_sha256(default_runtime_id())
            assert (await chain.view_workerpool(network.pool_address)).owner == local.accounts[POOL_OWNER].address
        async with MarketClient(network.market, network.chain_id, hub=network.hub) as market:
            assert len(await market.app_orders(local.apps[0])) == 1
            assert len(await market.workerpool_orders(category=0, workerpool=network.pool_address)) == 1
        async with StorageClient(network.storage) as storage:
            assert await storage.stat(interpreter_cid(default_runtime_id())) is not None

        before = pids(local)
        again = LocalNetwork(local.folder.path, workers=honest_workers(1), options=LocalNetworkOptions(detach=True))
        assert await again.start() == network
        assert pids(local) == before
        async with MarketClient(network.market, network.chain_id, hub=network.hub) as market:
            assert len(await market.app_orders(local.apps[0])) == 1
    assert pids(local) == {}
    assert not (await network_status(local.folder.path)).healthy


async def test_what_was_killed_is_told_and_started_again_at_its_old_address(local: LocalNetwork) -> None:
    network = await local.start()
    before = pids(local)
    for name in ("anvil", "market"):
        local.kill(name)
    deadline = time.monotonic() + 10
    while len(local.ended()) < 2:
        assert time.monotonic() < deadline
    assert local.ended() == {"anvil": -signal.SIGKILL, "market": -signal.SIGKILL}
    status = await network_status(local.folder.path)
    assert not status.healthy
    assert status.to_json()["status"] == "partly up"
    assert await local.start() == network
    after = pids(local)
    assert {name for name in before if before[name] != after[name]} >= {"anvil", "market"}
    await local.restart("storage")
    assert pids(local)["storage"] != after["storage"]
    assert (await network_status(local.folder.path)).healthy
    with pytest.raises(UsageError, match="no process nonsense"):
        await local.restart("nonsense")


async def test_the_chain_goes_on_after_a_stop_and_a_busy_port_gives_way_to_a_free_one(local: LocalNetwork) -> None:
    network = await local.start()
    async with await JsonRpcChain.connect(network) as chain:
        height = (await chain.head()).number
    await local.stop()
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", urlsplit(network.market).port))
        stranger.listen()
        again = await local.start()
    assert again.market != network.market
    assert (again.storage, again.pool, again.rpc, again.hub) == (
        network.storage,
        network.pool,
        network.rpc,
        network.hub,
    )
    assert load_network(local.folder.path) == again
    async with await JsonRpcChain.connect(again) as chain:
        assert (await chain.head()).number >= height


async def test_a_chain_whose_state_is_lost_is_begun_anew_and_one_that_is_damaged_is_told(local: LocalNetwork) -> None:
    network = await local.start()
    address = local.accounts[REQUESTER].address
    await local.stop()
    local.folder.chain_state.unlink()
    again = await local.start()
    assert (again.hub, again.pool_address) == (network.hub, network.pool_address)
    assert local.accounts[REQUESTER].address == address
    assert (await network_status(local.folder.path)).healthy
    await local.stop()
    local.folder.chain_state.write_text('{"blocks": [')
    with pytest.raises(Exception, match=r"state\.json may be damaged") as caught:
        await local.start()
    assert "fairgrid down --delete" in str(caught.value)


async def test_a_process_that_does_not_start_is_told_with_its_last_words_and_nothing_is_left(tmp_path: Path) -> None:
    options = LocalNetworkOptions(pool_policy={"first_round_replicas": 0})
    local = LocalNetwork(tmp_path / "net", workers=(), options=options)
    with pytest.raises(ProcessFailed, match=r"(?s)pool did not start.*first_round_replicas must be at least 1"):
        async with local:
            raise AssertionError("it started")
    assert pids(local) == {}
    assert local.names() == []


@pytest.mark.parametrize("names", [("a", "a"), ("",), ("../a",), ("pool",), ("a b",)])
def test_workers_need_plain_and_different_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="Workers need different names"):
        LocalNetwork(tmp_path, workers=[WorkerSpec(name) for name in names])


def test_a_directory_in_which_nothing_was_started_has_no_network(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="fairgrid up"):
        _ = LocalNetwork(tmp_path).network


# --- the commands -----------------------------------------------------------------------------------------------


def fairgrid(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fairgrid", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def up_attached(directory: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    command = [sys.executable, "-m", "fairgrid", "up", "--dir", str(directory), "--workers", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    document = ""
    while not document.endswith("}\n}\n") and not document.endswith("\n}\n"):
        line = process.stdout.readline()
        assert line, process.communicate()
        document += line
    found = json.loads(document)
    assert isinstance(found, dict)
    return process, found


def wait_until_gone(found: list[int]) -> None:
    deadline = time.monotonic() + 30
    for pid in found:
        while True:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                break
            assert time.monotonic() < deadline, f"{pid} lives"
            time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_an_attached_network_ends_all_of_it(tmp_path: Path, number: signal.Signals) -> None:
    process, status = up_attached(tmp_path / "net")
    with process:
        assert status["status"] == "up"
        found = [entry["pid"] for entry in status["processes"]]
        assert len(found) == 4
        process.send_signal(number)
        process.communicate(timeout=120)
    assert process.returncode == (130 if number != signal.SIGKILL else -signal.SIGKILL)
    wait_until_gone(found)


def test_a_detached_network_is_seen_and_stopped_by_other_commands(tmp_path: Path) -> None:
    directory = str(tmp_path / "net")
    up = fairgrid("up", "--dir", directory, "--workers", "0", "--detach", "--json")
    assert up.returncode == 0, up.stderr
    status = json.loads(up.stdout)
    assert status["environment"]["ETH_RPC_URL"] == status["rpc"]
    seen = fairgrid("status", "--dir", directory, "--json")
    assert seen.returncode == 0, seen.stderr
    assert [p["pid"] for p in json.loads(seen.stdout)["processes"]] == [p["pid"] for p in status["processes"]]
    down = fairgrid("down", "--dir", directory, "--json")
    assert down.returncode == 0, down.stderr
    assert sorted(json.loads(down.stdout)["stopped"]) == ["anvil", "market", "pool", "storage"]
    wait_until_gone([p["pid"] for p in status["processes"]])
    assert fairgrid("status", "--dir", directory).returncode == 4
    deleted = fairgrid("down", "--dir", directory, "--delete")
    assert deleted.returncode == 0
    assert not Path(directory).exists()


def test_commands_on_a_directory_without_a_network_end_with_code_2(tmp_path: Path) -> None:
    for command in ("status", "down"):
        done = fairgrid(command, "--dir", str(tmp_path / "nothing"))
        assert done.returncode == 2, done
        assert "no network" in done.stderr
