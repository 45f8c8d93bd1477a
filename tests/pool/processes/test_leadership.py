"""One process leads, fenced by an epoch: on a real PostgreSQL, and on SQLite."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from fairgrid.errors import ServiceUnavailable, UsageError
from fairgrid.pool.core.instructions import Claim
from fairgrid.pool.processes import leadership as leadership_module
from fairgrid.pool.processes.leadership import Leadership, LeadershipLost
from fairgrid.pool.records.rows import Commit
from fairgrid.pool.records.store import PoolStore
from fairgrid.seams.database import open_engine
from tests.pool.fakes import digest_of
from tests.postgres import PostgresServer


class _Process:
    """What one process of a pool has: its own connections, store and place among the others."""

    def __init__(self, database: str, name: str = "one") -> None:
        self.engine = open_engine(database)
        PoolStore.open(database).close()
        self.store = PoolStore(self.engine)
        self.leadership = Leadership(self.engine, address=f"http://{name}")

    def write(self, name: str = "task") -> None:
        self.store.commit(Commit(at=1.0, instructions=[Claim(digest_of(name))]))

    def close(self) -> None:
        self.leadership.close()
        self.engine.dispose()


@pytest.fixture
def pair(postgres_url: str) -> Iterator[tuple[_Process, _Process]]:
    first, second = _Process(postgres_url, "first"), _Process(postgres_url, "second")
    yield first, second
    first.close()
    second.close()


def test_one_process_leads_and_the_other_sees_who(pair: tuple[_Process, _Process]) -> None:
    first, second = pair
    leader = first.leadership.lead()
    assert leader is not None and leader.epoch == 1
    assert second.leadership.lead() is None
    assert second.leadership.leader() == leader and leader.address == "http://first"
    assert [(other.address, other.fit) for other in first.leadership.others()] == [("http://second", True)]
    first.leadership.renew()


def test_a_resigned_lead_is_taken_under_the_next_epoch(pair: tuple[_Process, _Process]) -> None:
    first, second = pair
    first.leadership.lead()
    first.leadership.resign(stay_away=True)
    leader = second.leadership.lead()
    assert leader is not None and leader.epoch == 2
    assert [(other.address, other.fit) for other in second.leadership.others()] == [("http://first", False)]
    with pytest.raises(LeadershipLost):
        first.leadership.renew()


def test_only_the_leader_writes(pair: tuple[_Process, _Process]) -> None:
    first, second = pair
    with pytest.raises(LeadershipLost, match="stands by"):
        first.write()
    first.leadership.lead()
    first.write()
    with pytest.raises(LeadershipLost):
        second.write()
    assert len(second.store.transactions_under_way()) == 1


def test_a_leader_whose_session_was_cut_writes_nothing_after_the_takeover(pair: tuple[_Process, _Process]) -> None:
    first, second = pair
    first.leadership.lead()
    with second.leadership.unfenced() as connection:
        connection.exec_driver_sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
    deadline = time.monotonic() + 5
    while (leader := second.leadership.lead()) is None:
        assert time.monotonic() < deadline
    assert leader.epoch == 2
    # The first does not know yet, and its other connections are sound.
    with pytest.raises(LeadershipLost, match="epoch 2"):
        first.write("by the old leader")
    with pytest.raises(LeadershipLost):
        first.leadership.renew()
    assert first.leadership.epoch is None
    assert second.store.transactions_under_way() == []


def test_a_takeover_waits_for_the_commit_that_is_under_way(pair: tuple[_Process, _Process]) -> None:
    first, second = pair
    first.leadership.lead()
    taken: list[int] = []

    def take_over() -> None:
        leader = None
        while leader is None:
            leader = second.leadership.lead()
        taken.append(leader.epoch)

    with first.engine.begin() as connection:
        connection.execute(sa.text("SELECT 1"))
        session = first.leadership._session
        assert session is not None
        session.invalidate()
        thread = threading.Thread(target=take_over)
        thread.start()
        time.sleep(0.3)
        assert taken == []
    thread.join(timeout=10)
    assert taken == [2]


def test_a_frozen_leader_is_ended_by_the_others(
    pair: tuple[_Process, _Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    first.leadership.lead()
    monkeypatch.setattr(leadership_module, "STALE_S", 0.5)
    first.leadership.renew()
    assert second.leadership.lead() is None
    time.sleep(0.6)
    deadline = time.monotonic() + 5
    while second.leadership.lead() is None:
        assert time.monotonic() < deadline
    with pytest.raises(LeadershipLost):
        first.write()


def test_processes_that_start_at_once_migrate_once(postgres_url: str) -> None:
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            PoolStore.open(postgres_url).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert failures == []


def test_a_database_that_is_down_is_told_without_its_password(postgres: PostgresServer) -> None:
    url = "postgresql://operator:secret@127.0.0.1:1/pool"
    with pytest.raises(ServiceUnavailable) as down:
        PoolStore.open(url)
    assert "127.0.0.1" in str(down.value) and "secret" not in str(down.value)


def test_a_leader_that_was_killed_is_followed_within_five_seconds(postgres_url: str) -> None:
    """The other process is a real one, and it is killed as by `kill -9`."""
    second = _Process(postgres_url, "second")
    program = (
        "import sys, time\n"
        "from fairgrid.seams.database import open_engine\n"
        "from fairgrid.pool.processes.leadership import Leadership\n"
        f"place = Leadership(open_engine({postgres_url!r}), address='http://child')\n"
        "assert place.lead()\n"
        "sys.stdout.write('leads'); sys.stdout.flush()\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None and child.stdout.read(5) == b"leads"
            assert second.leadership.lead() is None
            child.kill()
            killed_at = time.monotonic()
            while second.leadership.lead() is None:
                assert time.monotonic() < killed_at + 5
                time.sleep(0.05)
        finally:
            child.kill()
    second.close()


def test_a_second_process_on_sqlite_is_told_who_has_it(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'pool.db'}"
    first, second = _Process(database, "first"), _Process(database, "second")
    assert first.leadership.lead() is not None
    with pytest.raises(UsageError, match=f"{os.getpid()}, at http://first"):
        second.leadership.lead()
    with pytest.raises(LeadershipLost):
        second.write()
    first.write()
    first.close()
    leader = second.leadership.lead()
    assert leader is not None and leader.epoch == 2
    second.close()


def test_the_servers_clock_counts_not_the_processes(pair: tuple[_Process, _Process], postgres_url: str) -> None:
    first, _ = pair
    leader = first.leadership.lead()
    assert leader is not None
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    assert row is not None and abs(leader.since - row[0]) < 5
