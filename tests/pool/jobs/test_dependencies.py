"""Tasks that wait for the results of other tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from fairgrid.chain.interface import Chain
from fairgrid.errors import ServiceUnavailable
from fairgrid.pool.core.events import DependenciesMet, DependencyFailed, Event
from fairgrid.pool.jobs.dependencies import DependencyKeeper
from fairgrid.pool.jobs.manifests import ManifestReader
from fairgrid.protocol.views import Deal, Task, TaskStatus
from fairgrid.seams.clock import VirtualClock
from fairgrid.storage.client import StorageClient
from tests.client.deals import Deals

A, B, C = ("0x" + digit * 64 for digit in "abc")
DEAL = "0x" + "11" * 32


@dataclass
class Board:
    """A chain with statuses that the test sets."""

    statuses: dict[str, TaskStatus]
    params: str
    known: Deal
    blank: Task
    down: bool = False
    undone: bool = False
    """A reorganisation took the deal back."""
    views: int = 0

    async def view_deal(self, deal_id: str) -> Deal | None:
        return replace(self.known, params=self.params) if deal_id == DEAL and not self.undone else None

    async def view_task(self, task_id: str) -> Task:
        self.views += 1
        if self.down:
            raise ServiceUnavailable("chain", "http://chain", "down")
        return replace(self.blank, status=self.statuses.get(task_id, TaskStatus.UNSET))


class _DownStorage:
    async def fetch_bytes(self, cid: str, *, max_bytes: int) -> bytes:
        raise ServiceUnavailable("storage", "http://storage", "down")


class Setting:
    def __init__(self, board: Board, deals: Deals) -> None:
        self.board = board
        self.fed: list[Event] = []
        self.over: set[str] = set()
        self.grid = deals.grid
        self.keeper = DependencyKeeper(
            chain=cast(Chain, board),
            manifests=ManifestReader(self.grid.storage),
            clock=VirtualClock(),
            feed=self.fed.append,
            waits=lambda task_id: task_id not in self.over,
        )

    def storage_is_down(self) -> None:
        self.keeper = DependencyKeeper(
            chain=cast(Chain, self.board),
            manifests=ManifestReader(cast(StorageClient, _DownStorage())),
            clock=VirtualClock(),
            feed=self.fed.append,
            waits=lambda task_id: True,
        )

    async def offer(self, *items: tuple[str, ...]) -> None:
        """The deal's manifest: task i depends on items[i]."""
        self.board.params = await self.grid.params(*items)


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    deals = Deals(tmp_path)
    record = await deals.record(1)
    deal = await deals.chain.view_deal(record.deal_id)
    assert deal is not None
    board = Board({}, "", deal, await deals.chain.view_task(record.task_ids[0]))
    yield Setting(board, deals)


async def test_task_without_dependencies_starts_at_once(setting: Setting) -> None:
    await setting.offer((), (A,))
    setting.keeper.await_for("one", DEAL, 0)
    await setting.keeper.look()
    assert setting.fed == [DependenciesMet("one")]


async def test_task_starts_when_the_last_result_is_there(setting: Setting) -> None:
    await setting.offer((A, B), (B,))
    setting.keeper.await_for("both", DEAL, 0)
    setting.keeper.await_for("one", DEAL, 1)
    await setting.keeper.look()
    assert setting.fed == []
    setting.board.statuses[B] = TaskStatus.COMPLETED
    await setting.keeper.look()
    assert setting.fed == [DependenciesMet("one")]
    setting.board.statuses[A] = TaskStatus.REVEALING
    await setting.keeper.look()
    assert len(setting.fed) == 1
    setting.board.statuses[A] = TaskStatus.COMPLETED
    await setting.keeper.look()
    assert setting.fed[1:] == [DependenciesMet("both")]
    setting.board.views = 0
    await setting.keeper.look()
    assert setting.board.views == 0


