"""A worker's backup brings back its key, its settings and what it holds, and nothing of another chain's."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairgrid.chain.network import Network
from fairgrid.errors import UsageError
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.seams.database import open_engine
from fairgrid.wallet.backup import restore_backup, write_backup
from fairgrid.wallet.keystore import open_or_create_key
from fairgrid.worker.records.backup import WORKER_BACKUP, expected_of, identity_of, mark_restored
from fairgrid.worker.records.store import WorkerStore
from fairgrid.worker.setup.opening import DATABASE_NAME

PASSPHRASE = "a passphrase for tests"
HUB = "0x" + "11" * 20


def network(chain_id: int) -> Network:
    return Network("test", chain_id, "", HUB, "0x", HUB, "", "", "", ZERO_ADDRESS)


def written(folder: Path, file: Path) -> str:
    signer = open_or_create_key(folder)
    (folder / "policy.toml").write_text("slots = 2\n")
    (folder / "cache").mkdir()
    (folder / "cache" / "big").write_bytes(b"x")
    store = WorkerStore.open(folder / DATABASE_NAME)
    store.bind(chain_id=31337, hub=HUB, worker=signer.address)
    store.close()
    engine = open_engine(folder / DATABASE_NAME)
    try:
        summary = write_backup(
            WORKER_BACKUP, file, PASSPHRASE, directory=folder, engine=engine, identity=identity_of, scrypt_n=1 << 10
        )
    finally:
        engine.dispose()
    assert summary.files == ("keystore.json", "password", "policy.toml")
    return signer.address


def restored(file: Path, folder: Path, chain_id: int) -> None:
    restore_backup(
        WORKER_BACKUP,
        file,
        PASSPHRASE,
        directory=folder,
        database=None,
        expected=expected_of(network(chain_id)),
        finish=mark_restored,
    )


def test_a_restored_worker_has_its_key_policy_and_database(tmp_path: Path) -> None:
    address = written(tmp_path / "worker", tmp_path / "file")
    restored(tmp_path / "file", tmp_path / "again", 31337)
    assert open_or_create_key(tmp_path / "again").address == address
    assert (tmp_path / "again" / "policy.toml").read_text() == "slots = 2\n"
    store = WorkerStore.open(tmp_path / "again" / DATABASE_NAME)
    store.bind(chain_id=31337, hub=HUB, worker=address)
    with pytest.raises(UsageError, match="belongs to chain id 31337"):
        store.bind(chain_id=1, hub=HUB, worker=address)
    store.close()


def test_a_worker_of_another_chain_is_not_restored(tmp_path: Path) -> None:
    written(tmp_path / "worker", tmp_path / "file")
    with pytest.raises(UsageError, match="whose chain id is 31337, not 134"):
        restored(tmp_path / "file", tmp_path / "again", 134)
    assert not (tmp_path / "again").exists()
