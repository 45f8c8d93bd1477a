"""The packed word of a registry's entry: fields round-trip, none touches another."""

from __future__ import annotations

from typing import Any

import boa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairgrid.protocol.hexes import checksum, to_hex
from tests.contracts.registries import SOURCES

_positions = st.integers(0, 2**32 - 1)
_policies = st.tuples(st.integers(0, 2**24 - 1), st.integers(0, 100))
_owners = st.binary(min_size=20, max_size=20).map(lambda raw: checksum(to_hex(raw)))


@pytest.fixture(scope="module")
def token_word() -> Any:
    return boa.load(str(SOURCES / "lib" / "token_word.vy")).internal


def _fields(token_word: Any, word: int) -> tuple[str, int, int, int, int]:
    return (
        str(token_word._owner(word)),
        token_word._stake_ratio(word),
        token_word._reward_ratio(word),
        token_word._position(word),
        token_word._owned_position(word),
    )


@settings(max_examples=40, deadline=None)
@given(owner=_owners, policy=_policies, position=_positions, owned=_positions)
def test_fields_read_back(token_word: Any, owner: str, policy: tuple[int, int], position: int, owned: int) -> None:
    packed_policy = token_word._pack_policy(*policy)
    word = token_word._pack(owner, packed_policy, position, owned)
    assert _fields(token_word, word) == (owner, *policy, position, owned)
    assert token_word._policy(word) == packed_policy


@settings(max_examples=40, deadline=None)
@given(word=st.integers(0, 2**256 - 1), policy=_policies, owned=_positions)
def test_a_changed_field_leaves_the_others(token_word: Any, word: int, policy: tuple[int, int], owned: int) -> None:
    before = _fields(token_word, word)
    changed = _fields(token_word, token_word._with_policy(word, token_word._pack_policy(*policy)))
    assert changed == (before[0], *policy, *before[3:])
    moved = _fields(token_word, token_word._with_owned_position(word, owned))
    assert moved == (*before[:4], owned)


@pytest.mark.parametrize("policy", [(2**24, 0), (0, 101), (2**256 - 1, 2**256 - 1)])
def test_policy_that_does_not_fit_is_refused(token_word: Any, policy: tuple[int, int]) -> None:
    with boa.reverts():
        token_word._pack_policy(*policy)
