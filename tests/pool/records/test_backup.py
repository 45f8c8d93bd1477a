"""A pool's backup: whole or refused, for its own pool alone, on SQLite and PostgreSQL, and caught up by the chain."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fairgrid.chain.network import Network, save_network
from fairgrid.cli.main import main
from fairgrid.errors import HostFailure, UsageError, VerificationError
from fairgrid.pool.core.events import Tick
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.core.instructions import Claim
from fairgrid.pool.records import schema
from fairgrid.pool.records.backup import POOL_BACKUP, expected_of, identity_of, mark_restored, restored_at
from fairgrid.pool.records.rows import Commit
from fairgrid.pool.records.store import PoolStore
from fairgrid.seams.database import open_engine
from fairgrid.wallet import backup as backup_module
from fairgrid.wallet.backup import BackupSummary, check_backup, restore_backup, write_backup
from fairgrid.wallet.keystore import KEYSTORE_NAME, open_or_create_key
from tests.pool.fakes import digest_of
from tests.pool.grid import key

PASSPHRASE = "a passphrase for tests"
QUICK = 1 << 10
POOL, HUB = key("workerpool").address, key("hub").address


def network(workerpool: str = POOL, chain_id: int = 31337) -> Network:
    return Network("test", chain_id, "http://127.0.0.1:1", HUB, "0x", HUB, "", "", "", workerpool)


def used(database: str | Path, folder: Path, *, rows: int = 3) -> PoolStore:
    """A pool's folder and database, in use."""
    open_or_create_key(folder)
    (folder / "policy.toml").write_text("heartbeat_s = 7\n")
    (folder / "sponsor").mkdir(mode=0o700, exist_ok=True)
    (folder / "sponsor" / "keystore.json").write_text("{}")
    (folder / "uploads").mkdir(exist_ok=True)
    (folder / "uploads" / "big.zip").write_bytes(b"x" * 1_000)
    store = PoolStore.open(database)
    store.bind(PoolIdentity(31337, HUB, POOL))
    for number in range(rows):
        store.commit(
            Commit(at=float(number), events=[Tick(number)], instructions=[Claim(digest_of(f"line\n\t\\{number}"))])
        )
    return store


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A database to back up, and an empty one to restore to."""
    if request.param == "sqlite":
        yield str(tmp_path / "pool" / "pool.db"), str(tmp_path / "again" / "pool.db")
        return
    server = request.getfixturevalue("postgres")
    with server.fresh_database() as one, server.fresh_database() as other:
        yield one, other


def written(path: Path, folder: Path, database: str | Path) -> BackupSummary:
    engine = open_engine(database)
    try:
        return write_backup(
            POOL_BACKUP, path, PASSPHRASE, directory=folder, engine=engine, identity=identity_of, scrypt_n=QUICK
        )
    finally:
        engine.dispose()


def restored(path: Path, folder: Path, database: str | None = None, **changes: Any) -> BackupSummary:
    values: dict[str, Any] = {"expected": expected_of(network()), "finish": mark_restored} | changes
    return restore_backup(POOL_BACKUP, path, PASSPHRASE, directory=folder, database=database, **values)


def test_backup_of_a_pool_that_writes_meanwhile_is_restored_with_its_keys(
    databases: tuple[str, str], tmp_path: Path
) -> None:
    source, target = databases
    store = used(source, tmp_path / "pool")
    with store.engine.begin() as held:
        # A write that is under way when the backup is made is not in it, and is not hindered.
        held.execute(sa.insert(schema.bindings).values(name="later", value="1"))
        summary = written(tmp_path / "file", tmp_path / "pool", source)
    assert summary.files == ("keystore.json", "password", "policy.toml", "sponsor/keystore.json")
    assert summary.rows["pool_effect"] == summary.rows["pool_journal"] == 3
    assert summary.identity["workerpool"] == POOL
    assert (tmp_path / "file").stat().st_mode & 0o077 == 0

    restored(tmp_path / "file", tmp_path / "again", None if source.endswith(".db") else target)
    again = PoolStore.open(target)
    assert again.transactions_under_way() == store.transactions_under_way()
    assert len(again.transactions_under_way()) == 3
    with again.engine.connect() as connection:
        assert connection.execute(sa.select(schema.bindings).where(schema.bindings.c.name == "later")).first() is None
    assert (tmp_path / "again" / KEYSTORE_NAME).read_bytes() == (tmp_path / "pool" / KEYSTORE_NAME).read_bytes()
    assert open_or_create_key(tmp_path / "again").address == open_or_create_key(tmp_path / "pool").address
    assert restored_at(again.engine) and restored_at(store.engine) is None
    again.commit(Commit(at=9.0, events=[Tick(9)]))  # the journal's own numbers go on
    again.close()
    store.close()


def test_nothing_is_ever_overwritten(databases: tuple[str, str], tmp_path: Path) -> None:
    source, target = databases
    used(source, tmp_path / "pool").close()
    written(tmp_path / "file", tmp_path / "pool", source)
    with pytest.raises(UsageError, match="exists already"):
        written(tmp_path / "file", tmp_path / "pool", source)
    with pytest.raises(UsageError, match="is not empty"):
        restored(tmp_path / "file", tmp_path / "pool", target)
    with pytest.raises(UsageError, match=r"exists already|is in use"):
        restored(tmp_path / "file", tmp_path / "elsewhere", source)
    assert not (tmp_path / "elsewhere").exists()


def test_a_restore_that_fails_leaves_nothing_and_may_be_tried_again(databases: tuple[str, str], tmp_path: Path) -> None:
    source, target = databases
    used(source, tmp_path / "pool").close()
    written(tmp_path / "file", tmp_path / "pool", source)
    before = sorted(path.name for path in tmp_path.iterdir())
    data = (tmp_path / "file").read_bytes()
    (tmp_path / "file").write_bytes(data[:-1])
    with pytest.raises(VerificationError, match="cut short or changed"):
        restored(tmp_path / "file", tmp_path / "again", target)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "again").mkdir()
    restored(tmp_path / "file", tmp_path / "again", target if "://" in target else None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A backup of a small pool on SQLite."""
    used(tmp_path / "pool" / "pool.db", tmp_path / "pool").close()
    written(tmp_path / "file", tmp_path / "pool", tmp_path / "pool" / "pool.db")
    return tmp_path / "file"


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"workerpool": key("other").address}, "workerpool"), ({"chain_id": 134}, "chain id")],
    ids=["wrong pool", "wrong chain"],
)
def test_another_pools_backup_is_refused(file: Path, tmp_path: Path, changes: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=f"whose {what} is"):
        restored(file, tmp_path / "again", expected=expected_of(network(**changes)))
    assert not (tmp_path / "again").exists()


