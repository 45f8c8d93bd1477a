"""Jobs that read other tasks' results: how they are named, and which are refused before the signature."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from fairgrid.client.dependencies import check_dependency, parse_dependency
from fairgrid.client.journal import Journal
from fairgrid.errors import ServiceRefused, UsageError
from fairgrid.protocol.manifest import TaskRef
from tests.client.deals import Deals

UNKNOWN = "0x" + "77" * 32


class _Pool:
    """A pool that knows nothing, or everything."""

    def __init__(self, *, knows: bool) -> None:
        self._knows = knows

    async def task(self, task_id: str) -> object:
        if not self._knows:
            raise ServiceRefused("pool", 404, "This pool has no such task")
        return object()


async def check(deals: Deals, journal: Journal, task: str, *, pool_knows: bool = False) -> None:
    pool = cast(Any, _Pool(knows=pool_knows))
    await check_dependency(deals.chain, pool, journal, TaskRef("before", task))


async def test_task_is_named_by_id_by_the_beginning_of_a_deal_or_as_the_last(tmp_path: Path) -> None:
    deals, journal = Deals(tmp_path), Journal(tmp_path / "deals")
    record = await deals.record(1)
    journal.write(record)
    task = record.task_ids[0]
    for wanted in (task, task.upper().replace("0X", "0x"), task[:9], record.deal_id, record.deal_id[:9], "last"):
        assert parse_dependency(f"before={wanted}", journal) == TaskRef("before", task)
    assert parse_dependency(f"x={UNKNOWN}", journal) == TaskRef("x", UNKNOWN)


@pytest.mark.parametrize("text", ["before", "=0x12", "before=", ""])
def test_what_names_nothing_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="NAME=TASK"):
        parse_dependency(text, Journal(tmp_path))


async def test_deal_of_several_tasks_must_be_named_by_a_task(tmp_path: Path) -> None:
    deals, journal = Deals(tmp_path), Journal(tmp_path / "deals")
    record = await deals.record(1)
    tasks = ("0x" + "01" * 32, "0x" + "02" * 32)
    journal.write(replace(record, task_ids=tasks))
    with pytest.raises(UsageError, match="has 2 tasks"):
        parse_dependency("before=last", journal)
    assert parse_dependency("before=0x0202", journal) == TaskRef("before", tasks[1])


async def test_task_that_runs_or_is_completed_may_be_waited_for(tmp_path: Path) -> None:
    deals, journal = Deals(tmp_path), Journal(tmp_path / "deals")
    record = await deals.record(1)
    await deals.initialize(record)
    await check(deals, journal, record.task_ids[0])
    other = await deals.record(1)
    await deals.complete(other)
    await check(deals, journal, other.task_ids[0])


async def test_task_that_is_not_on_chain_yet_must_be_known_to_us_or_to_the_pool(tmp_path: Path) -> None:
    deals, journal = Deals(tmp_path), Journal(tmp_path / "deals")
    with pytest.raises(UsageError, match="Nobody knows task"):
        await check(deals, journal, UNKNOWN)
    await check(deals, journal, UNKNOWN, pool_knows=True)
    record = await deals.record(1)
    journal.write(record)
    await check(deals, journal, record.task_ids[0])


async def test_refunded_task_is_refused(tmp_path: Path) -> None:
    deals, journal = Deals(tmp_path), Journal(tmp_path / "deals")
    record = await deals.record(1)
    await deals.initialize(record)
    deals.chain.skip(10**6)
    await deals.claim(record.task_ids[0])
    with pytest.raises(UsageError, match="is FAILED: its result will never come"):
        await check(deals, journal, record.task_ids[0])


async def test_a_private_result_cannot_be_waited_for(tmp_path: Path) -> None:
    deals, journal = Deals(tmp_path), Journal(tmp_path / "deals")
    record = replace(await deals.record(1), private=True)
    journal.write(record)
    with pytest.raises(UsageError, match="is private"):
        await check(deals, journal, record.task_ids[0])
    await deals.complete(record)
    with pytest.raises(UsageError, match="is private"):
        await check(deals, journal, record.task_ids[0])
