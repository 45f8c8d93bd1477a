"""The operator's commands: they find the pool, sign with its key, and say when it is away."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fairgrid.errors import ServiceUnavailable
from fairgrid.pool.administration.operator_client import OperatorClient, Reach, note_reach, reaches_of
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.wallet.keystore import KEYSTORE_NAME, PASSWORD_NAME, save_keystore
from tests.pool.administration.desk import administered
from tests.pool.grid import Grid, key

PASSWORD = "pool"


async def _fairgrid(*arguments: str) -> tuple[int, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fairgrid", "pool", *arguments, "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert output, errors.decode()
    return process.returncode or 0, json.loads(output)


@pytest.mark.timeout(180)  # six programs one after the other
async def test_the_commands_find_the_pool_and_sign_with_its_key(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    (tmp_path / PASSWORD_NAME).write_text(PASSWORD + "\n")
    (tmp_path / PASSWORD_NAME).chmod(0o600)
    save_keystore(grid.scheduler, tmp_path / KEYSTORE_NAME, PASSWORD, scrypt_n=2)
    where = ("--dir", str(tmp_path))
    code, answer = await _fairgrid("status", *where)
    assert code == 2 and "ever ran" in answer["message"]
    async with administered(grid) as desk:
        note_reach(tmp_path, Reach("http://127.0.0.1:1", desk.identity))
        note_reach(tmp_path, Reach(desk.url, desk.identity))
        worker = key("w").address
        answers = [
            await _fairgrid(*arguments, *where)
            for arguments in (
                ("label", worker, "lab-2", "eu"),
                ("policy", "set", "max_fee_gwei=80"),
                ("why", "0x" + "ab" * 32),
                ("handover",),
            )
        ]
        acts = (await desk.client.acts(subject=worker)).acts
    codes = [code for code, _ in answers]
    documents = [document for _, document in answers]
    assert codes == [0, 0, 4, 2]
    assert documents[0]["answer"]["labels"] == ["lab-2", "eu"]
    assert documents[1]["answer"]["waiting"] == []
    assert "no task" in documents[2]["message"]
    assert "one process only" in documents[3]["message"]
    assert [(act.act, act.detail) for act in acts] == [("label", "lab-2 eu")]
    code, answer = await _fairgrid("status", *where)
    assert code == 4 and desk.url in answer["message"]


def test_processes_that_start_at_once_are_all_remembered_and_old_ones_forgotten(tmp_path: Path) -> None:
    identity = PoolIdentity(1, key("hub").address, key("pool").address)
    for number in range(12):
        note_reach(tmp_path, Reach(f"http://127.0.0.1:{number}", identity))
    note_reach(tmp_path, Reach("http://127.0.0.1:7", identity))
    urls = [reach.url for reach in reaches_of(tmp_path)]
    assert urls[0] == "http://127.0.0.1:7" and len(urls) == 8 and "http://127.0.0.1:0" not in urls
    (tmp_path / "reach" / "broken.json").write_text("{")
    assert len(reaches_of(tmp_path)) == 7 or len(reaches_of(tmp_path)) == 8


async def test_a_pool_that_is_away_is_named_with_its_addresses(tmp_path: Path) -> None:
    identity = PoolIdentity(1, key("hub").address, key("pool").address)
    async with OperatorClient(["http://127.0.0.1:1", "http://127.0.0.1:2"], identity, key("owner")) as client:
        with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:1 or http://127\.0\.0\.1:2"):
            await client.status()
