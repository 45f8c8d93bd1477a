"""The order book in its database: what was published, and what of it is still open. Blocking: call it in a thread."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from fairgrid.market.kinds import APP, DATASET, KINDS, MAX_NUMBER, REQUEST, Kind
from fairgrid.market.refusals import Forbidden
from fairgrid.market.tables import TAG_COLUMNS, orders, tag_words
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.orders import DatasetOrder, Order, RequestOrder
from fairgrid.protocol.tags import TEE_MASK, requires_tee

__all__ = ["Listing", "OrderBook", "OrderStatus", "Query", "Restriction", "StoredOrder"]


class OrderStatus(StrEnum):
    """``filled`` and ``canceled`` orders are consumed on chain; ``dead`` ones could no longer be matched."""

    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """An order as the book has it; ``published_ms`` is the first publication, in milliseconds since the epoch."""

    order_hash: str
    kind: Kind
    order: Order
    signer: str
    status: OrderStatus
    remaining: int
    published_ms: int

    @property
    def resource(self) -> str:
        """The asset's address, or the requester's."""
        return str(getattr(self.order, self.kind.resource_field))

    @property
    def bulk(self) -> bool:
        """A dataset order that is free and as good as endless."""
        order = self.order
        return isinstance(order, DatasetOrder) and order.datasetprice == 0 and order.volume >= MAX_NUMBER - 1


@dataclass(frozen=True, slots=True)
class Restriction:
    """A condition on a restriction field: zero, or ``address`` too; ``strict`` excludes zero."""

    address: str = ZERO_ADDRESS
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """Which open orders of one kind are wanted; None means no condition."""

    kind: Kind
    exact: tuple[tuple[str, str], ...] = ()
    """Column and address."""
    restrictions: tuple[tuple[str, Restriction], ...] = ()
    """Column and condition."""
    owner: str | None = None
    category: int | None = None
    min_tag: int = 0
    max_tag: int | None = None
    min_trust: int | None = None
    max_trust: int | None = None
    min_volume: int = 1
    bulk_only: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """One page, and how many orders there are over all pages."""

    orders: tuple[StoredOrder, ...] = field(default=())
    count: int = 0


class OrderBook:
    """The table of orders in ``engine`` (already migrated to ``fairgrid.market.migrations``)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, order_hash: str) -> StoredOrder | None:
        """An order by its hash, whatever its status."""
        with self._reading() as connection:
            row = connection.execute(select(orders).where(orders.c.order_hash == order_hash)).mappings().first()
        return None if row is None else _stored(row)

    def first(self) -> StoredOrder | None:
        """Any order, to see which network the book is of; None while it is empty."""
        with self._reading() as connection:
            row = connection.execute(select(orders).limit(1)).mappings().first()
        return None if row is None else _stored(row)

    def add(self, new: StoredOrder, *, max_open: int) -> StoredOrder:
        """Publish an order; one that was dead is open again and keeps its first time of publication.

        Raises:
            Forbidden: it is in the book already, or its signer has ``max_open`` open orders of this kind.
        """
        try:
            with self._engine.begin() as connection:
                self._refuse_too_many(connection, new.kind, new.signer, max_open)
                row = connection.execute(select(orders).where(orders.c.order_hash == new.order_hash)).mappings().first()
                if row is None:
                    connection.execute(insert(orders).values(_row(new)))
                    return new
                if row["status"] != OrderStatus.DEAD:
                    raise Forbidden("order already published")
                values = _row(new) | {"published_ms": row["published_ms"]}
                connection.execute(update(orders).where(orders.c.order_hash == new.order_hash).values(values))
                return _stored({**row, **values})
        except IntegrityError:
            raise Forbidden("order already published") from None

    def refuse_too_many(self, kind: Kind, signer: str, max_open: int) -> None:
        """Raise `Forbidden` when ``signer`` has ``max_open`` open orders of ``kind``."""
        with self._reading() as connection:
            self._refuse_too_many(connection, kind, signer, max_open)

    def set_state(self, order_hash: str, status: OrderStatus, remaining: int) -> None:
        """What the chain says of an order now."""
        with self._engine.begin() as connection:
            connection.execute(
                update(orders).where(orders.c.order_hash == order_hash).values(status=status.value, remaining=remaining)
            )

    def remove(self, order_hashes: Sequence[str]) -> None:
        """Forget orders."""
        with self._engine.begin() as connection:
            connection.execute(delete(orders).where(orders.c.order_hash.in_(order_hashes)))

    def open_of(self, kind: Kind, signer: str, resource: str) -> tuple[StoredOrder, ...]:
        """Open orders of a signer for a resource, newest first."""
        wanted = select(orders).where(_open(kind), orders.c.signer == signer, orders.c.resource == resource)
        with self._reading() as connection:
            rows = connection.execute(wanted.order_by(orders.c.published_ms.desc(), orders.c.order_hash)).mappings()
            return tuple(_stored(row) for row in rows)

    def open_hashes(self, *, signer: str | None = None) -> tuple[str, ...]:
        """Hashes of the open orders, of one signer or of all."""
        wanted = select(orders.c.order_hash).where(orders.c.status == OrderStatus.OPEN.value)
        if signer is not None:
            wanted = wanted.where(orders.c.signer == signer)
        with self._reading() as connection:
            return tuple(connection.execute(wanted.order_by(orders.c.published_ms, orders.c.order_hash)).scalars())

    def open_counts(self) -> dict[str, int]:
        """Open orders by kind."""
        counted = select(orders.c.kind, func.count()).where(orders.c.status == OrderStatus.OPEN.value)
        with self._reading() as connection:
            found = {str(kind): int(count) for kind, count in connection.execute(counted.group_by(orders.c.kind))}
        return {name: found.get(name, 0) for name in KINDS}

    def page(self, query: Query, *, skip: int, limit: int) -> Listing:
        """Open orders, best price first, then oldest."""
        condition = and_(*_conditions(query))
        price = orders.c.price.desc() if query.kind is REQUEST else orders.c.price.asc()
        page = select(orders).where(condition).order_by(price, orders.c.published_ms, orders.c.order_hash)
        with self._reading() as connection:
            count = connection.execute(select(func.count()).select_from(orders).where(condition)).scalar_one()
            rows = connection.execute(page.offset(skip).limit(limit)).mappings().all()
        return Listing(tuple(_stored(row) for row in rows), count)

    def best_app_price(self, request: RequestOrder, *, tee: bool) -> int | None:
        """The lowest price of an open app order that this request could be matched with."""
        conditions = [
            _open(APP),
            orders.c.app == request.app,
            orders.c.dataset.in_((ZERO_ADDRESS, request.dataset)),
            orders.c.workerpool.in_((ZERO_ADDRESS, request.workerpool)),
            orders.c.requester.in_((ZERO_ADDRESS, request.requester)),
        ]
        if tee:
            conditions.append(orders.c[TAG_COLUMNS[0]].bitwise_and(TEE_MASK) == TEE_MASK)
        return self._lowest(conditions)

    def best_dataset_price(self, request: RequestOrder) -> int | None:
        """The lowest price of an open dataset order that this request could be matched with."""
        return self._lowest(
            [
                _open(DATASET),
                orders.c.dataset == request.dataset,
                orders.c.app.in_((ZERO_ADDRESS, request.app)),
                orders.c.workerpool.in_((ZERO_ADDRESS, request.workerpool)),
                orders.c.requester.in_((ZERO_ADDRESS, request.requester)),
            ]
        )

    def retire_requests(self, kind: Kind, resource: str) -> tuple[str, ...]:
        """Let open requests for an app or a dataset die that no open order matches any more; gives their hashes."""
        wanted = select(orders).where(_open(REQUEST), orders.c[kind.name] == resource)
        with self._reading() as connection:
            requests = [_stored(row) for row in connection.execute(wanted).mappings()]
        retired = []
        for request in requests:
            assert isinstance(request.order, RequestOrder)
            if self.counterpart_refusal(request.order) is not None:
                self.set_state(request.order_hash, OrderStatus.DEAD, request.remaining)
                retired.append(request.order_hash)
        return tuple(retired)

    def counterpart_refusal(self, request: RequestOrder) -> str | None:
        """Why no open app and dataset order of this book fits the request; None if there are some."""
        price = self.best_app_price(request, tee=False)
        if price is None:
            return f"No apporder published for app {request.app}"
        if requires_tee(request.tag):
            price = self.best_app_price(request, tee=True)
            if price is None:
                return f"No tee enabled apporder published for app {request.app}"
        if price > request.appmaxprice:
            return f"appmaxprice for app {request.app} is too low, actual best price is {price} nRLC"
        if request.dataset == ZERO_ADDRESS:
            return None
        price = self.best_dataset_price(request)
        if price is None:
            return f"No datasetorder published for dataset {request.dataset}"
        if price > request.datasetmaxprice:
            return f"datasetmaxprice for dataset {request.dataset} is too low, actual best price is {price} nRLC"
        return None

    def _lowest(self, conditions: list[ColumnElement[bool]]) -> int | None:
        with self._reading() as connection:
            lowest: int | None = connection.execute(select(func.min(orders.c.price)).where(and_(*conditions))).scalar()
        return lowest

    def _reading(self) -> Connection:
        return self._engine.connect().execution_options(read_only=True)

    def _refuse_too_many(self, connection: Connection, kind: Kind, signer: str, max_open: int) -> None:
        counted = select(func.count()).select_from(orders).where(_open(kind), orders.c.signer == signer)
        if connection.execute(counted).scalar_one() >= max_open:
            raise Forbidden(
                f"maximum of {max_open} published open {kind.document} has been reached for wallet {signer}"
            )


