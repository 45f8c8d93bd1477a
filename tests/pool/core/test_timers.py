from __future__ import annotations

from fairgrid.pool.core.timers import Timers


def test_what_is_due_comes_once_the_most_overdue_first_and_nothing_before_its_moment() -> None:
    timers = Timers()
    for key, moment in (("late", 30.0), ("soon", 10.0), ("sooner", 5.0)):
        timers.set(key, moment)
    assert timers.take(4.9) == []
    assert timers.take(10.0) == ["sooner", "soon"]
    assert timers.take(10.0) == []
    assert timers.take(100.0) == ["late"]
    assert len(timers) == 0


def test_a_later_moment_does_not_push_an_earlier_one_away_but_an_earlier_one_counts() -> None:
    timers = Timers()
    timers.set("a", 10.0)
    timers.set("a", 20.0)
    assert timers.take(10.0) == ["a"]
    timers.set("a", 30.0)
    timers.set("a", 15.0)
    assert timers.take(15.0) == ["a"]
    assert timers.take(100.0) == []


def test_what_is_forgotten_is_not_due_any_more() -> None:
    timers = Timers()
    timers.set("a", 10.0)
    timers.forget("a")
    timers.forget("never set")
    assert timers.take(100.0) == []


def test_equal_moments_come_in_the_order_of_their_keys() -> None:
    timers = Timers()
    for key in ("b", "c", "a"):
        timers.set(key, 1.0)
    assert timers.take(1.0) == ["a", "b", "c"]


def test_forgotten_moments_take_no_memory_for_long() -> None:
    timers = Timers()
    for number in range(50_000):
        timers.set(str(number), 1e9)
        timers.forget(str(number))
    assert len(timers._heap) < 5_000
