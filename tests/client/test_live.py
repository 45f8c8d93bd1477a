"""Lines of a running job, safe for a terminal and with their gaps; a pool that is away or says no ends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fairgrid.client.live import LiveLines, bar, follow_live, watching
from fairgrid.client.progress import Phase, Progress
from fairgrid.errors import ServiceRefused, ServiceUnavailable
from fairgrid.pool.client import LiveOutput, LiveProgress
from tests.storage.test_client import ImpatientClock


def told(*events: LiveOutput) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    live = LiveLines(lambda stream, line: lines.append((stream, line)))
    for event in events:
        live.take(event)
    live.end()
    return lines


def test_pieces_become_whole_lines_of_each_stream() -> None:
    assert told(
        LiveOutput("stdout", 0, b"one\ntw"),
        LiveOutput("stderr", 0, b"careful\n"),
        LiveOutput("stdout", 6, b"o\nlast"),
    ) == [("stdout", "one"), ("stderr", "careful"), ("stdout", "two"), ("stdout", "last")]


def test_character_that_is_cut_between_two_pieces_is_whole() -> None:
    data = "grüße\n".encode()
    assert told(LiveOutput("stdout", 0, data[:3]), LiveOutput("stdout", 3, data[3:])) == [("stdout", "grüße")]


def test_terminal_escapes_are_neutralised() -> None:
    hostile = b"\x1b]0;title\x07\x1b[2Jred\x1b[31m\n"
    assert told(LiveOutput("stdout", 0, hostile)) == [("stdout", "red")]


def test_gap_is_said_and_what_comes_twice_is_not() -> None:
    assert told(
        LiveOutput("stdout", 0, b"a\n"),
        LiveOutput("stdout", 0, b"a\nb\n"),
        LiveOutput("stdout", 104, b"c\n"),
    ) == [("stdout", "a"), ("stdout", "b"), ("stdout", "[100 bytes are not shown]"), ("stdout", "c")]


def test_job_that_is_started_anew_is_told_anew() -> None:
    assert told(LiveOutput("stdout", 0, b"step 1\nstep 2\n"), LiveOutput("stdout", 0, b"step 1\n")) == [
        ("stdout", "step 1"),
        ("stdout", "step 2"),
        ("stdout", "[the job was started anew]"),
        ("stdout", "step 1"),
    ]


def test_line_without_end_does_not_wait_for_ever() -> None:
    assert told(LiveOutput("stdout", 0, b"x" * 5_000), LiveOutput("stdout", 5_000, b"y\n"))[0] == (
        "stdout",
        "x" * 5_000,
    )


@pytest.mark.parametrize(
    ("ppm", "message", "shown"),
    [
        (0, "", "[....................]   0 %"),
        (425_000, "epoch 3\x1b[2J", "[########............]  42 %  epoch 3"),
        (1_000_000, "done", "[####################] 100 %  done"),
        (9_000_000, "", "[####################] 100 %"),
    ],
)
def test_progress_is_a_bar_with_what_the_job_says(ppm: int, message: str, shown: str) -> None:
    assert bar(LiveProgress(ppm, message)) == shown


class Scripted:
    """A pool that answers each call with the next of these."""

    def __init__(self, *answers: list[LiveOutput | LiveProgress] | Exception) -> None:
        self.answers = list(answers)

    async def live(self, task_id: str) -> AsyncIterator[LiveOutput | LiveProgress]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        for event in answer:
            yield event


async def test_lost_connection_and_a_task_that_is_not_known_yet_are_tried_again() -> None:
    seen: list[LiveOutput | LiveProgress] = []
    pool = Scripted(
        ServiceRefused("pool", 404, "no task"), ServiceUnavailable("pool", "http://pool", "away"), [LiveProgress(1, "")]
    )
    await follow_live(pool, "0x1", seen.append, clock=ImpatientClock())
    assert seen == [LiveProgress(1, "")] and pool.answers == []


async def test_pool_that_says_no_is_told() -> None:
    with pytest.raises(ServiceRefused):
        await follow_live(Scripted(ServiceRefused("pool", 409, "sealed")), "0x1", lambda event: None)


@pytest.mark.parametrize("answer", [[LiveProgress(500_000, "half")], ServiceRefused("pool", 403, "not yours")])
async def test_progress_of_the_job_joins_the_progress_of_the_task(
    answer: list[LiveOutput | LiveProgress] | Exception,
) -> None:
    notes: list[str] = []
    async with watching(Scripted(answer), "0x1", lambda progress: notes.append(progress.note)) as tell:
        await asyncio.sleep(0.05)
        tell(Progress(Phase.COMPUTING, "computing"))
        tell(Progress(Phase.REVEALING, "revealing"))
    assert notes == ["[##########..........]  50 %  half" if isinstance(answer, list) else "computing", "revealing"]
