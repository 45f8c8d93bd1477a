"""What is opened in a thread is given to the caller, or closed."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from fairgrid.seams.opening import open_in_thread


class Door:
    """Opens as soon as it may; says when it is being opened and when it is closed."""

    def __init__(self) -> None:
        self.knocked, self.may, self.shut = threading.Event(), threading.Event(), threading.Event()

    def open(self) -> Door:
        self.knocked.set()
        assert self.may.wait(60)
        return self

    def close(self) -> None:
        self.shut.set()


async def test_file_is_given_to_the_caller_open(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text")
    file = await open_in_thread(lambda: (tmp_path / "a").open("rb"), lambda file: file.close())
    with file:
        assert file.read() == b"text"


async def test_what_cannot_be_opened_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await open_in_thread(lambda: (tmp_path / "a").open("rb"), lambda file: file.close())


async def test_what_is_opened_after_a_cancellation_is_closed() -> None:
    door = Door()
    opening = asyncio.create_task(open_in_thread(door.open, Door.close))
    await asyncio.to_thread(door.knocked.wait, 60)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not door.shut.is_set()
    door.may.set()
    assert await asyncio.to_thread(door.shut.wait, 60)


async def test_what_was_opened_in_the_moment_of_a_cancellation_is_closed() -> None:
    door = Door()
    door.may.set()
    opening = asyncio.create_task(open_in_thread(door.open, Door.close))
    await asyncio.to_thread(door.knocked.wait, 60)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert await asyncio.to_thread(door.shut.wait, 60)
