"""Each task of a run has a key of its own, and a worker gets those of its own tasks only."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairgrid.errors import VerificationError
from fairgrid.protocol.data_keys import MAX_PRIVATE_TASKS, DataKey, TaskKeys

KEY = DataKey(bytes(range(32)))


@settings(max_examples=60)
@given(st.integers(0, MAX_PRIVATE_TASKS - 600), st.integers(1, 500))
def test_a_range_gives_the_keys_of_its_tasks_and_of_no_other(first: int, count: int) -> None:
    keys = TaskKeys.from_bytes(KEY.keys_for(first, count).to_bytes())
    assert keys.shared == KEY.shared
    for index in {first, first + count // 2, first + count - 1}:
        assert keys.of(index) == KEY.of(index)
    for index in {first - 1, first + count, -1, MAX_PRIVATE_TASKS, first + count + 77}:
        with pytest.raises(VerificationError, match="other tasks"):
            keys.of(index)


def test_all_keys_differ_and_a_range_stays_small() -> None:
    keys = [KEY.of(index) for index in range(300)]
    assert len({*keys, KEY.shared, KEY.secret, DataKey.fresh().of(0)}) == 303
    assert len(KEY.keys_for(1, MAX_PRIVATE_TASKS - 2).to_bytes()) < 4_000
    assert KEY.keys_for(0, MAX_PRIVATE_TASKS).of(MAX_PRIVATE_TASKS - 1) == KEY.of(MAX_PRIVATE_TASKS - 1)


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (0, 0), (MAX_PRIVATE_TASKS, 1), (1, MAX_PRIVATE_TASKS)])
def test_tasks_beyond_the_last_have_no_key(first: int, count: int) -> None:
    with pytest.raises(VerificationError, match="private run has the tasks"):
        KEY.keys_for(first, count)


def test_keys_are_not_shown() -> None:
    shown = f"{KEY!r} {KEY.keys_for(0, 3)!r}"
    assert KEY.secret.hex() not in shown and str(KEY.secret) not in shown and str(KEY.shared) not in shown


def test_what_is_no_key_is_refused() -> None:
    with pytest.raises(VerificationError, match="32 bytes"):
        DataKey(b"short")
    good = json.loads(KEY.keys_for(0, 2).to_bytes())
    bad = [
        b"",
        b"{}",
        b"[]",
        json.dumps(good).encode(),  # not canonical
        json.dumps(good | {"nodes": [[1, 2]]}, separators=(",", ":"), sort_keys=True).encode(),
        json.dumps(good | {"nodes": [[99, 0, "00" * 32]]}, separators=(",", ":"), sort_keys=True).encode(),
        json.dumps(good | {"shared": "00"}, separators=(",", ":"), sort_keys=True).encode(),
    ]
    for data in bad:
        with pytest.raises(VerificationError, match="no key"):
            TaskKeys.from_bytes(data)
