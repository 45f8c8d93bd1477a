"""Results of other tasks as inputs of a job, on a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure, VerificationError
from fairgrid.protocol.archive import write_archive
from fairgrid.protocol.digest import tree_digest_of_folder
from fairgrid.protocol.encrypted_files import Purpose, encrypt_bytes
from fairgrid.protocol.hexes import to_hex32
from fairgrid.protocol.manifest import TaskRef
from fairgrid.protocol.pool_messages import Lease
from fairgrid.protocol.results import results_text
from fairgrid.worker.computing.dependencies import fetch_dependencies
from tests.worker.world import OTHER, World, new_world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with new_world() as made:
        yield made


async def completed(world: World, base: Path, text: str, *, digest: str | None = None) -> Lease:
    """A task that is COMPLETED with one file as its result; ``digest`` is what its worker claimed, if not the truth."""
    folder = base / f"made-{text}"
    folder.mkdir(parents=True)
    (folder / "out.txt").write_text(text)
    archive = base / f"{text}.zip"
    write_archive(folder, archive)
    agreed = digest or tree_digest_of_folder(folder)
    lease = await world.task()
    await world.contribute(lease, agreed)
    await world.reveal(lease, agreed)
    await world.finalize(lease, results_text(await world.storage.add_file(archive)))
    return lease


async def fetch(world: World, folder: Path, *tasks: str, max_bytes: int = 1_000) -> dict[str, Path]:
    needed = [TaskRef(f"input {number}", task) for number, task in enumerate(tasks)]
    return await fetch_dependencies(world.chain, world.storage, needed, folder, max_bytes=max_bytes)


async def test_results_of_completed_tasks_are_fetched_and_compared(world: World, tmp_path: Path) -> None:
    one, two = await completed(world, tmp_path, "one"), await completed(world, tmp_path, "two")
    folders = await fetch(world, tmp_path / "here", one.task_id, two.task_id, one.task_id)
    assert {(folder / "out.txt").read_text() for folder in folders.values()} == {"one", "two"}
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == sorted([one.task_id, two.task_id])


async def test_what_was_fetched_before_a_restart_is_not_fetched_again(world: World, tmp_path: Path) -> None:
    one = await completed(world, tmp_path, "one")
    first = await fetch(world, tmp_path / "here", one.task_id)
    before = (first[one.task_id] / "out.txt").stat().st_ino
    again = await fetch(world, tmp_path / "here", one.task_id)
    assert (again[one.task_id] / "out.txt").stat().st_ino == before


async def test_task_that_is_not_over_is_handed_back(world: World, tmp_path: Path) -> None:
    lease = await world.task()
    with pytest.raises(HostFailure, match="is ACTIVE on chain"):
        await fetch(world, tmp_path / "here", lease.task_id)


async def test_result_that_is_not_what_was_agreed_is_refused_and_nothing_is_left(world: World, tmp_path: Path) -> None:
    lease = await completed(world, tmp_path, "one", digest=to_hex32(b"\x07" * 32))
    with pytest.raises(VerificationError, match="the chain says 0x0707"):
        await fetch(world, tmp_path / "here", lease.task_id)
    assert not (tmp_path / "here" / lease.task_id).exists()


async def test_result_that_is_larger_than_the_owner_allows_is_refused(world: World, tmp_path: Path) -> None:
    one, two = await completed(world, tmp_path, "one"), await completed(world, tmp_path, "two")
    with pytest.raises(VerificationError, match="more than 2 bytes"):
        await fetch(world, tmp_path / "here", one.task_id, two.task_id, max_bytes=5)


async def test_result_without_a_place_is_handed_back(world: World, tmp_path: Path) -> None:
    lease = await world.task()
    digest = to_hex32(b"\x01" * 32)
    await world.contribute(lease, digest, OTHER)
    await world.reveal(lease, digest)
    await world.finalize(lease, b"somewhere")
    with pytest.raises(HostFailure, match="without saying where"):
        await fetch(world, tmp_path / "here", lease.task_id)


async def test_a_private_result_is_no_input_of_another_job(world: World, tmp_path: Path) -> None:
    lease = await world.task()
    digest = to_hex32(b"\x07" * 32)
    await world.contribute(lease, digest)
    await world.reveal(lease, digest)
    data = encrypt_bytes(b"k" * 32, b"archive", Purpose.RESULT)
    await world.finalize(lease, results_text(await world.storage.add_bytes(data)))
    with pytest.raises(HostFailure, match="is private"):
        await fetch(world, tmp_path / "here", lease.task_id)
