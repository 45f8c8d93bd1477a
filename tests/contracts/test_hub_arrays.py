"""`initializeArray`, `claimArray`, `initializeAndClaimArray`: each call in its order, all or nothing, at most 256."""

from __future__ import annotations

import boa
import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.rewards import KITTY_ADDRESS
from tests.contracts.batch import batch_deal, open_run, view_lane
from tests.contracts.registries import NO_DATA, Log, public_abi, reverts
from tests.contracts.world import RICH, World, names

MAX_ARRAY = 256


def _send(world: World, function: str, *arguments: tuple[object, ...]) -> list[Log]:
    answer, logs = world.hub.transact(function, *arguments, sender=world.stranger.address)
    assert answer is True
    return logs


def _expire(world: World) -> None:
    world.now += 3_000


# --- initializeArray ------------------------------------------------------------------------------------------------


def test_every_pair_of_deal_and_index_opens_in_order(world: World) -> None:
    first, second = (world.deal(request={"volume": 3}) for _ in range(2))
    logs = _send(world, "initializeArray", (second, first, first), (2, 0, 1))
    tasks = [ids.task_id(second, 2), ids.task_id(first, 0), ids.task_id(first, 1)]
    assert [(log.name, log.arguments["taskid"]) for log in logs] == [("TaskInitialize", task) for task in tasks]
    assert [world.view_task(task).status for task in tasks] == [1, 1, 1]


def test_nothing_to_open_is_no_mistake(world: World) -> None:
    assert _send(world, "initializeArray", (), ()) == []


@pytest.mark.parametrize("indexes", [(0,), (0, 1, 2), ()])
def test_lengths_that_differ_open_nothing(world: World, indexes: tuple[int, ...]) -> None:
    deal = world.deal(request={"volume": 3})
    with reverts(NO_DATA):
        _send(world, "initializeArray", (deal, deal), indexes)
    assert world.view_task(ids.task_id(deal, 0)).status == 0


@pytest.mark.parametrize("indexes", [(0, 3), (3, 0), (0, 0)])
def test_one_that_does_not_open_leaves_all_closed(world: World, indexes: tuple[int, ...]) -> None:
    deal = world.deal(request={"volume": 3})
    with reverts(NO_DATA):
        _send(world, "initializeArray", (deal, deal), indexes)
    assert world.view_task(ids.task_id(deal, 0)).status == 0


def test_the_batch_lane_opens_in_order_for_its_scheduler(world: World) -> None:
    deal = batch_deal(world, 3)
    with reverts(NO_DATA):
        _send(world, "initializeArray", (deal, deal), (0, 1))
    for indexes in ((1, 0), (0, 2)):
        with reverts(NO_DATA):
            world.hub.call("initializeArray", (deal, deal), indexes, sender=world.scheduler.address)
    world.hub.call("initializeArray", (deal, deal), (0, 1), sender=world.scheduler.address)
    assert view_lane(world, deal).cursor == 2


# --- claimArray -----------------------------------------------------------------------------------------------------


def test_every_task_is_claimed_in_order(world: World) -> None:
    deal = world.deal(request={"volume": 3})
    tasks = tuple(world.initialize(deal, index) for index in range(3))
    _expire(world)
    logs = _send(world, "claimArray", (tasks[2], tasks[0]))
    assert [log.arguments["taskid"] for log in logs if log.name == "TaskClaimed"] == [tasks[2], tasks[0]]
    assert [world.view_task(task).status for task in tasks] == [4, 1, 4]
    assert world.balance(world.requester) == RICH - 11_001
    assert world.frozen(KITTY_ADDRESS) == 2 * 3_000


def test_tasks_and_runs_are_claimed_together(world: World) -> None:
    deal = batch_deal(world, 5)
    claimed = (open_run(world, deal, 4), world.initialize(deal, 4, world.scheduler))
    _expire(world)
    _send(world, "claimArray", claimed)
    assert world.balance(world.requester) == RICH
    assert world.frozen(KITTY_ADDRESS) == 5 * 3_000


