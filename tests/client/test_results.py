"""Collecting a result: nothing is shown or written unless its digest is the one on chain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from fairgrid.client.results import collect_result, prepare_out
from fairgrid.errors import FairgridError, ServiceRefused, ServiceUnavailable, UsageError, VerificationError
from fairgrid.protocol.archive import archive_digest, write_archive
from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.results import callback_results_text, error_to_bytes, exit_error, results_text
from fairgrid.protocol.views import Task, TaskStatus
from fairgrid.seams.clock import VirtualClock
from fairgrid.storage.app import storage_application
from fairgrid.storage.client import StorageClient
from fairgrid.storage.store import MemoryStore

TASK_ID = "0x" + "01" * 32
FILES = {"answer.txt": b"42", "sub/more.bin": b"\x00\xff", "stdout.txt": b"said\n"}


class _Skipping(VirtualClock):
    """Pauses between retries take no time."""

    async def sleep(self, seconds: float) -> None:
        return


@pytest.fixture
async def storage() -> AsyncIterator[StorageClient]:
    """A storage service in memory."""
    transport = httpx.ASGITransport(storage_application(MemoryStore()))
    async with StorageClient("http://storage", transport=transport) as client:
        yield client


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def archive(folder: Path, files: dict[str, bytes]) -> Path:
    """The result archive of these files."""
    for name, content in files.items():
        (folder / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "files" / name).write_bytes(content)
    (folder / "files").mkdir(parents=True, exist_ok=True)
    write_archive(folder / "files", folder / "result.zip")
    return folder / "result.zip"


def task(results: bytes, digest: str, *, status: TaskStatus = TaskStatus.COMPLETED) -> Task:
    return Task(
        status=status,
        deal_id="0x" + "02" * 32,
        index=0,
        timeref=300,
        contribution_deadline=0,
        reveal_deadline=0,
        final_deadline=0,
        consensus_value=ZERO32,
        reveal_counter=1,
        winner_counter=1,
        contributors=(),
        result_digest=digest,
        results=results,
        results_timestamp=0,
        results_callback=b"",
    )


async def completed(storage: StorageClient, folder: Path, files: dict[str, bytes]) -> Task:
    """A task whose result is these files, honestly uploaded."""
    made = archive(folder, files)
    return task(results_text(await storage.add_file(made)), archive_digest(made))


async def refused(storage: StorageClient, view: Task, out: Path, error: type[FairgridError]) -> FairgridError:
    """The error of collecting, which must leave nothing behind."""
    before = sorted(out.rglob("*")) if out.exists() else []
    with pytest.raises(error) as caught:
        await collect_result(storage, view, TASK_ID, out)
    assert (sorted(out.rglob("*")) if out.exists() else []) == before
    assert not list(out.parent.rglob(".fairgrid-*"))
    return caught.value


async def test_agreed_result_is_written(storage: StorageClient, tmp_path: Path, out: Path) -> None:
    view = await completed(storage, tmp_path / "worker", FILES)
    result = await collect_result(storage, view, TASK_ID, out)
    assert {entry.path: (out / entry.path).read_bytes() for entry in result.entries} == FILES
    assert (result.digest, result.error, result.folder) == (view.result_digest, None, out)
    assert result.cid in view.results.decode()
    assert result.log("stdout.txt") == "said\n"
    assert result.log("stderr.txt") == ""
    assert sorted(path.name for path in out.parent.iterdir()) == ["out", "worker"]


async def test_nothing_is_written_beside_the_folder_which_may_be_all_that_is_writable(
    storage: StorageClient, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = await completed(storage, tmp_path / "worker", FILES)
    beside: list[str] = []
    fetch = storage.fetch

    async def watched(cid: str, target: Path, *, max_bytes: int) -> None:
        await fetch(cid, target, max_bytes=max_bytes)
        beside.extend(path.name for path in out.parent.iterdir())

    monkeypatch.setattr(storage, "fetch", watched)
    await collect_result(storage, view, TASK_ID, out)
    assert sorted(beside) == ["out", "worker"]
    assert not list(out.rglob(".fairgrid-*"))


async def test_empty_result_is_a_result(storage: StorageClient, tmp_path: Path, out: Path) -> None:
    result = await collect_result(storage, await completed(storage, tmp_path / "worker", {}), TASK_ID, out)
    assert (result.entries, result.error) == ((), None)
    assert list(out.iterdir()) == []


async def test_other_archive_than_agreed_is_refused_and_nothing_is_written(
    storage: StorageClient, tmp_path: Path, out: Path
) -> None:
    agreed = archive(tmp_path / "agreed", FILES)
    other = archive(tmp_path / "other", FILES | {"answer.txt": b"43"})
    view = task(results_text(await storage.add_file(other)), archive_digest(agreed))
    error = await refused(storage, view, out, VerificationError)
    assert error.exit_code == 5
    assert archive_digest(other) in str(error) and archive_digest(agreed) in str(error)
    assert "Nothing was written" in str(error)


async def test_bytes_that_are_no_archive_are_refused(storage: StorageClient, out: Path) -> None:
    view = task(results_text(await storage.add_bytes(b"PK no zip")), ZERO32)
    assert (await refused(storage, view, out, VerificationError)).exit_code == 5


async def test_storage_that_serves_other_bytes_than_the_cid_is_refused(
    storage: StorageClient, tmp_path: Path, out: Path
) -> None:
    view = await completed(storage, tmp_path / "agreed", FILES)
    forged = archive(tmp_path / "other", FILES | {"answer.txt": b"43"}).read_bytes()

    async def pieces() -> AsyncIterator[bytes]:
        yield forged

    def serve(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=pieces())

    async with StorageClient("http://liar", transport=httpx.MockTransport(serve), clock=_Skipping()) as liar:
        assert (await refused(liar, view, out, VerificationError)).exit_code == 5


@pytest.mark.parametrize(
    "results", [b"", b"nonsense", callback_results_text("0x" + "00" * 20), b'{"storage": "ipfs", "location": "/x"}']
)
async def test_task_that_names_no_archive_is_refused(storage: StorageClient, out: Path, results: bytes) -> None:
    error = await refused(storage, task(results, ZERO32), out, VerificationError)
    assert "without saying where the result lies" in str(error)


@pytest.mark.parametrize("status", [TaskStatus.UNSET, TaskStatus.ACTIVE, TaskStatus.REVEALING, TaskStatus.FAILED])
async def test_task_that_is_not_completed_has_no_result(storage: StorageClient, out: Path, status: TaskStatus) -> None:
    error = await refused(storage, task(b"", ZERO32, status=status), out, UsageError)
    assert status.name in str(error)


async def test_storage_that_is_down_or_does_not_have_it_can_be_asked_again(
    storage: StorageClient, tmp_path: Path, out: Path
) -> None:
    view = await completed(storage, tmp_path / "worker", FILES)
    out.mkdir()

    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody there")

    async with StorageClient("http://gone", transport=httpx.MockTransport(away), clock=_Skipping()) as gone:
        await refused(gone, view, out, ServiceUnavailable)
    empty = httpx.ASGITransport(storage_application(MemoryStore()))
    async with StorageClient("http://empty", transport=empty) as forgetful:
        await refused(forgetful, view, out, ServiceRefused)
    assert len((await collect_result(storage, view, TASK_ID, out)).entries) == 3


async def test_agreed_error_is_told_as_one(storage: StorageClient, tmp_path: Path, out: Path) -> None:
    document = exit_error(3, b"out", b"Traceback")
    view = await completed(storage, tmp_path / "worker", {"error.json": error_to_bytes(document)})
    result = await collect_result(storage, view, TASK_ID, out)
    assert result.error == document


async def test_job_that_writes_an_error_document_beside_files_has_not_failed(
    storage: StorageClient, tmp_path: Path, out: Path
) -> None:
    files = FILES | {"error.json": error_to_bytes(exit_error(3, b"", b""))}
    result = await collect_result(storage, await completed(storage, tmp_path / "worker", files), TASK_ID, out)
    assert result.error is None


async def test_log_is_shown_without_terminal_escapes_and_kept_with_them(
    storage: StorageClient, tmp_path: Path, out: Path
) -> None:
    files = {"stdout.txt": b"a\x1b[31mb\x1b]0;title\x07c\xff"}
    result = await collect_result(storage, await completed(storage, tmp_path / "worker", files), TASK_ID, out)
    assert result.log("stdout.txt") == "abc\ufffd"
    assert (out / "stdout.txt").read_bytes() == files["stdout.txt"]


async def test_files_of_the_same_name_are_replaced_and_others_stay(
    storage: StorageClient, tmp_path: Path, out: Path
) -> None:
    out.mkdir()
    (out / "answer.txt").write_text("old")
    (out / "mine.txt").write_text("mine")
    await collect_result(storage, await completed(storage, tmp_path / "worker", FILES), TASK_ID, out)
    assert (out / "answer.txt").read_bytes() == b"42"
    assert (out / "mine.txt").read_text() == "mine"


async def test_link_in_the_folder_does_not_lead_a_result_out_of_it(
    storage: StorageClient, tmp_path: Path, out: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("precious")
    out.mkdir()
    (out / "answer.txt").symlink_to(outside / "precious.txt")
    files = {"answer.txt": b"42"}
    await collect_result(storage, await completed(storage, tmp_path / "worker", files), TASK_ID, out)
    assert (out / "answer.txt").read_bytes() == b"42"
    assert not (out / "answer.txt").is_symlink()
    (out / "sub").symlink_to(outside)
    view = await completed(storage, tmp_path / "second", {"sub/more.bin": b"new"})
    with pytest.raises(UsageError, match="in the way"):
        await collect_result(storage, view, TASK_ID, out)
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"precious.txt": "precious"}


async def test_folder_in_the_way_of_a_file_is_named(storage: StorageClient, tmp_path: Path, out: Path) -> None:
    (out / "answer.txt").mkdir(parents=True)
    view = await completed(storage, tmp_path / "worker", {"answer.txt": b"42"})
    error = await refused(storage, view, out, UsageError)
    assert str(out / "answer.txt") in str(error)


def test_result_folder_that_is_a_file_is_refused_before_anything_is_paid(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--out"):
        prepare_out(tmp_path / "file")
    prepare_out(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