def test_wrong_passphrase_foreign_file_and_wrong_database_are_told_apart(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not the passphrase"):
        check_backup(POOL_BACKUP, file, "another passphrase")
    (tmp_path / "foreign").write_bytes(b"SQLite format 3\0" * 10)
    with pytest.raises(UsageError, match="no sealed file"):
        check_backup(POOL_BACKUP, tmp_path / "foreign", PASSPHRASE)
    with pytest.raises(UsageError, match="cannot be read"):
        check_backup(POOL_BACKUP, tmp_path / "missing", PASSPHRASE)
    with pytest.raises(UsageError, match="holds a SQLite database"):
        restored(file, tmp_path / "again", "postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(UsageError, match="No pool ran on"):
        written(tmp_path / "second", tmp_path / "pool", tmp_path / "pool" / "policy.toml")


def test_a_full_disk_while_writing_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used(tmp_path / "pool" / "pool.db", tmp_path / "pool").close()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup_module, "pack", full)
    with pytest.raises(HostFailure, match="No space left"):
        written(tmp_path / "file", tmp_path / "pool", tmp_path / "pool" / "pool.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pool"]
    assert not [path for path in (tmp_path / "pool").iterdir() if path.name.startswith(".backup")]


def test_commands_write_check_rotate_and_restore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    used(tmp_path / "pool" / "pool.db", tmp_path / "pool").close()
    save_network(network(), tmp_path / "net.json")
    (tmp_path / "kept").mkdir()
    secret = tmp_path / "passphrase"
    secret.write_text(PASSPHRASE + "\n")
    secret.chmod(0o600)
    given = ["--passphrase-file", str(secret), "--json"]

    def call(*words: object, code: int = 0) -> dict[str, Any]:
        with pytest.raises(SystemExit) as ended:
            main(["pool", *(str(word) for word in words), *given])
        document = json.loads(capsys.readouterr().out)
        assert ended.value.code == code, document
        return dict(document)

    (tmp_path / "kept" / "pool-notes.backup").write_text("somebody else's")
    made = []
    for second in range(3):
        monkeypatch.setattr("fairgrid.cli.backups.time.time", lambda at=1_000_000 + second: at)
        answer = call("backup", tmp_path / "kept", "--dir", tmp_path / "pool", "--keep", 2)
        made.append(answer["file"])
    assert answer["deleted"] == [made[0]]
    assert sorted(os.listdir(tmp_path / "kept")) == [*(Path(path).name for path in made[1:]), "pool-notes.backup"]
    assert call("backup", made[2], "--check")["rows"]["pool_effect"] == 3
    restore = ["restore", made[2], "--dir", tmp_path / "again", "--network", tmp_path / "net.json"]
    assert call(*restore)["identity"]["workerpool"] == POOL
    assert "not empty" in call(*restore, code=2)["message"]
    secret.chmod(0o644)
    assert "chmod 600" in call("backup", made[2], "--check", code=2)["message"]
