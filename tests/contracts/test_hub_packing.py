"""Packed words: every field comes back as it was written, whatever the others are; what does not fit is refused."""

from __future__ import annotations

from typing import Any

import boa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.world import mock

ACCOUNT = {"balance": 96, "frozen": 96, "score": 64}
TASK = {
    "status": 3,
    "contributors": 7,
    "winners": 7,
    "revealed": 7,
    "groups": 7,
    "consensus_group": 6,
    "reveal_deadline": 38,
    "count": 20,
    "materialised": 1,
    "offset": 32,
    "deal_key": 128,
}
CONTRIBUTION = {"status": 2, "group": 6, "has_challenge": 1, "weight": 64, "worker": 160}
LANE = {"cursor": 32, "refunded": 1}
PAIR = {"party": 160, "number": 96}
WORDS = {"account": ACCOUNT, "task": TASK, "contribution": CONTRIBUTION, "lane": LANE, "pair": PAIR}
FLAGS = {"has_challenge", "materialised", "refunded"}
ADDRESSES = {"worker", "party"}

MANY = settings(max_examples=100, deadline=None)


def numbers(bits: int) -> st.SearchStrategy[int]:
    """Any number of so many bits, often at the edge."""
    return st.one_of(st.sampled_from([0, 1, 2**bits - 1, 2 ** (bits - 1)]), st.integers(0, 2**bits - 1))


def fields(word: dict[str, int]) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*(numbers(bits) for bits in word.values()))


@pytest.fixture(scope="module")
def harness() -> Any:
    return mock("packing_harness")


def _argument(name: str, value: int) -> Any:
    if name in FLAGS:
        return bool(value)
    if name in ADDRESSES:
        return "0x" + value.to_bytes(20, "big").hex()
    return value


def _number(value: Any) -> int:
    return int(value, 16) if isinstance(value, str) else int(value)


def _pack(harness: Any, kind: str, values: tuple[int, ...]) -> int:
    arguments = tuple(_argument(name, value) for name, value in zip(WORDS[kind], values, strict=True))
    word = harness.task(arguments) if kind == "task" else getattr(harness, kind)(*arguments)
    return int(word)


def _unpack(harness: Any, kind: str, word: int) -> tuple[int, ...]:
    return tuple(_number(value) for value in getattr(harness, f"{kind}_fields")(word))


@pytest.mark.parametrize("kind", list(WORDS))
def test_every_word_gives_back_what_it_was_given(harness: Any, kind: str) -> None:
    @MANY
    @given(values=fields(WORDS[kind]))
    def holds(values: tuple[int, ...]) -> None:
        assert _unpack(harness, kind, _pack(harness, kind, values)) == values

    holds()


@pytest.mark.parametrize("kind", list(WORDS))
def test_no_two_fields_share_a_bit(harness: Any, kind: str) -> None:
    """Each field alone, all ones: the words do not overlap and fill no more than 256 bits."""
    used = 0
    for position, bits in enumerate(WORDS[kind].values()):
        values = tuple(2**bits - 1 if i == position else 0 for i in range(len(WORDS[kind])))
        word = _pack(harness, kind, values)
        assert word.bit_count() == bits
        assert used & word == 0
        used |= word
    assert used < 2**256
    assert used.bit_count() == sum(WORDS[kind].values()) <= 256


@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, field) for kind, word in WORDS.items() for field in word if field not in FLAGS | ADDRESSES],
)
def test_a_value_that_does_not_fit_is_refused(harness: Any, kind: str, field: str) -> None:
    word = WORDS[kind]
    for value in (2 ** word[field], 2**256 - 1):
        values = tuple(value if name == field else 0 for name in word)
        with pytest.raises(boa.BoaError):
            _pack(harness, kind, values)


def test_a_new_status_changes_nothing_else_of_a_task(harness: Any) -> None:
    @MANY
    @given(values=fields(TASK), status=numbers(3))
    def holds(values: tuple[int, ...], status: int) -> None:
        word = int(harness.with_task_status(_pack(harness, "task", values), status))
        assert _unpack(harness, "task", word) == (status, *values[1:])
        assert tuple(harness.task_shortcuts(word)) == (status, values[1], values[7], values[10])

    holds()


def test_a_new_status_changes_nothing_else_of_a_contribution(harness: Any) -> None:
    @MANY
    @given(values=fields(CONTRIBUTION), status=numbers(2))
    def holds(values: tuple[int, ...], status: int) -> None:
        word = int(harness.with_contribution_status(_pack(harness, "contribution", values), status))
        assert _unpack(harness, "contribution", word) == (status, *values[1:])

    holds()


def test_a_category_exists_with_its_time(harness: Any) -> None:
    @MANY
    @given(seconds=numbers(32))
    def holds(seconds: int) -> None:
        assert tuple(harness.category_fields(harness.category(seconds))) == (True, seconds)

    holds()


def test_what_was_never_written_does_not_exist(harness: Any) -> None:
    assert tuple(harness.category_fields(0)) == (False, 0)
    assert tuple(harness.lane_fields(0)) == (0, False)
    for seconds in (2**32, 2**255, 2**256 - 1):
        with pytest.raises(boa.BoaError):
            harness.category(seconds)
    for status in (8, 2**256 - 1):
        with pytest.raises(boa.BoaError):
            harness.with_task_status(0, status)
        with pytest.raises(boa.BoaError):
            harness.with_contribution_status(0, status)
