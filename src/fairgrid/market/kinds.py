"""The four kinds of orders as the market sees them: names on the wire, and which field means what."""

from __future__ import annotations

from dataclasses import dataclass

from fairgrid.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder

__all__ = ["APP", "DATASET", "KINDS", "MAX_NUMBER", "REQUEST", "WORKERPOOL", "Kind", "kind_of"]

#: The largest number in an order that the market takes: what JavaScript clients can hold.
MAX_NUMBER = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of orders. ``name`` is ``app``, ``dataset``, ``workerpool`` or ``request``."""

    name: str
    order_class: type[AppOrder] | type[DatasetOrder] | type[WorkerpoolOrder] | type[RequestOrder]
    resource_field: str
    """Whose order it is: the asset, or the requester."""
    price_field: str
    """What lists are sorted by; requests from the highest price on, all others from the lowest."""
    columns: tuple[tuple[str, str], ...]
    """Searchable column and the order's field that it holds."""

    @property
    def document(self) -> str:
        """``apporder`` and so on, as texts and events name one order."""
        return f"{self.name}order"

    @property
    def collection(self) -> str:
        """``apporders`` and so on, as routes name them."""
        return f"{self.name}orders"


APP = Kind(
    name="app",
    order_class=AppOrder,
    resource_field="app",
    price_field="appprice",
    columns=(
        ("app", "app"),
        ("dataset", "datasetrestrict"),
        ("workerpool", "workerpoolrestrict"),
        ("requester", "requesterrestrict"),
    ),
)
DATASET = Kind(
    name="dataset",
    order_class=DatasetOrder,
    resource_field="dataset",
    price_field="datasetprice",
    columns=(
        ("app", "apprestrict"),
        ("dataset", "dataset"),
        ("workerpool", "workerpoolrestrict"),
        ("requester", "requesterrestrict"),
    ),
)
WORKERPOOL = Kind(
    name="workerpool",
    order_class=WorkerpoolOrder,
    resource_field="workerpool",
    price_field="workerpoolprice",
    columns=(
        ("app", "apprestrict"),
        ("dataset", "datasetrestrict"),
        ("workerpool", "workerpool"),
        ("requester", "requesterrestrict"),
    ),
)
REQUEST = Kind(
    name="request",
    order_class=RequestOrder,
    resource_field="requester",
    price_field="workerpoolmaxprice",
    columns=(
        ("app", "app"),
        ("dataset", "dataset"),
        ("workerpool", "workerpool"),
        ("requester", "requester"),
        ("beneficiary", "beneficiary"),
    ),
)
KINDS = {kind.name: kind for kind in (APP, DATASET, WORKERPOOL, REQUEST)}


def kind_of(order: Order) -> Kind:
    """The kind of an order."""
    return KINDS[order.KIND]
