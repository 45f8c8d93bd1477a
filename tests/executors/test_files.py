"""Files as arguments and results: by content, kept once, verified, and never trusted with a name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import fairgrid
from fairgrid.errors import CannotTravel, RemoteError
from fairgrid.executors import calls as calls_module
from fairgrid.executors.calls import Call, CallWriter
from fairgrid.executors.executor import Executor
from fairgrid.executors.guest.values import BadWire, Decoder
from fairgrid.executors.packing import Packing, pack
from fairgrid.executors.results import TaskResults
from tests.executors.stage import Stage


@pytest.fixture
def ex(stage: Stage) -> Iterator[Executor]:
    with stage.executor(packing=Packing(width=1)) as made:
        yield made


@dataclass
class Report:
    title: str
    page: fairgrid.File


def count(file: fairgrid.File, word: str) -> tuple[str, int, int]:
    with open(file) as opened:
        return file.name, opened.read().count(word), file.size


def shout(file: fairgrid.File) -> fairgrid.File:
    Path("loud.txt").write_text(file.read_text().upper())
    return fairgrid.File("loud.txt")


def report(file: fairgrid.File) -> Report:
    return Report("same", file)


def both(one: fairgrid.File, other: fairgrid.File) -> int:
    return one.size + other.size


def writes_nothing() -> fairgrid.File:
    return fairgrid.File("never.txt")


def takes_the_results() -> fairgrid.File:
    return fairgrid.File("results.jsonl")


def imports_errors() -> Any:
    from fairgrid import errors
    from fairgrid.errors import UsageError

    return errors, UsageError


def uses_an_executor() -> Any:
    return fairgrid.Executor("here")


def test_a_file_goes_there_under_its_name_and_is_kept_once(ex: Executor, stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "words é.txt"
    file.write_text("a b a")
    again = tmp_path / "copy.txt"
    again.write_text("a b a")
    values = list(ex.map(count, [fairgrid.File(file)] * 20 + [fairgrid.File(again)], ["a"] * 21))
    assert values == [("words é.txt", 2, 5)] * 20 + [("copy.txt", 2, 5)]
    assert len(list((stage.folder / "runs" / ex.run_id / "inputs").glob("blob-*"))) == 1


def test_two_calls_that_write_one_name_both_give_their_own_file(ex: Executor, tmp_path: Path) -> None:
    sources = []
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        sources.append(fairgrid.File(tmp_path / name))
    first, second = ex.map(shout, sources)
    assert (first.name, first.read_text(), second.read_bytes()) == ("loud.txt", "ONE", b"TWO")
    (tmp_path / "out").mkdir()
    assert Path(first.save(tmp_path / "out")).read_text() == "ONE"
    assert second.save(tmp_path / "out" / "second.txt").endswith("second.txt")


def test_an_input_may_be_returned_and_a_file_may_lie_in_a_dataclass(ex: Executor, tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(b"\0" * 100)
    back = ex.submit(report, fairgrid.File(tmp_path / "page")).result()
    assert (back.title, back.page.name, back.page.read_bytes()) == ("same", "page", b"\0" * 100)


def test_a_changed_file_is_another_argument(ex: Executor, tmp_path: Path) -> None:
    file = tmp_path / "n"
    file.write_text("1")
    first = ex.submit(count, fairgrid.File(file), "1")
    file.write_text("22 1")
    assert ex.submit(count, fairgrid.File(file), "1").result() == ("n", 1, 4)
    assert first.result() == ("n", 1, 1)


def test_a_file_that_does_not_change_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Stage
) -> None:
    file = tmp_path / "n"
    file.write_text("1")
    read = []

    def kept(path: Path) -> tuple[str, int]:
        read.append(path)
        return "blob-" + "0" * 64, 1

    writer = CallWriter(lambda name, content: None, keep_path=kept)
    lines = [writer.write(count, (fairgrid.File(file), "1"), {}).blobs for _ in range(3)]
    assert lines == [("blob-" + "0" * 64,)] * 3 and read == [file]


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_what_is_no_file_is_refused_before_anything_is_sent(ex: Executor, tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(CannotTravel, match=r"argument 1 (cannot be read|is no file)"):
        ex.submit(count, fairgrid.File(path), "a")


def test_files_beyond_what_a_worker_takes_are_refused(
    ex: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls_module, "MAX_INPUT_BYTES", 10)
    for name in ("a", "b"):
        (tmp_path / name).write_text(name * 8)
    a, b = fairgrid.File(tmp_path / "a"), fairgrid.File(tmp_path / "b")
    assert ex.submit(report, a).result().page.read_text() == "a" * 8
    with pytest.raises(CannotTravel, match="at most 10 bytes of files"):
        ex.submit(both, a, b)
    (tmp_path / "a").write_text("a" * 11)
    with pytest.raises(CannotTravel, match="has 11 bytes"):
        ex.submit(report, a)


def test_a_returned_file_that_is_not_there_and_the_results_themselves_are_the_calls_error(ex: Executor) -> None:
    error = ex.submit(writes_nothing).exception()
    assert isinstance(error, TypeError) and "cannot be read" in str(error)
    assert ex.submit(takes_the_results).result().name == "results.jsonl"


def test_of_fairgrid_only_files_and_the_mark_are_there(ex: Executor) -> None:
    error = ex.submit(uses_an_executor).exception()
    assert isinstance(error, AttributeError) and "File and remote only" in str(error)
    with pytest.raises(CannotTravel, match="File and remote only"):
        ex.submit(imports_errors)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "..\\x", "C:x", "a\nb", "x" * 300, 7])
def test_a_result_cannot_name_a_place(name: Any) -> None:
    with pytest.raises(BadWire):
        Decoder(locate=lambda attached: "/dev/null").decode({"fl": [name, "blob-" + "0" * 64]})


def test_a_result_cannot_point_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    blob = "blob-" + "0" * 64
    (tmp_path / blob).symlink_to(tmp_path / "secret")
    call = Call(0, "0\t{}", "bundle")
    for attached in ("../secret", "secret", blob, "blob-" + "1" * 64):
        line = json.dumps({"value": {"fl": ["page", attached]}}).encode()
        _, error = TaskResults(tmp_path).ending(line, call)
        assert isinstance(error, RemoteError) and error.kind == "fairgrid.BadResult"


def test_tasks_hold_a_bounded_amount_of_files_and_a_shared_one_counts_once() -> None:
    packing = Packing(width=1, task_files_bytes=100)
    shared = [Call(number, "0\t{}", "b", ("same",), (90,)) for number in range(50)]
    assert len(pack(shared, packing, most_tasks=10)) == 1
    own = [Call(number, "0\t{}", "b", (f"own-{number}",), (40,)) for number in range(5)]
    assert [len(task) for task in pack(own, packing, most_tasks=10)] == [2, 2, 1]
