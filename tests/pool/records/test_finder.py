from __future__ import annotations

from fairgrid.pool.core.policy import Policy
from fairgrid.pool.records.finder import TaskFinder
from fairgrid.protocol.ids import task_id
from tests.pool.fakes import digest_of
from tests.pool.support import World


async def test_a_task_that_has_not_begun_is_found_by_its_id_and_an_unknown_one_is_not() -> None:
    world = World([], Policy(max_active_tasks=1))
    first = world.deal(1, bot_size=1_500)
    other = world.deal(4, bot_size=3, name="another deal")
    finder = TaskFinder(world.machine)
    deal = world.deals[first].deal_id
    for index in (1, 777, 1_499):
        found = await finder.find(task_id(deal, index))
        assert found is not None
        assert (found.index, found.phase, found.deal.deal_id) == (index, "received", deal)
    found = await finder.find(other)
    assert found is not None and found.deal.trust == 4
    assert found.story[0].text == "received: Its deal was matched with trust 4."
    assert await finder.find(task_id(deal, 1_500)) is None
    assert await finder.find(digest_of("unknown")) is None
