"""A pool on a new database, or on an old backup of one, reads the chain's past before it gives anything out."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairgrid.pool.core.events import ChainRead
from fairgrid.pool.onchain import watcher
from tests.pool.grid import Grid
from tests.pool.scripted import Scripted

_REFUSED = ("sends initialize", "refused", "Leased to a worker")


async def test_tasks_of_the_past_that_are_over_are_neither_begun_nor_leased_again(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker")
    async with grid.pool(), worker.connected():
        tasks = [await grid.task(1) for _ in range(3)]
        for task in tasks:
            await grid.until_phase(task, "completed")
    sent = sum(len(block.transactions) for block in grid.chain._blocks)
    (tmp_path / "pool.db").unlink()
    async with grid.pool(), Scripted(grid, "worker").connected():
        for task in tasks:
            await grid.until_phase(task, "completed")
            told = [line.text for line in await grid.service.inquiries.story(task)]
            assert not any(word in line for line in told for word in _REFUSED), told

        async def has_read() -> bool:
            return not grid.service.machine.book.behind

        await grid.until(has_read, what="the end of reading")
        assert sum(len(block.transactions) for block in grid.chain._blocks) == sent
        await grid.until_phase(await grid.task(1), "completed")


async def test_reading_that_takes_too_long_does_not_keep_the_pool_from_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "_LONGEST_READING_S", 5.0)
    grid = Grid(tmp_path)
    fed: list[int] = []
    async with grid.pool():
        source = grid.service._watcher
        feed = source._feed

        def watched(event: object) -> None:
            if isinstance(event, ChainRead):
                fed.append(event.behind)
            feed(event)  # type: ignore[arg-type]

        source._feed = watched
        source._head_at_start, source._reads_since = 1_000, source._clock.now()
        source._read_to(20)
        assert fed == [980]
        source._reads_since -= 6.0
        source._read_to(25)
        assert fed == [980, 0] and source._head_at_start is None
