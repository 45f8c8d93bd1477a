"""JSON of strangers."""

from __future__ import annotations

import sys

import pytest

from fairgrid.protocol.bounded_json import MAX_DEPTH, load_json


def test_usual_json_is_read() -> None:
    assert load_json(b'{"a":[1,"[[[\\"{{",null]}') == {"a": [1, '[[["{{', None]}
    assert load_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'"\xff"', b"[1,]", b'"open', b"\xef\xbb\xbf1"])
def test_what_is_not_json_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        load_json(data)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'["\\"",['])
def test_deep_nesting_is_refused_even_where_python_would_crash(opening: bytes) -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        with pytest.raises(ValueError, match="nested deeper"):
            load_json(opening * 100_000)
    finally:
        sys.setrecursionlimit(before)


def test_many_quotes_take_no_time() -> None:
    with pytest.raises(ValueError):
        load_json(b'"\\' * 1_000_000)
