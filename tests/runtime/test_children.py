"""Child processes whose start is cancelled."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import psutil
import pytest

from fairgrid.runtime.children import end_child, start_child

SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")


def sleepers() -> list[psutil.Process]:
    return [process for process in psutil.Process().children() if process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("moment", range(6))
async def test_a_start_that_is_cancelled_leaves_no_child(moment: int) -> None:
    before = sleepers()
    starting = asyncio.ensure_future(start_child(*SLEEPER, stdin=asyncio.subprocess.PIPE))
    for _ in range(moment):
        await asyncio.sleep(0)
    assert not starting.done()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert sleepers() == before


async def test_a_child_that_was_started_while_its_starter_was_cancelled_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = asyncio.Event()
    children: list[asyncio.subprocess.Process] = []
    plain: Callable[..., Awaitable[asyncio.subprocess.Process]] = asyncio.create_subprocess_exec

    async def slow(*command: str, **options: Any) -> asyncio.subprocess.Process:
        children.append(await plain(*command, **options))
        started.set()
        await asyncio.sleep(0.1)
        return children[0]

    before = sleepers()
    monkeypatch.setattr(asyncio, "create_subprocess_exec", slow)
    starting = asyncio.ensure_future(start_child(*SLEEPER))
    await started.wait()
    assert len(sleepers()) == len(before) + 1
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert children[0].returncode is not None and sleepers() == before


async def test_a_child_that_is_not_cancelled_runs_until_it_is_ended() -> None:
    child = await start_child(*SLEEPER)
    assert child.returncode is None
    ending = asyncio.ensure_future(end_child(child))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait([ending])
    assert child.returncode is not None


async def test_a_program_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        await start_child("/nowhere/at/all")
