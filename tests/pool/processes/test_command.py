"""`fairgrid pool start` and `fairgrid story`, as a user calls them."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from fairgrid.chain.network import Network, save_network
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.records.store import PoolStore
from fairgrid.protocol.views import TaskStatus
from tests.pool.grid import Grid, key
from tests.pool.scripted import Scripted


def _network(folder: Path, *, pool: str = "http://127.0.0.1:1") -> Path:
    where = folder / "network.json"
    save_network(
        Network(
            name="test",
            chain_id=31337,
            rpc="http://127.0.0.1:1",
            hub=key("hub").address,
            hub_code_hash="0x" + "00" * 32,
            rlc=key("rlc").address,
            market="http://127.0.0.1:1",
            storage="http://127.0.0.1:1",
            pool=pool,
            pool_address=key("pool").address,
        ),
        where,
    )
    return where


async def _run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr (on one line) of a `fairgrid` process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairgrid", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), " ".join(errors.decode().split())


async def test_a_network_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    code, _, text = await _run(
        "pool", "start", "--network", str(tmp_path / "none.json"), "--dir", str(tmp_path / "pool")
    )
    assert code == 2 and "fairgrid up" in text


async def test_a_policy_with_a_mistyped_key_starts_nothing(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("first_rounds = 6")
    arguments = ["pool", "start", "--network", str(_network(tmp_path)), "--dir", str(tmp_path / "pool")]
    code, _, text = await _run(*arguments, "--policy", str(policy))
    assert code == 2 and "unknown key 'first_rounds'" in text
    assert not (tmp_path / "pool").exists()


async def test_a_chain_that_is_down_is_a_service_error_with_its_address(tmp_path: Path) -> None:
    arguments = ["pool", "start", "--network", str(_network(tmp_path)), "--dir", str(tmp_path / "pool")]
    code, _, text = await _run(*arguments)
    assert code == 4 and "http://127.0.0.1:1" in text


async def test_a_pool_that_served_before_waits_for_its_chain_and_ends_when_asked(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    store = PoolStore.open(tmp_path / "pool" / "pool.db")
    store.bind(PoolIdentity(31337, key("hub").address, key("pool").address))
    store.close()
    arguments = ["pool", "start", "--network", str(_network(tmp_path)), "--dir", str(tmp_path / "pool")]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairgrid", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    while b"waits until it answers" not in (line := await process.stderr.readline()):
        assert line, "it ended"
    assert b"http://127.0.0.1:1" in line
    process.terminate()
    output, errors = await process.communicate()
    assert (process.returncode, output) == (0, b""), errors


async def test_a_story_of_what_is_no_task_id_is_a_usage_error(tmp_path: Path) -> None:
    code, _, text = await _run("story", "0x12", "--network", str(_network(tmp_path)))
    assert code == 2 and "is no task id" in text


async def test_a_story_is_told_for_a_task_and_for_its_deal(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker")
    async with grid.pool(), worker.connected():
        task = await grid.task(1)
        await grid.until_status(task, TaskStatus.COMPLETED)
        await grid.until_phase(task, "completed")
        deal = (await grid.client.task(task)).deal_id
        network = str(_network(tmp_path, pool=grid.url))

        runs = await asyncio.gather(
            _run("story", task, "--network", network, "--json"),
            _run("story", deal, "--network", network, "--json"),
            _run("story", task, "--network", network),
        )
    assert [code for code, _, _ in runs] == [0, 0, 0]
    documents = [json.loads(output) for _, output, _ in runs[:2]]
    text = runs[2][2]
    assert documents[0] == documents[1]
    (story,) = documents[0]["tasks"]
    assert story["taskId"] == task and story["phase"] == "completed"
    assert worker.address in {line["worker"] for line in story["story"]}
    assert "completed: Finalized on chain." in text