def _open(kind: Kind) -> ColumnElement[bool]:
    return and_(orders.c.kind == kind.name, orders.c.status == OrderStatus.OPEN.value)


def _conditions(query: Query) -> list[ColumnElement[bool]]:
    found = [_open(query.kind), orders.c.remaining >= query.min_volume]
    found += [orders.c[column] == address for column, address in query.exact]
    for column, restriction in query.restrictions:
        allowed = (restriction.address,) if restriction.strict else (ZERO_ADDRESS, restriction.address)
        found.append(orders.c[column].in_(allowed))
    if query.owner is not None:
        found.append(orders.c.signer == query.owner)
    if query.category is not None:
        found.append(orders.c.category == query.category)
    if query.min_trust is not None and query.min_trust > 1:
        found.append(orders.c.trust >= query.min_trust)
    if query.max_trust is not None:
        found.append(orders.c.trust <= query.max_trust)
    if query.bulk_only:
        found.append(orders.c.bulk.is_(True))
    for name, word in zip(TAG_COLUMNS, tag_words(query.min_tag), strict=True):
        if word:
            found.append(orders.c[name].bitwise_and(word) == word)
    if query.max_tag is not None:
        found += [
            orders.c[name].bitwise_or(word) == word
            for name, word in zip(TAG_COLUMNS, tag_words(query.max_tag), strict=True)
        ]
    return found


def _row(stored: StoredOrder) -> dict[str, Any]:
    order, kind = stored.order, stored.kind
    row: dict[str, Any] = {
        "order_hash": stored.order_hash,
        "kind": kind.name,
        "status": stored.status.value,
        "signer": stored.signer,
        "resource": stored.resource,
        "beneficiary": None,
        "price": getattr(order, kind.price_field),
        "volume": order.volume,
        "remaining": stored.remaining,
        "category": getattr(order, "category", None),
        "trust": getattr(order, "trust", None),
        "bulk": stored.bulk,
        "published_ms": stored.published_ms,
        "document": json.dumps(order.to_wire()),
    }
    row |= {column: getattr(order, name) for column, name in kind.columns}
    row |= dict(zip(TAG_COLUMNS, tag_words(int(order.tag, 16)), strict=True))
    return row


def _stored(row: RowMapping | dict[str, Any]) -> StoredOrder:
    kind = KINDS[row["kind"]]
    return StoredOrder(
        order_hash=row["order_hash"],
        kind=kind,
        order=kind.order_class.from_wire(json.loads(row["document"])),
        signer=row["signer"],
        status=OrderStatus(row["status"]),
        remaining=row["remaining"],
        published_ms=row["published_ms"],
    )
