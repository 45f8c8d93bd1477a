from __future__ import annotations

import pytest

from fairgrid.protocol.hexes import MAX_UINT256
from fairgrid.protocol.model_state import Cell, Event, Revert, Table, World, checked, require, transaction


class Counter:
    """A contract with a table and a cell."""

    def __init__(self) -> None:
        self.world = World(now=5)
        self.table: Table[str, int] = Table(self.world, 0)
        self.cell: Cell[int] = Cell(self.world, 7)

    @transaction
    def write(self, key: str, value: int, *, fail: bool = False) -> int:
        """Write all there is, then maybe fail."""
        self.table[key] = value
        self.table[key] += 1
        self.cell.value = value
        self.world.emit("hub", "Written", key_=key)
        require(not fail, "failed")
        return value

    @transaction
    def write_and_try(self) -> None:
        """A call inside a call fails, and only the inner one is undone."""
        self.write("outer", 1)
        with pytest.raises(Revert):
            self.write("outer", 50, fail=True)
        self.write("inner", 2)


def test_a_call_that_succeeds_keeps_its_changes_and_events() -> None:
    counter = Counter()
    assert counter.write("a", 1) == 1
    assert counter.table["a"] == 2
    assert counter.cell.value == 1
    assert counter.world.events == [Event("Written", {"key": "a"}, "hub")]


def test_a_call_that_reverts_changes_nothing() -> None:
    counter = Counter()
    counter.write("a", 1)
    for key in ("a", "b"):
        with pytest.raises(Revert, match="failed"):
            counter.write(key, 10, fail=True)
    assert counter.table["a"] == 2
    assert "b" not in counter.table
    assert list(counter.table) == ["a"]
    assert counter.table.values() == [2]
    assert counter.cell.value == 1
    assert len(counter.world.events) == 1


def test_a_call_that_reverts_inside_another_is_undone_alone() -> None:
    counter = Counter()
    counter.write_and_try()
    assert (counter.table["outer"], counter.table["inner"], len(counter.table)) == (2, 3, 2)
    assert len(counter.world.events) == 2


def test_any_exception_undoes_the_call() -> None:
    counter = Counter()
    with pytest.raises(ZeroDivisionError), counter.world.atomic():
        counter.write("a", 1)
        1 / 0  # noqa: B018
    assert counter.table["a"] == 0
    assert counter.world.events == []


def test_a_table_has_its_default_at_every_key() -> None:
    assert Counter().table["never"] == 0


def test_arithmetic_panics_outside_256_bits() -> None:
    assert checked(MAX_UINT256) == MAX_UINT256
    for value in (-1, MAX_UINT256 + 1):
        with pytest.raises(Revert) as refusal:
            checked(value)
        assert refusal.value.text == "Panic(0x11)"


def test_a_revert_says_its_text_or_that_there_is_none() -> None:
    assert str(Revert("why")) == "why"
    assert str(Revert()) == "(no data)"
    assert Revert().text is None
