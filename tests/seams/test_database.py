from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Engine, Integer, MetaData, Table, inspect, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.schema import CreateTable

from fairgrid.errors import UsageError
from fairgrid.seams.database import Uint256, migrate, open_engine, version_table

_amounts = Table(
    "amounts", MetaData(), Column("id", Integer, primary_key=True), Column("amount_nrlc", Uint256, nullable=True)
)

_FIRST = """
from __future__ import annotations
import sqlalchemy as sa
from alembic import op
revision = "0001"
down_revision = None
def upgrade() -> None:
    op.create_table("parents", sa.Column("id", sa.Integer, primary_key=True))
    op.create_table("children", sa.Column("parent", sa.Integer, sa.ForeignKey("parents.id"), nullable=False))
"""

_SECOND = """
from __future__ import annotations
import sqlalchemy as sa
from alembic import op
revision = "0002"
down_revision = "0001"
def upgrade() -> None:
    with op.batch_alter_table("parents") as table:
        table.add_column(sa.Column("name", sa.String(20)))
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(tmp_path / "service.db")
    yield engine
    engine.dispose()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "room_of_test" / "migrations"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "__init__.py").write_text("")
    (folder / "r0001_first.py").write_text(_FIRST)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.startswith("room_of_test")]:
        del sys.modules[name]


@given(value=st.integers(min_value=0, max_value=2**256 - 1))
def test_an_amount_of_256_bits_round_trips_as_64_hex_digits(value: int) -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    stored = Uint256().process_bind_param(value, dialect)
    assert stored is not None
    assert len(stored) == 64
    assert Uint256().process_result_value(stored, dialect) == value


@given(
    left=st.integers(min_value=0, max_value=2**256 - 1),
    right=st.integers(min_value=0, max_value=2**256 - 1),
)
def test_stored_amounts_sort_as_the_numbers_do(left: int, right: int) -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    low, high = (Uint256().process_bind_param(value, dialect) for value in (left, right))
    assert low is not None and high is not None
    assert (low < high) == (left < right)


@pytest.mark.parametrize("value", [-1, 2**256, "7", 1.5, True])
def test_what_is_no_256_bit_integer_is_refused(engine: Engine, value: object) -> None:
    with engine.begin() as connection:
        _amounts.create(connection)
        with pytest.raises(StatementError):
            connection.execute(_amounts.insert().values(amount_nrlc=value))


def test_amounts_and_none_come_back_from_a_real_table_in_order(engine: Engine) -> None:
    with engine.begin() as connection:
        _amounts.create(connection)
        for value in (2**255, None, 10, 9):
            connection.execute(_amounts.insert().values(amount_nrlc=value))
        rows = connection.execute(
            select(_amounts.c.amount_nrlc).where(_amounts.c.amount_nrlc >= 10).order_by(_amounts.c.amount_nrlc)
        ).all()
        empty = connection.execute(select(_amounts.c.amount_nrlc).where(_amounts.c.amount_nrlc.is_(None))).scalar_one()
    assert [row[0] for row in rows] == [10, 2**255]
    assert empty is None


def test_the_column_compiles_for_postgresql() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    assert "amount_nrlc CHAR(64)" in str(CreateTable(_amounts).compile(dialect=dialect))


def test_migrating_creates_tables_and_a_second_time_changes_nothing(engine: Engine, package: Path) -> None:
    migrate(engine, "room_of_test.migrations")
    migrate(engine, "room_of_test.migrations")
    tables = set(inspect(engine).get_table_names())
    assert tables == {"parents", "children", version_table("room_of_test.migrations")}


def test_a_new_revision_is_applied_to_an_old_database_and_keeps_its_rows(engine: Engine, package: Path) -> None:
    migrate(engine, "room_of_test.migrations")
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO parents (id) VALUES (7)"))
    (package / "r0002_second.py").write_text(_SECOND)
    migrate(engine, "room_of_test.migrations")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT id, name FROM parents")).all() == [(7, None)]


def test_a_database_of_a_newer_release_is_refused_with_the_remedy(engine: Engine, package: Path) -> None:
    migrate(engine, "room_of_test.migrations")
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {version_table('room_of_test.migrations')} SET version_num = '0999'"))
    with pytest.raises(UsageError, match="Use that release, or a new database"):
        migrate(engine, "room_of_test.migrations")


def test_a_revision_that_fails_leaves_nothing_behind(engine: Engine, package: Path) -> None:
    (package / "r0002_second.py").write_text(_SECOND.replace("with op", "raise ZeroDivisionError\n    with op"))
    with pytest.raises(ZeroDivisionError):
        migrate(engine, "room_of_test.migrations")
    assert inspect(engine).get_table_names() == []


def test_foreign_keys_are_enforced_and_the_log_is_write_ahead(engine: Engine, package: Path) -> None:
    migrate(engine, "room_of_test.migrations")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text("INSERT INTO children (parent) VALUES (1)"))


def test_a_transaction_that_raises_is_rolled_back(engine: Engine) -> None:
    with engine.begin() as connection:
        _amounts.create(connection)
    with pytest.raises(ZeroDivisionError), engine.begin() as connection:
        connection.execute(_amounts.insert().values(amount_nrlc=1))
        raise ZeroDivisionError
    with engine.connect() as connection:
        assert connection.execute(select(_amounts)).all() == []


def test_a_reader_sees_the_last_commit_while_a_writer_writes(engine: Engine) -> None:
    with engine.begin() as connection:
        _amounts.create(connection)
    with engine.begin() as writer:
        writer.execute(_amounts.insert().values(amount_nrlc=1))
        with engine.connect().execution_options(read_only=True) as reader:
            assert reader.execute(select(_amounts)).all() == []


def test_read_then_write_from_many_threads_loses_no_update(engine: Engine) -> None:
    with engine.begin() as connection:
        _amounts.create(connection)
        connection.execute(_amounts.insert().values(id=1, amount_nrlc=0))

    def add() -> None:
        for _ in range(10):
            with engine.begin() as connection:
                amount = connection.execute(select(_amounts.c.amount_nrlc)).scalar_one()
                connection.execute(_amounts.update().values(amount_nrlc=amount + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as connection:
        assert connection.execute(select(_amounts.c.amount_nrlc)).scalar_one() == 40


def test_a_database_in_memory_is_one_for_all_threads(package: Path) -> None:
    engine = open_engine("sqlite://")
    migrate(engine, "room_of_test.migrations")
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.extend(inspect(engine).get_table_names()))
    thread.start()
    thread.join()
    engine.dispose()
    assert "parents" in seen


@pytest.mark.parametrize("url", ["nonsense://x", "postgresql+nonsense://x/y"])
def test_a_url_that_cannot_be_opened_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="cannot be opened"):
        open_engine(url)


def test_a_connection_that_lay_idle_while_the_server_ended_it_is_replaced(postgres_url: str) -> None:
    engine, other = open_engine(postgres_url), open_engine(postgres_url)
    try:
        with engine.connect() as connection:
            first = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with other.connect() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": first})
        time.sleep(0.2)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT pg_backend_pid()")).scalar_one() != first
    finally:
        engine.dispose()
        other.dispose()
