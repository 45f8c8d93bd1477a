"""The facets of `BlockingClient`: those of `Client`, each method of which returns when its work is done."""

from __future__ import annotations

from fairgrid.client.facets.datasets import Datasets
from fairgrid.client.facets.deals import Deals
from fairgrid.client.facets.orders import Orders
from fairgrid.client.facets.tasks import Tasks
from fairgrid.client.waiting import Waiting, waits

__all__ = ["BlockingDatasets", "BlockingDeals", "BlockingOrders", "BlockingTasks"]


class BlockingDatasets(Waiting[Datasets]):
    """As `Datasets`, without an event loop."""

    register = waits(Datasets.register)
    offer = waits(Datasets.offer)
    mine = waits(Datasets.mine)
    show = waits(Datasets.show)


class BlockingDeals(Waiting[Deals]):
    """As `Deals`, without an event loop."""

    mine = waits(Deals.mine)
    show = waits(Deals.show)
    make = waits(Deals.make)
    claim = waits(Deals.claim)
    funds = waits(Deals.funds)


class BlockingOrders(Waiting[Orders]):
    """As `Orders`, without an event loop."""

    app = waits(Orders.app)
    dataset = waits(Orders.dataset)
    workerpool = waits(Orders.workerpool)
    request = waits(Orders.request)
    publish = waits(Orders.publish)
    standing = waits(Orders.standing)
    find = waits(Orders.find)
    of = waits(Orders.of)
    mine = waits(Orders.mine)
    book = waits(Orders.book)
    cancel = waits(Orders.cancel)


class BlockingTasks(Waiting[Tasks]):
    """As `Tasks`, without an event loop."""

    show = waits(Tasks.show)
    why = waits(Tasks.why)
    story = waits(Tasks.story)
    result = waits(Tasks.result)
