"""What is told of a running sweep, and to whom."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from fairgrid.executors import displays
from fairgrid.executors.displays import NotebookCard, TerminalLine, find_display
from fairgrid.executors.progress import RunProgress
from tests.executors.stage import Stage

HALF = RunProgress("run-1", 10, 5, 1, 4, 2, 2_000_000_000, 200_000_000, 200_000_000, 30.0, 3_700.0)


def square(x: int) -> int:
    if x == 3:
        raise ValueError("unlucky")
    return x * x


def test_progress_reaches_the_end_and_adds_up(stage: Stage) -> None:
    stage.troubled(price_nrlc=2)
    told: list[RunProgress] = []
    with stage.executor(budget=100, on_progress=told.append) as ex:
        futures = list(ex.futures(square, range(6)))
        assert [future.exception() is None for future in futures] == [True, True, True, False, True, True]
    last = told[-1]
    assert (last.calls, last.done, last.failed, last.over, last.locked) == (6, 6, 1, True, 0)
    assert last.tasks == last.tasks_done == last.spent // 2
    assert [one.done for one in told] == sorted(one.done for one in told)
    assert not any(one.over for one in told[:-1])


def test_a_listener_that_raises_is_told_no_more_and_the_run_goes_on(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def broken(progress: RunProgress) -> None:
        asked.append(progress)
        raise RuntimeError("no screen")

    with stage.executor(on_progress=broken) as ex:
        assert ex.submit(square, 2).result() == 4
    assert len(asked) == 1
    assert "no screen" in capsys.readouterr().err


def test_cancelled_calls_count_as_done(stage: Stage) -> None:
    with stage.executor() as ex:
        future = ex.submit(square, 2)
        assert future.cancel() or future.result() == 4
        ex.shutdown()
    assert (ex.progress().calls, ex.progress().done) == (1, 1)


def test_a_sentence_and_a_card_say_what_is_done_spent_and_left() -> None:
    assert str(HALF) == (
        "5 of 10 calls, 1 failed; 2 of 4 tasks; 0.2 RLC spent, 0.2 RLC locked of 2 RLC; 30 s, about 1 h 1 min left"
    )
    assert '<progress value="5" max="10">' in HALF._repr_html_()


class Terminal(io.StringIO):
    """A stream that says that it is one."""

    def isatty(self) -> bool:
        return True


def test_a_pipe_stays_silent_and_a_terminal_gets_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert find_display(HALF) is None
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    line, second = find_display(HALF), find_display(HALF)
    assert isinstance(line, TerminalLine) and isinstance(second, TerminalLine)
    line.show(HALF)
    second.show(HALF)
    assert screen.getvalue().count("5 of 10 calls, 1 failed") == 1
    over = RunProgress("run-1", 10, 10, 1, 4, 4, 2, 2, 0, 60.0, 0.0, over=True)
    line.show(over)
    second.show(over)
    screen.truncate(0)
    second.show(HALF)
    assert screen.getvalue() == ""
    third = find_display(HALF)
    assert third is not None
    third.show(HALF)
    assert "5 of 10 calls" in screen.getvalue()
    third.show(over)


def test_a_notebook_gets_one_card_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []

    class Handle:
        def update(self, progress: Any) -> None:
            shown.append(progress)

    def display(first: Any, *, display_id: bool) -> Handle:
        assert display_id
        shown.append(first)
        return Handle()

    card = NotebookCard(display, HALF)
    card.show(HALF)
    assert shown == [HALF, HALF]
    monkeypatch.setitem(sys.modules, "IPython", None)
    assert not displays._in_notebook()
