"""Calls become tasks, and tasks files, by arithmetic alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairgrid.executors.calls import Call
from fairgrid.executors.packing import MAX_DEAL_TASKS, Packing, deals_of, halves, lay_out, pack

MANY = 1 << 40


def calls(count: int, *, seconds: float = 0.0, size: int = 20, chunk: int = 0, group: int = 0) -> list[Call]:
    return [
        Call(number, f"0\t{number:0{size}d}", "bundle", seconds=seconds, chunk=chunk, group=group)
        for number in range(count)
    ]


def sizes(some: Sequence[Call], packing: Packing | None = None, most_tasks: int = MANY) -> list[int]:
    return [len(task) for task in pack(some, packing or Packing(), most_tasks=most_tasks)]


def test_few_calls_go_to_many_machines() -> None:
    assert sizes(calls(3)) == [1, 1, 1]
    assert sorted(sizes(calls(300))) == [37] * 4 + [38] * 4


def test_many_calls_are_tasks_of_about_the_wanted_length() -> None:
    assert set(sizes(calls(6_000), Packing(task_seconds=30, call_seconds=0.5))) == {60}
    assert set(sizes(calls(600, seconds=30))) == {1}


def test_calls_that_take_longer_are_fewer_in_a_task() -> None:
    mixed = [*calls(60, seconds=0.5), *calls(4, seconds=30)]
    assert sizes(mixed, Packing(width=1)) == [60, 1, 1, 1, 1]


@pytest.mark.parametrize("most", [1, 2, 3, 5, 7])
def test_no_more_tasks_are_made_than_can_be_paid(most: int) -> None:
    assert len(sizes(calls(21), most_tasks=most)) == most


def test_but_no_task_is_made_that_could_not_end_in_time() -> None:
    assert len(sizes(calls(10, seconds=300), most_tasks=1)) == 10


def test_large_calls_are_not_put_together_beyond_the_limit() -> None:
    assert sizes(calls(4, size=600), Packing(width=1, task_bytes=1_000)) == [1, 1, 1, 1]


def test_a_chunk_is_a_task_and_two_maps_share_none() -> None:
    some = [*calls(5, chunk=2, group=1), *calls(3, chunk=2, group=2)]
    assert sizes(some) == [2, 2, 1, 2, 1]


def test_a_failed_task_is_halved_until_it_is_one_call() -> None:
    task = tuple(calls(5))
    assert halves(task) == (task[:2], task[2:])
    assert halves(task[:1]) == ()


def test_a_deal_has_no_more_tasks_than_a_manifest_holds() -> None:
    tasks = [(call,) for call in calls(MAX_DEAL_TASKS + 1)]
    assert [len(deal) for deal in deals_of(tasks)] == [MAX_DEAL_TASKS, 1]
    assert list(deals_of([])) == []


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 500)), max_size=60),
    st.integers(1, 20),
    st.integers(1, 10_000),
    st.integers(1, 20),
)
def test_every_call_is_in_one_task_and_found_again_on_its_page(
    costs: list[tuple[float, int]], width: int, page_bytes: int, most: int
) -> None:
    some = [Call(number, f"0\t{number:0{size}d}", "b", seconds=cost) for number, (cost, size) in enumerate(costs)]
    packing = Packing(width=width, page_bytes=page_bytes, task_bytes=600)
    tasks = pack(some, packing, most_tasks=most)
    assert [call for task in tasks for call in task] == some
    pages = lay_out(tasks, packing)
    for task, place in zip(tasks, pages.places, strict=True):
        lines = pages.files[place.page].split("\n")[place.first : place.first + place.count]
        assert lines == [call.line for call in task]
