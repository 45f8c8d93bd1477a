from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from fairgrid.pool.core.events import UploadRejected, UploadVerified
from fairgrid.pool.core.instructions import VerifyUpload
from fairgrid.pool.jobs.uploads import verify_upload
from fairgrid.protocol.archive import archive_digest, write_archive
from fairgrid.protocol.hexes import keccak, to_hex32
from fairgrid.storage.app import storage_application
from fairgrid.storage.client import StorageClient
from fairgrid.storage.store import MemoryStore
from tests.pool.fakes import digest_of


@pytest.fixture
async def storage() -> AsyncIterator[StorageClient]:
    transport = httpx.ASGITransport(storage_application(MemoryStore()))
    async with StorageClient("http://storage", transport=transport) as client:
        yield client


def _archive(folder: Path, content: bytes) -> Path:
    source = folder / content.hex()
    source.mkdir()
    (source / "answer.txt").write_bytes(content)
    archive = source.with_suffix(".zip")
    write_archive(source, archive)
    return archive


async def _verify(
    storage: StorageClient,
    folder: Path,
    cid: str,
    digest: str,
    *,
    callback: str | None = None,
    max_bytes: int = 10**6,
) -> UploadVerified | UploadRejected:
    scratch = folder / "scratch"
    scratch.mkdir()
    instruction = VerifyUpload(digest_of("task"), "lease", cid, digest, callback or "0x", callback is not None)
    outcome = await verify_upload(instruction, storage, scratch=scratch, max_bytes=max_bytes)
    assert list(scratch.iterdir()) == []
    return outcome


async def test_the_bytes_that_were_agreed_are_verified(storage: StorageClient, tmp_path: Path) -> None:
    archive = _archive(tmp_path, b"right")
    cid = await storage.add_file(archive)
    outcome = await _verify(storage, tmp_path, cid, archive_digest(archive))
    assert outcome == UploadVerified(digest_of("task"), "lease", cid)


async def test_another_result_is_dishonest(storage: StorageClient, tmp_path: Path) -> None:
    cid = await storage.add_file(_archive(tmp_path, b"forged"))
    outcome = await _verify(storage, tmp_path, cid, archive_digest(_archive(tmp_path, b"right")))
    assert isinstance(outcome, UploadRejected) and outcome.dishonest


async def test_bytes_that_are_no_archive_are_dishonest(storage: StorageClient, tmp_path: Path) -> None:
    cid = await storage.add_bytes(b"PK but not really")
    outcome = await _verify(storage, tmp_path, cid, digest_of("x"))
    assert isinstance(outcome, UploadRejected) and outcome.dishonest and "no result archive" in outcome.reason


async def test_what_is_not_in_storage_proves_nothing(storage: StorageClient, tmp_path: Path) -> None:
    other = StorageClient("http://x", transport=httpx.ASGITransport(storage_application(MemoryStore())))
    async with other:
        cid = await other.add_bytes(b"elsewhere")
    outcome = await _verify(storage, tmp_path, cid, digest_of("x"))
    assert isinstance(outcome, UploadRejected) and not outcome.dishonest


async def test_what_is_too_large_to_be_checked_proves_nothing(storage: StorageClient, tmp_path: Path) -> None:
    archive = _archive(tmp_path, b"right")
    cid = await storage.add_file(archive)
    outcome = await _verify(storage, tmp_path, cid, archive_digest(archive), max_bytes=10)
    assert isinstance(outcome, UploadRejected) and not outcome.dishonest


@pytest.mark.parametrize("cid", ["", "nonsense", "../../etc/passwd", "x" * 128])
async def test_what_is_no_cid_is_rejected(storage: StorageClient, tmp_path: Path, cid: str) -> None:
    outcome = await _verify(storage, tmp_path, cid, digest_of("x"))
    assert isinstance(outcome, UploadRejected) and not outcome.dishonest


async def test_a_cid_in_another_spelling_does_not_reach_the_chain(storage: StorageClient, tmp_path: Path) -> None:
    archive = _archive(tmp_path, b"right")
    cid = (await storage.add_file(archive)).upper()
    outcome = await _verify(storage, tmp_path, cid, archive_digest(archive))
    assert isinstance(outcome, UploadRejected)


async def test_a_callback_counts_by_its_bytes_and_needs_no_archive(storage: StorageClient, tmp_path: Path) -> None:
    digest = to_hex32(keccak(b"\xab\xcd"))
    assert isinstance(await _verify(storage, tmp_path, "?", digest, callback="0xabcd"), UploadVerified)


async def test_other_callback_bytes_are_dishonest(storage: StorageClient, tmp_path: Path) -> None:
    digest = to_hex32(keccak(b"\xab\xcd"))
    outcome = await _verify(storage, tmp_path, "?", digest, callback="0xabce")
    assert isinstance(outcome, UploadRejected) and outcome.dishonest


async def test_storage_that_is_down_proves_nothing(tmp_path: Path) -> None:
    async with StorageClient("http://127.0.0.1:1") as down:
        outcome = await _verify(down, tmp_path, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", "0x")
    assert isinstance(outcome, UploadRejected) and not outcome.dishonest
