"""What is told as the likely cause of a difference."""

from __future__ import annotations

import pytest

from fairgrid.runtime.determinism.causes import CAUSES, likely_cause


@pytest.mark.parametrize(
    ("first", "other", "cause"),
    [
        (b"{'a', 'b', 'c'}\n", b"{'c', 'a', 'b'}\n", "order"),
        (b"x\ny\nz\n", b"z\nx\ny\n", "order"),
        (b"<X object at 0x7f12ab34cd56>", b"<X object at 0x7f99ab34cd56>", "addresses"),
        (b"done at 2026-11-26 05:00:01", b"done at 2026-11-26 05:00:03", "clock"),
        (b"t=1795669201.25", b"t=1795669203.5", "clock"),
        (b"mean 0.12345678901234\n", b"mean 0.12345678901239\n", "rounding"),
        (b"[1.5, -2e-05]", b"[1.5, -2.00000001e-05]", "rounding"),
        (b"0.5771", b"0.1234", "random"),
        (b"\xff\x00", b"\xff\x01", "random"),
        (b"7 items", b"8 items", "random"),
    ],
)
def test_the_content_tells_the_cause_where_it_can(first: bytes, other: bytes, cause: str) -> None:
    assert likely_cause(first, other, differs_under=["again", "cores"]).name == cause


@pytest.mark.parametrize(
    ("conditions", "cause"),
    [
        (["again", "folders", "cores"], "random"),
        (["folders"], "folder order"),
        (["cores"], "threads"),
        (["cores", "host name"], "threads"),
        (["host name"], "host"),
        (["environment"], "host"),
    ],
)
def test_else_the_change_of_the_host_that_brings_it_out_does(conditions: list[str], cause: str) -> None:
    assert likely_cause(b"7", b"8", differs_under=conditions).name == cause


def test_random_numbers_of_ten_digits_are_no_times() -> None:
    assert likely_cause(b"1795669209 1695669201", b"1695669203 1795669201", differs_under=["again"]).name == "random"


def test_every_cause_has_a_remedy() -> None:
    assert all(cause.text.endswith(".") and cause.remedy.endswith(".") for cause in CAUSES.values())
