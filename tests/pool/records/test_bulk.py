"""Many rows in one statement, and a transaction in one piece: all of it is stored, or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from fairgrid.pool.records.bulk import BulkInsert, written_at_once
from fairgrid.seams.database import open_engine

_table = sa.Table(
    "bulk_row",
    sa.MetaData(),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("word", sa.Text),
    sa.Column("weight", sa.Float),
    sa.Column("good", sa.Boolean),
)
_write = BulkInsert(_table, ("number", "word", "weight", "good"), key="number")
_only_new = BulkInsert(_table, ("number", "word", "weight", "good"))


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    url: Any = tmp_path / "rows.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    engine = open_engine(url)
    with engine.begin() as connection:
        _table.create(connection)
    yield engine
    engine.dispose()


@pytest.fixture
def postgresql(postgres_url: str) -> Iterator[sa.Engine]:
    engine = open_engine(postgres_url)
    with engine.begin() as connection:
        _table.create(connection)
    yield engine
    engine.dispose()


def row(number: int, word: str | None = "a word") -> tuple[Any, ...]:
    return (number, word, number / 3, number % 2 == 0)


def write(engine: sa.Engine, rows: list[tuple[Any, ...]], *, insert: BulkInsert = _write) -> None:
    with engine.begin() as connection, written_at_once(connection) as batch:
        insert(batch, rows)


def stored(engine: sa.Engine) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(found) for found in connection.execute(sa.select(_table).order_by(_table.c.number))]


@pytest.mark.parametrize("count", [0, 1, 2, 7, 388])
def test_rows_come_back_as_they_were_given_however_many(engine: sa.Engine, count: int) -> None:
    rows = [row(number, None if number % 5 == 0 else f'{number} "ä\\n" %s $1 ?') for number in range(count)]
    write(engine, rows)
    assert stored(engine) == rows


def test_a_row_whose_key_is_known_is_changed(engine: sa.Engine) -> None:
    write(engine, [row(1), row(2)])
    write(engine, [row(2, "another"), row(3)])
    assert [word for _, word, _, _ in stored(engine)] == ["a word", "another", "a word"]


def test_more_than_a_socket_takes_at_once_is_stored(engine: sa.Engine) -> None:
    write(engine, [row(number, chr(97 + number) * 3_000_000) for number in range(4)])
    assert [len(word) for _, word, _, _ in stored(engine)] == [3_000_000] * 4


def test_of_a_transaction_of_which_one_statement_fails_nothing_is_stored_and_the_next_one_works(
    engine: sa.Engine,
) -> None:
    write(engine, [row(5)])
    for _ in range(2):
        with pytest.raises(DBAPIError, match=r"(?i)unique"):
            with engine.begin() as connection, written_at_once(connection) as batch:
                _only_new(batch, [row(4)])
                _only_new(batch, [row(5)])
                _only_new(batch, [row(6)])
        assert [number for number, *_ in stored(engine)] == [5]
    write(engine, [row(4)], insert=_only_new)
    assert [number for number, *_ in stored(engine)] == [4, 5]


def test_what_was_done_before_in_the_transaction_is_committed_with_it_or_not_at_all(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.insert(_table).values(number=1))
        with written_at_once(connection) as batch:
            _only_new(batch, [row(2)])
    with pytest.raises(DBAPIError), engine.begin() as connection:
        connection.execute(sa.insert(_table).values(number=3))
        with written_at_once(connection) as batch:
            _only_new(batch, [row(2)])
    assert [number for number, *_ in stored(engine)] == [1, 2]


def test_it_is_handed_over_before_it_is_committed_and_not_if_it_cannot_be_sent(engine: sa.Engine) -> None:
    told: list[list[tuple[Any, ...]]] = []
    with engine.begin() as connection, written_at_once(connection, handed=lambda: told.append([])) as batch:
        _write(batch, [row(1)])
        assert not told
    assert told == [[]] and [number for number, *_ in stored(engine)] == [1]
    with contextlib.suppress(TypeError, DBAPIError), engine.begin() as connection:
        with written_at_once(connection, handed=lambda: told.append([])) as batch:
            _write(batch, [(2, object(), 0.0, True)])
    assert told == [[]] and [number for number, *_ in stored(engine)] == [1]
    write(engine, [row(2)])


def test_a_text_that_postgresql_cannot_hold_is_refused_and_nothing_is_cut_off(postgresql: sa.Engine) -> None:
    with pytest.raises(ValueError, match="NUL"):
        write(postgresql, [row(1, "before\0after")])
    write(postgresql, [row(1)])
    assert [word for _, word, _, _ in stored(postgresql)] == ["a word"]


def test_statements_stay_prepared_while_others_roll_back(postgresql: sa.Engine) -> None:
    for number in range(20):
        write(postgresql, [row(number)])
        with postgresql.connect() as connection:
            connection.execute(sa.select(_table)).all()
            connection.rollback()
    with postgresql.connect() as connection:
        names = connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar_one()
    assert names == 1 and len(stored(postgresql)) == 20


def test_a_connection_that_is_cut_in_the_middle_is_an_error_and_the_next_transaction_gets_another(
    postgresql: sa.Engine,
) -> None:
    write(postgresql, [row(1)])
    with pytest.raises(DBAPIError), postgresql.begin() as connection:
        server = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with written_at_once(connection) as batch:
            _write(batch, [row(2)])
            with postgresql.begin() as other:
                other.exec_driver_sql("SELECT pg_terminate_backend(%s, 10000)", (server,))
    write(postgresql, [row(3)])
    assert [number for number, *_ in stored(postgresql)] == [1, 3]
