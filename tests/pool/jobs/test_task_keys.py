"""Keys of private jobs: only a worker with a lease gets them, sealed for itself, and the pool stores none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fairgrid.errors import UsageError
from fairgrid.pool.core.events import UploadRejected, UploadVerified
from fairgrid.pool.core.instructions import VerifyUpload
from fairgrid.pool.core.matching import Requirements, explain, suits
from fairgrid.pool.jobs.requirements import requirements_of_manifest
from fairgrid.pool.jobs.uploads import verify_upload
from fairgrid.protocol import pool_messages, worker_messages
from fairgrid.protocol.archive import archive_digest, write_archive
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.data_keys import DataKey, TaskKeys
from fairgrid.protocol.encrypted_files import Purpose, encrypt_file
from fairgrid.protocol.hexes import checksum, from_hex, to_hex32
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.machine import Machine
from fairgrid.protocol.manifest import FileRef, Manifest, Resources, params_for
from fairgrid.protocol.private_job import SealingPlace, result_key, seal_data_key
from fairgrid.protocol.sealed_part import Hides, SealedPart
from fairgrid.protocol.sealing import EncryptionKey, pool_key_message, worker_key_message
from fairgrid.protocol.seals import recover_message_signer
from tests.pool.grid import Grid
from tests.pool.scripted import Script, Scripted

KEY = DataKey(b"secret key of the run of a test.")
OWN = EncryptionKey.from_seed(b"w" * 32)
PLAIN = Manifest(script=FileRef("private", cid_of(b"x"), 1), runtime="wasm/py", resources=Resources(fuel=1))


async def sealed(grid: Grid, *, requester: str = "", app: str = "") -> str:
    """Params of a private job of the grid's requester, pool and app, or of others."""
    told = await grid.client.encryption_key()
    part = SealedPart(checksum(grid.workerpool), checksum(app or grid.app), Hides.EVERYTHING)
    place = SealingPlace(grid.chain.chain_id, grid.chain.hub, part.pool, part.app, requester or grid.requester.address)
    manifest = Manifest(script=PLAIN.script, runtime=PLAIN.runtime, resources=PLAIN.resources, sealed=part)
    manifest = seal_data_key(manifest, KEY, place, pool_key=told.public, requester_key=OWN.public)
    return params_for("http://storage", await grid.storage.add_bytes(manifest.to_bytes()))


def context_of(grid: Grid, worker: Scripted, task: str) -> bytes:
    return worker_key_message(grid.chain.chain_id, grid.chain.hub, grid.workerpool, worker.address, task, OWN.public)


async def asks(
    grid: Grid, worker: Scripted, task: str, *, signer: Scripted | None = None, lease: str = "lease"
) -> pool_messages.TaskKey:
    before = worker.kinds().count("task_key")
    signature = (signer or worker).key.sign_message(context_of(grid, worker, task))
    await worker.say(worker_messages.TaskKeyRequest(lease, task, to_hex32(OWN.public), signature))

    async def answered() -> bool:
        return worker.kinds().count("task_key") > before

    await grid.until(answered, what="an answer")
    answer = worker.received[-1]
    assert isinstance(answer, pool_messages.TaskKey)
    return answer