async def test_refunded_dependency_ends_all_that_wait_for_it(setting: Setting) -> None:
    await setting.offer((A, B), (B,), (C,))
    for index in range(3):
        setting.keeper.await_for(f"task {index}", DEAL, index)
    setting.board.statuses[B] = TaskStatus.FAILED
    await setting.keeper.look()
    assert setting.fed == [DependencyFailed("task 0", B), DependencyFailed("task 1", B)]
    setting.board.statuses[A] = setting.board.statuses[C] = TaskStatus.COMPLETED
    await setting.keeper.look()
    assert setting.fed[2:] == [DependenciesMet("task 2")]


async def test_job_that_names_no_usable_manifest_or_index_waits_for_nothing(setting: Setting) -> None:
    await setting.offer((A,))
    setting.keeper.await_for("beyond", DEAL, 7)
    setting.board.params = "free words"
    setting.keeper.await_for("foreign", DEAL, 0)
    await setting.keeper.look()
    assert setting.fed == [DependenciesMet("beyond"), DependenciesMet("foreign")]


async def test_chain_that_is_down_is_asked_again(setting: Setting) -> None:
    await setting.offer((A,))
    setting.keeper.await_for("one", DEAL, 0)
    setting.board.down = True
    with pytest.raises(ServiceUnavailable):
        await setting.keeper.look()
    setting.board.down = False
    setting.board.statuses[A] = TaskStatus.COMPLETED
    await setting.keeper.look()
    assert setting.fed == [DependenciesMet("one")]


async def test_task_whose_deal_a_reorganisation_took_back_is_read_when_the_deal_is_there_again(
    setting: Setting,
) -> None:
    await setting.offer((A,))
    setting.keeper.await_for("task", DEAL, 0)
    setting.board.undone = True
    await setting.keeper.look()
    assert setting.fed == []
    setting.board.undone = False
    setting.board.statuses[A] = TaskStatus.ACTIVE
    await setting.keeper.look()
    assert setting.fed == []
    setting.board.statuses[A] = TaskStatus.COMPLETED
    await setting.keeper.look()
    assert setting.fed == [DependenciesMet("task")]


async def test_task_that_is_over_is_not_looked_after(setting: Setting) -> None:
    await setting.offer((A,), (A,))
    setting.keeper.await_for("gone", DEAL, 0)
    setting.keeper.await_for("stays", DEAL, 1)
    await setting.keeper.look()
    setting.over.add("gone")
    setting.board.statuses[A] = TaskStatus.COMPLETED
    await setting.keeper.look()
    assert setting.fed == [DependenciesMet("stays")]


async def test_round_looks_at_a_bounded_number_and_the_next_goes_on(setting: Setting) -> None:
    tasks = [f"0x{number:064x}" for number in range(120)]
    await setting.offer(tuple(tasks))
    setting.keeper.await_for("many", DEAL, 0)
    setting.board.statuses = dict.fromkeys(tasks, TaskStatus.ACTIVE)
    await setting.keeper.look()
    assert setting.board.views == 50
    setting.board.statuses = dict.fromkeys(tasks, TaskStatus.COMPLETED)
    for _ in range(3):
        await setting.keeper.look()
    assert setting.fed == [DependenciesMet("many")]


async def test_deal_may_wait_only_if_its_manifest_names_a_dependency_or_cannot_be_read_yet(setting: Setting) -> None:
    async def may_wait() -> bool:
        return await setting.keeper.may_wait(replace(setting.board.known, params=setting.board.params))

    await setting.offer((), (A,))
    assert await may_wait()
    await setting.offer((), ())
    assert not await may_wait()
    setting.board.params = "free words"
    assert not await may_wait()
    await setting.offer((), ())
    setting.storage_is_down()
    assert await may_wait()


async def test_run_waits_for_what_any_of_its_tasks_reads(setting: Setting) -> None:
    await setting.offer((A,), (A, B), ())
    setting.keeper.await_for("run", DEAL, 0, count=3)
    await setting.keeper.look()
    setting.board.statuses[A] = TaskStatus.COMPLETED
    await setting.keeper.look()
    assert setting.fed == []
    setting.board.statuses[B] = TaskStatus.COMPLETED
    await setting.keeper.look()
    assert setting.fed == [DependenciesMet("run")]
