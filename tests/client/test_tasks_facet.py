"""`client.tasks`: what chain and pool say of a task of one's own, and a result that is verified."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from fairgrid.client.client import Client
from fairgrid.client.journal import Journal
from fairgrid.client.why import PoolState
from fairgrid.errors import ServiceRefused, UsageError, VerificationError
from fairgrid.pool.client import PoolClient
from fairgrid.protocol.ids import task_id as task_id_of
from fairgrid.seams.clock import VirtualClock
from fairgrid.storage.app import storage_application
from fairgrid.storage.client import StorageClient
from fairgrid.storage.store import MemoryStore
from tests.client.test_deals_facet import noted
from tests.client.test_results import FILES, completed
from tests.market.grid import Grid


@dataclass
class World:
    """A requester with a deal of four tasks, a storage, and a pool that knows a story of its second task only."""

    client: Client
    grid: Grid
    storage: StorageClient
    deal_id: str

    def task(self, index: int) -> str:
        return task_id_of(self.deal_id, index)


def _streamed(status: int, document: dict[str, Any]) -> httpx.Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield json.dumps(document).encode()

    return httpx.Response(status, content=pieces())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    grid, known = await Grid.made(), set[str]()

    def pool(request: httpx.Request) -> httpx.Response:
        if request.url.path in known:
            entry = {"number": 1, "at": 0.0, "text": "a round was opened", "worker": ""}
            return _streamed(200, {"lines": [entry]})
        return _streamed(404, {"error": "no such task"})

    async with (
        StorageClient("http://storage", transport=httpx.ASGITransport(storage_application(MemoryStore()))) as storage,
        PoolClient("http://pool", transport=httpx.MockTransport(pool), clock=VirtualClock()) as pool_client,
    ):
        client = Client(
            cast(Any, None),
            grid.requester,
            chain=grid.chain,
            market=cast(Any, None),
            storage=storage,
            pool=pool_client,
            journal=Journal(tmp_path / "deals"),
        )
        made = await client.deals.make(grid.app_order(), grid.workerpool_order(), grid.request_order())
        noted(client.journal, made.deal_id)
        known.add(f"/tasks/{task_id_of(made.deal_id, 1)}/story")
        yield World(client, grid, storage, made.deal_id)


async def test_a_task_is_shown_and_explained_by_chain_and_pool(world: World) -> None:
    facts = await world.client.tasks.show(index=2)
    assert (facts.index, facts.task_id, facts.pool) == (2, world.task(2), PoolState.SILENT)
    why = await world.client.tasks.why("last")
    assert (why.state, why.locked_nrlc) == ("waiting", 12)
    assert "come back to your account" in why.money
    for call in (world.client.tasks.show(index=4), world.client.tasks.story(index=4)):
        with pytest.raises(UsageError, match=r"has 4 task\(s\), and none with index 4"):
            await call


async def test_a_story_is_the_pools(world: World) -> None:
    (entry,) = await world.client.tasks.story(world.deal_id[:12], index=1)
    assert entry.text == "a round was opened"
    with pytest.raises(ServiceRefused, match="no such task"):
        await world.client.tasks.story("last")


async def test_a_result_is_written_when_it_is_the_agreed_one_and_not_before(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match=f"Task {world.task(3)} is UNSET: it has no result yet"):
        await world.client.tasks.result(out, index=3)
    done = await completed(world.storage, tmp_path, FILES)
    asked = list[str]()
    answers = [replace(done, result_digest="0x" + "09" * 32), done]

    async def view_task(task_id: str) -> Any:
        asked.append(task_id)
        return answers.pop(0)

    monkeypatch.setattr(world.grid.chain, "view_task", view_task)
    with pytest.raises(VerificationError):
        await world.client.tasks.result(out, index=3)
    assert not out.exists() or not list(out.iterdir())
    result = await world.client.tasks.result(out, index=3)
    assert (out / "answer.txt").read_bytes() == b"42" and result.error is None
    assert asked == [world.task(3)] * 2


async def test_what_is_not_on_chain_or_settled_in_runs_is_said(world: World, tmp_path: Path) -> None:
    record = noted(world.client.journal, "0x" + "ab" * 32, mined=False)
    with pytest.raises(UsageError, match="is signed and not on chain"):
        await world.client.tasks.story(record.deal_id)
    world.client.journal.write(replace(record, batch=True))
    with pytest.raises(UsageError, match="is settled in runs"):
        await world.client.tasks.result(tmp_path, record.deal_id)
