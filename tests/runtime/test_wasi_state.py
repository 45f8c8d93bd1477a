"""Clock, random stream and log sink."""

from __future__ import annotations

import hashlib

from fairgrid.runtime.log_sink import LogSink, cut_marker
from fairgrid.runtime.wasm.wasi_state import CLOCK_START_NS, LogicalClock, SeededRandom


def test_clock_adds_a_microsecond_a_read() -> None:
    clock = LogicalClock()
    assert [clock.read() - CLOCK_START_NS for _ in range(3)] == [0, 1_000, 2_000]


def test_clock_never_goes_back() -> None:
    clock = LogicalClock()
    clock.advance_to(CLOCK_START_NS + 5_000)
    clock.advance_to(0)
    assert clock.read() == CLOCK_START_NS + 5_000


def test_random_stream_does_not_depend_on_how_it_is_cut() -> None:
    seed = b"s" * 32
    whole = SeededRandom(seed).take(100)
    pieces = SeededRandom(seed)
    assert b"".join(pieces.take(count) for count in (0, 1, 31, 32, 33, 3)) == whole
    assert whole[:32] == hashlib.sha256(seed + bytes(8)).digest()


def test_log_of_exactly_the_limit_is_not_cut() -> None:
    sink = LogSink(4)
    sink.add(b"ab")
    sink.add(b"cd")
    assert sink.contents() == b"abcd"


def test_log_over_the_limit_keeps_its_beginning_and_says_so() -> None:
    sink = LogSink(4)
    for _ in range(3):
        sink.add(b"abc")
    assert sink.contents() == b"abca" + cut_marker(4)
    assert cut_marker(4).endswith(b"\n")
