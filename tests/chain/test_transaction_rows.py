from __future__ import annotations

import sqlalchemy as sa

from fairgrid.chain.interface import SignedTransaction
from fairgrid.chain.transaction_rows import transaction_columns, transaction_of, transaction_values

LARGEST_NONCE = 2**64 - 1


def test_a_transaction_that_is_written_is_read_as_the_same_in_a_table_with_other_columns() -> None:
    table = sa.Table("sent", sa.MetaData(), sa.Column("why", sa.Text), *transaction_columns())
    sent = SignedTransaction(b"\x02\x00", "0x" + "ab" * 32, "0x" + "Cd" * 20, LARGEST_NONCE, "transfer")
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(sa.insert(table).values(why="a test", **transaction_values(sent)))
        (row,) = connection.execute(sa.select(table))
    engine.dispose()
    assert transaction_of(row) == sent and row.why == "a test"
