from __future__ import annotations

from fairgrid.pool.core.queues import RETRY_S, BagQueue, IdleWorkers, WaitingTasks


def test_the_most_urgent_deal_is_first_also_after_its_urgency_changed() -> None:
    queue = BagQueue()
    queue.put("a", (1,))
    queue.put("b", (2,))
    assert queue.first() == "a"
    queue.put("a", (3,))
    assert queue.first() == "b"
    queue.remove("b")
    queue.remove("b")
    assert (queue.first(), len(queue)) == ("a", 1)
    queue.remove("a")
    assert queue.first() is None


def test_idle_workers_come_with_fewest_failures_then_least_used_and_the_experienced_apart() -> None:
    idle = IdleWorkers()
    idle.put("failed", 1, 0, experienced=False, anew=False)
    idle.put("used", 0, 5, experienced=True, anew=False)
    idle.put("fresh", 0, 0, experienced=False, anew=False)
    assert list(idle.in_order()) == ["fresh", "used", "failed"]
    assert list(idle.in_order(experienced=True)) == ["used"]
    idle.put("fresh", 2, 0, experienced=True, anew=False)
    assert list(idle.in_order()) == ["used", "failed", "fresh"]
    assert list(idle.in_order(experienced=True)) == ["used", "fresh"]
    idle.remove("used")
    idle.remove("used")
    assert list(idle.in_order(experienced=True)) == ["fresh"]


def test_only_workers_that_came_or_changed_are_new_arrivals() -> None:
    idle = IdleWorkers()
    idle.put("a", 0, 0, experienced=False, anew=False)
    idle.put("b", 0, 0, experienced=False, anew=False)
    seen = idle.arrival
    idle.put("a", 0, 1, experienced=False, anew=False)
    assert list(idle.in_order(after=seen)) == []
    idle.put("b", 0, 0, experienced=False, anew=True)
    assert list(idle.in_order(after=seen)) == ["b"]
    idle.put("c", 0, 0, experienced=False, anew=False)
    assert list(idle.in_order(after=seen)) == ["b", "c"]


def test_waiting_tasks_come_by_urgency_and_may_leave_meanwhile() -> None:
    waiting = WaitingTasks()
    for task, urgency in (("c", 3), ("a", 1), ("b", 2)):
        waiting.add(task, (urgency,))
    served = []
    for task in waiting.to_serve(1):
        served.append(task)
        waiting.remove(task)
    assert served == ["a", "b", "c"]
    assert len(waiting) == 0


def test_a_task_is_not_tried_again_before_another_worker_arrives_but_a_new_task_is() -> None:
    waiting = WaitingTasks()
    waiting.add("a", (1,))
    for task in waiting.to_serve(1):
        waiting.in_vain(task, "deal", 1, untouched=False, now=0.0)
    assert list(waiting.to_serve(1)) == []
    waiting.add("b", (2,))
    assert list(waiting.to_serve(1)) == ["b"]
    assert list(waiting.to_serve(2)) == ["a", "b"]


def test_untouched_tasks_of_a_deal_learn_from_each_other_for_a_while() -> None:
    waiting = WaitingTasks()
    for task in ("a", "b"):
        waiting.add(task, (1,))
    waiting.in_vain("a", "deal", 7, untouched=True, now=100.0)
    assert waiting.tried("b", "deal", untouched=True, now=100.0) == 7
    assert waiting.tried("b", "deal", untouched=False, now=100.0) == 0
    assert waiting.tried("b", "another deal", untouched=True, now=100.0) == 0
    assert waiting.tried("b", "deal", untouched=True, now=100.0 + RETRY_S) == 0
