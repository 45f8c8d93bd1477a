"""The rules by which four orders become a deal (`spec/poco.md` §12), in the chain's order and with its codes.

Clients ask `first_violation` before they send a transaction; the reference model asks it with its own state. What
must be known of the chain comes through `MatchFacts`, asked lazily and in the chain's order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.tags import covers, requires_tee, union_tag

__all__ = [
    "REVERT_PREFIX",
    "RULES",
    "KnownFacts",
    "MatchFacts",
    "authorised",
    "deal_volume",
    "explain",
    "first_violation",
]

Kind = Literal["app", "dataset", "workerpool"]

REVERT_PREFIX: Final = "iExecV5-matchOrders-"

RULES: Final[Mapping[str, str]] = {
    "0x00": "the request and the workerpool order name different categories",
    "0x01": "the category does not exist",
    "0x02": "the request asks for more trust than the workerpool order offers",
    "0x03": "the app costs more than the request allows",
    "0x04": "the dataset costs more than the request allows",
    "0x05": "the workerpool costs more than the request allows",
    "0x06": "the workerpool order lacks a tag that the other orders demand",
    "0x07": "a trusted execution environment is demanded that the app order does not offer",
    "0x10": "the request is for another app",
    "0x11": "the request is for another dataset",
    "0x12": "the request is restricted to another workerpool",
    "0x13": "the app order is restricted to another dataset",
    "0x14": "the app order is restricted to another workerpool",
    "0x15": "the app order is restricted to another requester",
    "0x16": "the dataset order is restricted to another app",
    "0x17": "the dataset order is restricted to another workerpool",
    "0x18": "the dataset order is restricted to another requester",
    "0x19": "the workerpool order is restricted to another app",
    "0x1a": "the workerpool order is restricted to another dataset",
    "0x1b": "the workerpool order is restricted to another requester",
    "no-app": "there is no app at the app's address",
    "0x20": "the app is not in the registry",
    "0x21": "the app order is not signed by the app's owner",
    "no-dataset": "there is no dataset at the dataset's address",
    "0x30": "the dataset is not in the registry",
    "0x31": "the dataset order is not signed by the dataset's owner",
    "no-workerpool": "there is no workerpool at the workerpool's address",
    "0x40": "the workerpool is not in the registry",
    "0x41": "the workerpool order is not signed by the workerpool's owner",
    "0x50": "the request order is not signed by its requester",
    "0x60": "one of the orders is used up or was closed",
}
"""Every rule by its code, in the order in which the chain checks them. A ``no-…`` reverts without data on chain."""


class MatchFacts(Protocol):
    """What the rules must know of the chain."""

    @property
    def category_count(self) -> int: ...

    def owner(self, kind: Kind, address: str) -> str | None:
        """What ``owner()`` of that contract returns; None if there is no such contract."""
        ...

    def is_registered(self, kind: Kind, address: str) -> bool: ...

    def is_member(self, group: str, account: str) -> bool:
        """True if ``group`` is a contract that says that ``account`` belongs to it (ERC-734, purpose 4)."""
        ...

    def is_signed(self, order: Order, signer: str) -> bool:
        """True if ``order`` is presigned or signed by ``signer``."""
        ...

    def consumed(self, order: Order) -> int:
        """Units of the order that deals have used already, or its whole volume if it was closed."""
        ...


@dataclass(frozen=True, slots=True)
class KnownFacts:
    """`MatchFacts` gathered in advance; for clients. Addresses are checksummed."""

    category_count: int
    owners: Mapping[str, str]
    """Owner by address of the app, dataset and workerpool that exist."""
    registered: frozenset[str]
    """Addresses that are in the registry of their kind."""
    unsigned: frozenset[str] = frozenset()
    """Kinds of order (``app``, …) whose signature the hub does not accept."""
    consumed_units: Mapping[str, int] = field(default_factory=dict)
    """Units used by kind of order; a kind that is not there is unused."""
    members: frozenset[tuple[str, str]] = frozenset()
    """Pairs (group contract, account that belongs to it)."""

    def owner(self, kind: Kind, address: str) -> str | None:
        return self.owners.get(address)

    def is_registered(self, kind: Kind, address: str) -> bool:
        return address in self.registered

    def is_member(self, group: str, account: str) -> bool:
        return (group, account) in self.members

    def is_signed(self, order: Order, signer: str) -> bool:
        return order.KIND not in self.unsigned

    def consumed(self, order: Order) -> int:
        return self.consumed_units.get(order.KIND, 0)


def authorised(restriction: str, account: str, facts: MatchFacts) -> bool:
    """True if ``restriction`` is nobody in particular, or is ``account``, or is a group that ``account`` is in."""
    return restriction in (ZERO_ADDRESS, account) or facts.is_member(restriction, account)


def deal_volume(
    app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder, facts: MatchFacts
) -> int:
    """How many tasks a deal of these orders would have: the least that one of them has left."""
    orders: tuple[Order, ...] = (app, workerpool, request)
    if dataset.dataset != ZERO_ADDRESS:
        orders = (app, dataset, workerpool, request)
    return min(order.volume - facts.consumed(order) for order in orders)


def first_violation(
    app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder, facts: MatchFacts
) -> str | None:
    """The code in `RULES` of the first rule that the orders break, or None if they make a deal.

    Funds are not part of it: the deal also needs the payer's and the pool owner's money.
    """
    for code, holds in _conditions(app, dataset, workerpool, request, facts):
        if not holds:
            return code
    return None


def explain(code: str) -> str:
    """A sentence for a code of `first_violation`, or for a revert text that ends in one."""
    rule = RULES.get(code.removeprefix(REVERT_PREFIX))
    return f"{code}: {rule}" if rule else code


def _conditions(
    app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder, facts: MatchFacts
) -> Iterator[tuple[str, bool]]:
    yield from _terms(app, dataset, workerpool, request, facts)
    yield from _restrictions(app, dataset, workerpool, request, facts)
    yield from _provenance("app", app.app, app, "0x20", "0x21", facts)
    if dataset.dataset != ZERO_ADDRESS:
        yield from _provenance("dataset", dataset.dataset, dataset, "0x30", "0x31", facts)
    yield from _provenance("workerpool", workerpool.workerpool, workerpool, "0x40", "0x41", facts)
    yield "0x50", facts.is_signed(request, request.requester)
    yield "0x60", deal_volume(app, dataset, workerpool, request, facts) > 0


def _terms(
    app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder, facts: MatchFacts
) -> Iterator[tuple[str, bool]]:
    yield "0x00", request.category == workerpool.category
    yield "0x01", request.category < facts.category_count
    yield "0x02", request.trust <= workerpool.trust
    yield "0x03", request.appmaxprice >= app.appprice
    yield "0x04", request.datasetmaxprice >= dataset.datasetprice
    yield "0x05", request.workerpoolmaxprice >= workerpool.workerpoolprice
    tag = union_tag(app.tag, dataset.tag, request.tag)
    yield "0x06", covers(workerpool.tag, tag)
    yield "0x07", requires_tee(app.tag) or not requires_tee(tag)
    yield "0x10", request.app == app.app
    yield "0x11", request.dataset == dataset.dataset


def _restrictions(
    app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder, facts: MatchFacts
) -> Iterator[tuple[str, bool]]:
    yield "0x12", authorised(request.workerpool, workerpool.workerpool, facts)
    yield "0x13", authorised(app.datasetrestrict, dataset.dataset, facts)
    yield "0x14", authorised(app.workerpoolrestrict, workerpool.workerpool, facts)
    yield "0x15", authorised(app.requesterrestrict, request.requester, facts)
    yield "0x16", authorised(dataset.apprestrict, app.app, facts)
    yield "0x17", authorised(dataset.workerpoolrestrict, workerpool.workerpool, facts)
    yield "0x18", authorised(dataset.requesterrestrict, request.requester, facts)
    yield "0x19", authorised(workerpool.apprestrict, app.app, facts)
    yield "0x1a", authorised(workerpool.datasetrestrict, dataset.dataset, facts)
    yield "0x1b", authorised(workerpool.requesterrestrict, request.requester, facts)


def _provenance(
    kind: Kind, address: str, order: Order, not_registered: str, not_signed: str, facts: MatchFacts
) -> Iterator[tuple[str, bool]]:
    owner = facts.owner(kind, address)
    yield f"no-{kind}", owner is not None
    yield not_registered, facts.is_registered(kind, address)
    yield not_signed, owner is not None and facts.is_signed(order, owner)
