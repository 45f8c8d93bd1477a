"""What a pool's database remembers of the chain itself: where it begins, and a block up to which it was read.

Every method blocks: call it from a thread.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from fairgrid.pool.records import schema

__all__ = ["Anchor", "ChainMemory"]


@dataclass(frozen=True, slots=True)
class Anchor:
    """A block that was part of the chain when its events were taken."""

    number: int
    hash: str


class ChainMemory:
    """Two rows beside the pool's binding."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def is_bound(self) -> bool:
        """True once the database belongs to a pool: it has served before."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            return _value(connection, "workerpool") is not None

    def bind_genesis(self, block_hash: str) -> str:
        """The hash of block 0 that the database belongs to; at first use, this one."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            known = _value(connection, "genesis")
        if known is not None:
            return known
        with self._engine.begin() as connection:
            connection.execute(sa.insert(schema.bindings).values(name="genesis", value=block_hash))
        return block_hash

    def anchor(self) -> Anchor | None:
        """The block remembered last; None for a new database."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            known = _value(connection, "anchor")
        if known is None:
            return None
        number, _, block_hash = known.partition(" ")
        return Anchor(int(number), block_hash)

    def set_anchor(self, anchor: Anchor) -> None:
        """Remember a block."""
        value = f"{anchor.number} {anchor.hash}"
        with self._engine.begin() as connection:
            changed = connection.execute(
                sa.update(schema.bindings).where(schema.bindings.c.name == "anchor").values(value=value)
            )
            if changed.rowcount == 0:
                connection.execute(sa.insert(schema.bindings).values(name="anchor", value=value))


def _value(connection: Connection, name: str) -> str | None:
    query = sa.select(schema.bindings.c.value).where(schema.bindings.c.name == name)
    found: str | None = connection.execute(query).scalar_one_or_none()
    return found