def test_one_that_cannot_be_claimed_keeps_all(world: World) -> None:
    deal = world.deal(request={"volume": 2})
    tasks = tuple(world.initialize(deal, index) for index in range(2))
    with reverts(NO_DATA):
        _send(world, "claimArray", tasks)
    _expire(world)
    for bad in ((tasks[0], tasks[0]), (tasks[0], ids.task_id(deal, 5))):
        with reverts(NO_DATA):
            _send(world, "claimArray", bad)
    assert world.view_task(tasks[0]).status == 1
    _send(world, "claimArray", tasks)


# --- initializeAndClaimArray ----------------------------------------------------------------------------------------


def test_tasks_that_nobody_opened_are_refunded(world: World) -> None:
    deal = world.deal(request={"volume": 3})
    _expire(world)
    logs = _send(world, "initializeAndClaimArray", (deal, deal), (2, 0))
    one = ["TaskInitialize", "Transfer", "Unlock", "Seize", "Reward", "Lock", "TaskClaimed"]
    assert names(logs) == one * 2
    assert [log.arguments["taskid"] for log in logs if log.name == "TaskClaimed"] == [
        ids.task_id(deal, index) for index in (2, 0)
    ]
    assert world.balance(world.requester) == RICH - 11_001
    assert [world.view_task(ids.task_id(deal, index)).status for index in range(3)] == [4, 0, 4]


def test_before_the_final_deadline_nothing_is_refunded_nor_opened(world: World) -> None:
    deal = world.deal(request={"volume": 2})
    world.now += 3_000 - 1
    with reverts(NO_DATA):
        _send(world, "initializeAndClaimArray", (deal,), (0,))
    assert world.view_task(ids.task_id(deal, 0)).status == 0
    world.now += 1
    _send(world, "initializeAndClaimArray", (deal,), (0,))


@pytest.mark.parametrize("indexes", [(0,), (0, 1, 2), (0, 0), (1, 2)])
def test_a_wrong_list_refunds_nothing(world: World, indexes: tuple[int, ...]) -> None:
    deal = world.deal(request={"volume": 2})
    _expire(world)
    with reverts(NO_DATA):
        _send(world, "initializeAndClaimArray", (deal, deal), indexes)
    assert world.frozen(world.requester) == 2 * 11_001


def test_a_task_that_was_opened_is_not_refunded_this_way(world: World) -> None:
    deal = world.deal(request={"volume": 2})
    world.initialize(deal, 0)
    _expire(world)
    with reverts(NO_DATA):
        _send(world, "initializeAndClaimArray", (deal, deal), (1, 0))
    _send(world, "initializeAndClaimArray", (deal,), (1,))


def test_from_the_final_deadline_on_anybody_refunds_the_batch_lane_in_order(world: World) -> None:
    deal = batch_deal(world, 4)
    open_run(world, deal, 2)
    _expire(world)
    with reverts(NO_DATA):
        _send(world, "initializeAndClaimArray", (deal, deal), (3, 2))
    _send(world, "initializeAndClaimArray", (deal, deal), (2, 3))
    assert world.frozen(world.requester) == 2 * 11_001


# --- bounds ---------------------------------------------------------------------------------------------------------


def _too_long(world: World, function: str, *arguments: tuple[object, ...]) -> None:
    """More than the bound reverts at once: the little gas that is spent reads the arguments and no deal."""
    computation = boa.env.execute_code(
        to_address=world.hub.address, data=public_abi("hub").encode_call(function, arguments), gas=10_000_000
    )
    assert computation.is_error
    assert computation.output == b""
    assert computation.net_gas_used < 100_000


def test_256_elements_and_not_one_more(world: World) -> None:
    deal = world.deal(request={"volume": 1_000})
    for function in ("initializeArray", "initializeAndClaimArray"):
        _too_long(world, function, (deal,) * (MAX_ARRAY + 1), tuple(range(MAX_ARRAY + 1)))
    indexes = tuple(range(MAX_ARRAY))
    assert len(_send(world, "initializeArray", (deal,) * MAX_ARRAY, indexes)) == MAX_ARRAY
    _expire(world)
    tasks = tuple(ids.task_id(deal, index) for index in indexes)
    _too_long(world, "claimArray", (*tasks, tasks[0]))
    _send(world, "claimArray", tasks)
    _send(world, "initializeAndClaimArray", (deal,) * MAX_ARRAY, tuple(range(500, 500 + MAX_ARRAY)))
    assert world.frozen(world.requester) == (1_000 - 2 * MAX_ARRAY) * 11_001