async def test_the_pools_key_is_signed_by_its_scheduler_and_stays_the_same(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    async with grid.pool():
        told = await grid.client.encryption_key()
        message = pool_key_message(grid.chain.chain_id, grid.chain.hub, grid.workerpool, told.public)
        assert recover_message_signer(message, told.signature) == grid.scheduler.address
    async with grid.pool():
        assert (await grid.client.encryption_key()).public == told.public


async def test_a_leased_worker_gets_the_keys_of_its_task_and_nobody_else(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    leased, idle = Scripted(grid, "leased", Script(seals=False)), Scripted(grid, "idle", Script(seals=False))
    async with grid.pool():
        params = await sealed(grid)
        async with leased.connected(opens_keys=True):
            task = task_id(await grid.deal(1, params=params), 0)

            async def has_lease() -> bool:
                return "lease" in leased.kinds()

            await grid.until(has_lease, what="a lease")
            answer = await asks(grid, leased, task)
            assert answer.sealed is not None, answer.reason
            keys = TaskKeys.from_bytes(OWN.open(from_hex(answer.sealed), context_of(grid, leased, task)))
            assert keys.of(0) == KEY.of(0) and keys.shared == KEY.shared
            assert (await asks(grid, leased, task)).sealed not in (None, answer.sealed), "sealed anew each time"
            async with idle.connected(opens_keys=True):
                refused = await asks(grid, idle, task)
                assert (refused.sealed, refused.lasting) == (None, True) and "no lease" in refused.reason
                unknown = await asks(grid, idle, "0x" + "07" * 32)
                assert unknown.sealed is None
    stored = (tmp_path / "pool.db").read_bytes()
    for secret in (KEY.secret, KEY.shared, KEY.of(0), keys.to_bytes()):
        assert secret not in stored and secret.hex().encode() not in stored


async def test_a_request_that_another_key_signed_ends_the_connection(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker, thief = Scripted(grid, "worker", Script(seals=False)), Scripted(grid, "thief")
    async with grid.pool(), worker.connected(opens_keys=True):
        task = "0x" + "07" * 32
        signature = thief.key.sign_message(context_of(grid, worker, task))
        await worker.say(worker_messages.TaskKeyRequest("lease", task, to_hex32(OWN.public), signature))

        async def gone() -> bool:
            return any(
                isinstance(message, pool_messages.Refused) and "not signed by the worker's key" in message.reason
                for message in worker.received
            )

        await grid.until(gone, what="the end")


@pytest.mark.parametrize("change", ["requester", "app"])
async def test_a_key_that_was_sealed_for_another_deal_is_not_given_out(tmp_path: Path, change: str) -> None:
    grid = Grid(tmp_path)
    stranger = "0x" + "77" * 20
    worker = Scripted(grid, "worker", Script(seals=False))
    async with grid.pool():
        params = await sealed(grid, **{change: stranger})
        async with worker.connected(opens_keys=True):
            task = task_id(await grid.deal(1, params=params), 0)

            async def has_lease() -> bool:
                return "lease" in worker.kinds()

            await grid.until(has_lease, what="a lease")
            answer = await asks(grid, worker, task)
            assert (answer.sealed, answer.lasting) == (None, True)
            assert ("used for no other" if change == "app" else "does not open") in answer.reason


async def test_a_worker_that_does_not_know_private_jobs_gets_none_and_is_told_why(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    old, new = Scripted(grid, "old", Script(seals=False)), Scripted(grid, "new", Script(seals=False))
    async with grid.pool():
        params = await sealed(grid)
        async with old.connected():
            await grid.deal(1, params=params)
            await asyncio.sleep(0.5)
            assert "lease" not in old.kinds()
            reasons = {reason.rule: reason for reason in grid.service.why(old.address).reasons}
            assert not reasons["machine"].allowed and "a sealed key wanted" in reasons["machine"].text
            async with new.connected(opens_keys=True):

                async def has_lease() -> bool:
                    return "lease" in new.kinds()

                await grid.until(has_lease, what="a lease")


def test_the_rule_names_what_is_missing() -> None:
    wanted = Requirements(sealed=True)
    assert suits(wanted, Machine(), opens_keys=True) and suits(wanted, None, opens_keys=True)
    assert not suits(wanted, Machine())
    (rule,) = explain(wanted, Machine())
    assert (rule.rule, rule.holds) == ("private jobs", False) and "update" in rule.remedy
    assert suits(Requirements(), Machine())
    assert not requirements_of_manifest(PLAIN).sealed


# --- uploads ---------------------------------------------------------------------------------------------------------


async def verified(
    grid: Grid, tmp_path: Path, content: bytes, *, encrypt: bytes | None, key: bytes | Exception | None, private: bool
) -> UploadVerified | UploadRejected:
    source = tmp_path / "source"
    source.mkdir()
    (source / "answer.txt").write_bytes(content)
    archive, sent = tmp_path / "a.zip", tmp_path / "sent"
    write_archive(source, archive)
    if encrypt is None:
        sent.write_bytes(archive.read_bytes())
    else:
        encrypt_file(encrypt, archive, sent, Purpose.RESULT)
    cid = await grid.storage.add_file(sent)
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    async def ask() -> bytes:
        if isinstance(key, Exception):
            raise key
        assert key is not None
        return key

    instruction = VerifyUpload("0x" + "01" * 32, "lease", cid, archive_digest(archive), "0x", False)
    answer = await verify_upload(
        instruction,
        grid.storage,
        scratch=scratch,
        max_bytes=10**7,
        key=ask if key is not None else None,
        is_private=private,
    )
    assert list(scratch.iterdir()) == []
    return answer


OF_RESULT = result_key(KEY.of(0))


@pytest.mark.parametrize("size", [10, 600_000])
async def test_an_encrypted_result_is_checked_by_what_is_in_it(tmp_path: Path, size: int) -> None:
    grid = Grid(tmp_path)
    answer = await verified(grid, tmp_path, b"x" * size, encrypt=OF_RESULT, key=OF_RESULT, private=True)
    assert isinstance(answer, UploadVerified)


@pytest.mark.parametrize("size", [10, 600_000])
async def test_a_result_that_is_encrypted_with_another_key_is_dishonest(tmp_path: Path, size: int) -> None:
    grid = Grid(tmp_path)
    answer = await verified(grid, tmp_path, b"x" * size, encrypt=bytes(32), key=OF_RESULT, private=True)
    assert isinstance(answer, UploadRejected) and answer.dishonest


@pytest.mark.parametrize(
    ("encrypt", "key", "private", "told"),
    [
        (None, OF_RESULT, True, "is not encrypted"),
        (OF_RESULT, None, False, "no key for it"),
        (OF_RESULT, UsageError("no such key"), True, "no such key"),
    ],
)
async def test_what_the_pool_cannot_open_says_nothing_against_the_worker(
    tmp_path: Path, encrypt: bytes | None, key: bytes | Exception | None, private: bool, told: str
) -> None:
    grid = Grid(tmp_path)
    answer = await verified(grid, tmp_path, b"x", encrypt=encrypt, key=key, private=private)
    assert isinstance(answer, UploadRejected) and not answer.dishonest and told in answer.reason
