from __future__ import annotations

from fairgrid.protocol.deadlines import contribution_deadline, final_deadline, reveal_deadline


def test_deadlines_are_seven_two_and_ten_time_references() -> None:
    assert contribution_deadline(1_000, 300) == 3_100
    assert reveal_deadline(1_000, 300) == 1_600
    assert final_deadline(1_000, 300) == 4_000


def test_a_category_without_time_has_deadlines_at_once() -> None:
    assert contribution_deadline(1_000, 0) == reveal_deadline(1_000, 0) == final_deadline(1_000, 0) == 1_000
