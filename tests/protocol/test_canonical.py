"""Canonical forms: applying one again changes nothing, equal or not is all there is, and the docs' vectors hold."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.errors import ManifestError, UsageError
from fairgrid.protocol.canonical import (
    CanonicalRule,
    NotCanonical,
    canonical_bytes,
    edge_failure_rate,
    read_rule,
    rules_for,
)
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.manifest import FileRef, Manifest, Resources, parse_manifest

JSON = CanonicalRule("json", ("*.json",))
ROWS = CanonicalRule("rows", ("*.csv",))
DECIMALS = CanonicalRule("round", ("*",), decimals=2, edge_failures_per_million=3)
DIGITS = CanonicalRule("round", ("*",), digits=3, edge_failures_per_million=3)
RULES = [JSON, ROWS, dataclasses.replace(ROWS, header=1), DECIMALS, DIGITS, dataclasses.replace(DECIMALS, decimals=0)]

VECTORS = [
    (JSON, b'{ "b": 1.50,\n "a": [1e2, "\\u00fc"] }', '{"a":[100,"ü"],"b":1.5}'.encode()),
    (ROWS, b"b,2\r\na,1\n\nc", b"\na,1\nb,2\nc\n"),
    (dataclasses.replace(ROWS, header=1), b"name,n\nb,2\na,1\n", b"name,n\na,1\nb,2\n"),
    (DECIMALS, b"x=1.005, y=-0.001 n=42 z=2.5e3", b"x=1.00, y=0.00 n=42 z=2500.00"),
    (DIGITS, b"0.00012345 -98765.4 7 0.0", b"1.23e-4 -9.88e+4 7 0.00e+0"),
]


@pytest.mark.parametrize(("rule", "content", "expected"), VECTORS)
def test_each_form_is_what_the_docs_say(rule: CanonicalRule, content: bytes, expected: bytes) -> None:
    assert canonical_bytes(content, rule) == expected


_NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.from_regex(r"[+-]?[0-9]{0,4}\.[0-9]{0,6}(e[+-]?[0-9]{1,5})?", fullmatch=True),
    st.sampled_from(["1e99999999999999999999", "1.2.3", "-", "+.5", "v1.5", "1.5x", "0x1.8p3"]),
)
_TEXT = st.lists(st.one_of(_NUMBERS, st.sampled_from([",", " ", "\n", "\r\n", "-", "+", "a", '"'])), max_size=30)


@given(_TEXT.map(lambda parts: "".join(parts).encode()), st.sampled_from(RULES[1:]))
def test_applying_a_form_again_changes_nothing(content: bytes, rule: CanonicalRule) -> None:
    once = canonical_bytes(content, rule)
    assert canonical_bytes(once, rule) == once


_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53) + 1, 2**53 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(blacklist_categories=["Cs"])),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(st.characters(blacklist_categories=["Cs"])), inner, max_size=4),
    ),
    max_leaves=10,
)


@given(_VALUES, st.booleans())
def test_json_is_one_text_however_it_was_written(value: object, ascii_only: bool) -> None:
    loose = json.dumps(value, indent=3, ensure_ascii=ascii_only).encode()
    once = canonical_bytes(loose, JSON)
    assert canonical_bytes(once, JSON) == once
    assert json.loads(once, parse_int=float) == json.loads(loose, parse_int=float), "the same as floats"


@given(
    st.lists(st.binary(max_size=6).filter(lambda row: b"\n" not in row and b"\r" not in row), max_size=20), st.randoms()
)
def test_rows_in_whatever_order_are_one_text(rows: list[bytes], order: random.Random) -> None:
    mixed = list(rows)
    order.shuffle(mixed)
    text = b"".join(row + b"\n" for row in rows)
    assert canonical_bytes(text, ROWS) == canonical_bytes(b"".join(row + b"\n" for row in mixed), ROWS)


def test_a_form_is_no_tolerance_two_numbers_as_close_as_you_like_may_differ() -> None:
    below, above = b"0.00499999999999", b"0.00500000000001"
    assert canonical_bytes(below, DECIMALS) != canonical_bytes(above, DECIMALS)
    far = b"0.0149999"
    assert canonical_bytes(above, DECIMALS) == canonical_bytes(far, DECIMALS), "and far ones agree"


def test_the_stated_edge_failure_rate_is_what_noise_does() -> None:
    draw, noise, step, numbers, trials = random.Random(1), 2e-5, 1e-2, 50, 4_000
    failed = 0
    for _ in range(trials):
        values = [draw.uniform(0, 10) for _ in range(numbers)]
        one, other = (" ".join(f"{value + shift:.9f}" for value in values).encode() for shift in (0.0, noise))
        failed += canonical_bytes(one, DECIMALS) != canonical_bytes(other, DECIMALS)
    assert failed / trials == pytest.approx(edge_failure_rate(noise, step, numbers), rel=0.2)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"NaN", b"[1e400]", b"\xff", b"[" * 100 + b"]" * 100, b"9007199254740993"]
)
def test_what_is_not_json_that_every_reader_keeps_has_no_canonical_form(content: bytes) -> None:
    with pytest.raises(NotCanonical, match="numbers that every reader keeps"):
        canonical_bytes(content, JSON)


def test_rules_are_chosen_by_path_and_kept_in_order() -> None:
    rules = (DECIMALS, ROWS, JSON)
    assert rules_for("out/a.csv", rules) == (DECIMALS, ROWS)
    assert rules_for("a.json", (ROWS, JSON)) == (JSON,)
    assert rules_for("a.txt", (ROWS, JSON)) == ()


def test_people_write_rules_shortly() -> None:
    assert read_rule("json:*.json") == JSON
    assert read_rule("rows:out.csv:header=1") == CanonicalRule("rows", ("out.csv",), header=1)
    assert read_rule("round:*:decimals=2:edge=3") == DECIMALS
    assert read_rule("round:*:digits=3:edge=3") == DIGITS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("xml:a", "no canonical form"),
        ("json", "no canonical form"),
        ("json:a:header=1", "has no option 'header'"),
        ("rows:a:header=x", "whole number"),
        ("round:a:edge=1", "decimals or digits"),
        ("round:a:decimals=1:digits=2:edge=1", "decimals or digits"),
        ("round:a:decimals=1", "edge failures per million"),
    ],
)
def test_what_is_no_rule_is_refused_with_what_to_give(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_rule(text)


def _manifest(*rules: CanonicalRule) -> Manifest:
    cid = cid_of(b"content")
    return Manifest(FileRef("run.py", cid, 7), "wasmtime-49/py312/deterministic", Resources(10**9), canonicaliser=rules)


def test_rules_travel_in_the_manifest_and_none_is_the_text_of_before() -> None:
    manifest = _manifest(JSON, dataclasses.replace(ROWS, header=2), DECIMALS, DIGITS)
    assert parse_manifest(manifest.to_bytes()) == manifest
    assert b'"canonicaliser":"none"' in _manifest().to_bytes()


@pytest.mark.parametrize(
    "rule",
    [
        CanonicalRule("xml", ("a",)),
        CanonicalRule("json", ()),
        CanonicalRule("round", ("a",), decimals=16),
        CanonicalRule("round", ("a",), digits=0),
        CanonicalRule("round", ("a",), decimals=1, edge_failures_per_million=-1),
        CanonicalRule("rows", ("a[b]",)),
    ],
)
def test_rules_beyond_the_schema_are_refused(rule: CanonicalRule) -> None:
    with pytest.raises(ManifestError):
        _manifest(rule).to_bytes()


@pytest.mark.parametrize(
    ("content", "form"),
    [(b"\r", b""), (b"b\r\r\na\r", b"a\nb\n"), (b"a\rb\r\n", b"a\rb\n"), (b"a\n\r\n", b"\na\n")],
)
def test_rows_end_without_carriage_returns_however_many_there_were(content: bytes, form: bytes) -> None:
    assert canonical_bytes(content, ROWS) == form == canonical_bytes(form, ROWS)
