"""`MarketClient`: publish, withdraw and look up signed orders. What a market says is parsed, never believed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic

import httpx
from typing_extensions import TypeVar

from fairgrid.errors import OrderError, ServiceRefused, ServiceUnavailable, UsageError
from fairgrid.market.auth import CHALLENGE_PREFIX, challenge_typed_data
from fairgrid.market.kinds import APP, DATASET, KINDS, REQUEST, WORKERPOOL, Kind, kind_of
from fairgrid.protocol.hexes import checksum, hex32
from fairgrid.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.typed_data import Domain, order_hash, typed_data_hash
from fairgrid.seams.clock import Clock, SystemClock
from fairgrid.seams.closing import Closing
from fairgrid.seams.http import TRANSIENT_STATUS, Interrupted, one_line, open_http, parse_json, retried, start_of
from fairgrid.wallet.signer import Signer

__all__ = ["Filter", "MarketClient", "PublishedOrder"]

_SERVICE = "market"
_PAGE_SIZE = 100
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_MAX_CHALLENGE_CHARACTERS = 1000
_STATUSES = frozenset({"open", "filled", "canceled", "dead"})

_AnyOrder = TypeVar("_AnyOrder", bound=Order, covariant=True, default=Order)

Filter = str | int | bool | None


@dataclass(frozen=True, slots=True)
class PublishedOrder(Generic[_AnyOrder]):
    """An order as a market shows it: well-formed, but its hash, signature and remaining volume are only claimed.

    Compute `fairgrid.protocol.typed_data.order_hash` and ask the chain before money depends on them.
    """

    order: _AnyOrder
    order_hash: str
    remaining: int
    status: str
    signer: str
    published: datetime


class MarketClient(Closing):
    """A market at ``url`` for one chain. Use as an async context manager.

    With ``hub`` given, every order hash that the market states is checked against the order itself.
    ``transport`` replaces the network, for example by ``httpx.ASGITransport(market_application(...))``.
    """

    def __init__(
        self,
        url: str,
        chain_id: int,
        *,
        hub: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._chain_id = chain_id
        self._domain = None if hub is None else Domain(chain_id, hub)
        self._clock = clock or SystemClock()
        self._http = open_http(transport=transport)
        self._proving = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def publish(self, order: Order, signer: Signer) -> str:
        """Publish a signed order; ``signer`` is the wallet that signed it. Gives its hash.

        Raises:
            ServiceRefused: the market does not take it; the message is its reason.
            ServiceUnavailable: the market, or the chain behind it, does not answer. It may have taken the order.
        """
        kind = kind_of(order)
        answer = await self._proven("POST", kind, {"order": order.to_wire()}, signer)
        published = self._entry(kind.order_class, answer.get("published"))
        if published.order.signed("0x") != order.signed("0x"):
            raise ServiceRefused(_SERVICE, 200, "it says that it published another order than the one that was sent")
        return published.order_hash

    async def unpublish(self, kind: str, order_hash: str, signer: Signer) -> str:
        """Withdraw an order of ``kind`` (``app``, ``dataset``, ``workerpool``, ``request``); gives its hash.

        An order that was withdrawn can still be matched by whoever kept a copy: close it on chain to end that.

        Raises:
            ServiceRefused, ServiceUnavailable: as `publish`.
        """
        body = {"target": "unpublish_orderHash", "orderHash": hex32(order_hash)}
        return (await self._unpublish(kind, body, signer))[0]

    async def unpublish_all(self, kind: str, resource: str, signer: Signer) -> tuple[str, ...]:
        """Withdraw all open orders of ``signer`` for an asset (for requests: its own address); gives their hashes."""
        body = {"target": "unpublish_all", _kind(kind).resource_field: checksum(resource)}
        return await self._unpublish(kind, body, signer)

    async def unpublish_last(self, kind: str, resource: str, signer: Signer) -> str:
        """Withdraw the newest open order of ``signer`` for an asset; gives its hash."""
        body = {"target": "unpublish_last", _kind(kind).resource_field: checksum(resource)}
        return (await self._unpublish(kind, body, signer))[0]

    async def order(self, kind: str, order_hash: str) -> PublishedOrder | None:
        """One order, whatever its status; None when the market does not have it."""
        wanted = _kind(kind)
        try:
            answer = await self._get(f"/{wanted.collection}/{hex32(order_hash)}", {})
        except ServiceRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        return self._entry(wanted.order_class, answer)

    async def app_orders(
        self, app: str | None = "any", *, limit: int = 1000, **filters: Filter
    ) -> list[PublishedOrder[AppOrder]]:
        """Open app orders, cheapest first; at most ``limit``.

        ``filters`` are the market's query keys in snake case: ``app_owner``, ``dataset``, ``workerpool``,
        ``requester`` (an address, or ``any``; when absent only orders open to all), ``is_requester_strict`` …,
        ``min_tag``, ``max_tag``, ``min_volume``.

        Raises:
            ServiceRefused: a filter is wrong, or the answer cannot be understood.
            ServiceUnavailable: the market does not answer.
        """
        return await self._list(APP, {"app": app, **filters}, limit)

    async def dataset_orders(
        self, dataset: str | None = "any", *, limit: int = 1000, **filters: Filter
    ) -> list[PublishedOrder[DatasetOrder]]:
        """Open dataset orders, cheapest first; filters as `app_orders`, with ``dataset_owner``, ``bulk_only``."""
        return await self._list(DATASET, {"dataset": dataset, **filters}, limit)

    async def workerpool_orders(
        self,
        *,
        workerpool: str | None = None,
        category: int | None = None,
        min_trust: int | None = None,
        limit: int = 1000,
        **filters: Filter,
    ) -> list[PublishedOrder[WorkerpoolOrder]]:
        """Open workerpool orders, cheapest first; filters as `app_orders`, with ``workerpool_owner``."""
        own = {"workerpool": workerpool, "category": category, "min_trust": min_trust}
        return await self._list(WORKERPOOL, {**own, **filters}, limit)

    async def request_orders(
        self, *, requester: str | None = None, category: int | None = None, limit: int = 1000, **filters: Filter
    ) -> list[PublishedOrder[RequestOrder]]:
        """Open request orders, best paid first; filters as `app_orders`, with ``beneficiary``, ``max_trust``."""
        return await self._list(REQUEST, {"requester": requester, "category": category, **filters}, limit)

    async def _list(self, kind: Kind, filters: Mapping[str, Filter], limit: int) -> list[PublishedOrder[Any]]:
        query = {_camel(name): _text(value) for name, value in filters.items() if value is not None}
        found: list[PublishedOrder[Any]] = []
        page = 0
        while len(found) < limit:
            paging = {"pageIndex": str(page), "pageSize": str(_PAGE_SIZE)}
            answer = await self._get(f"/{kind.collection}", {**query, **paging})
            entries = answer.get("orders")
            if not isinstance(entries, list) or len(entries) > _PAGE_SIZE:
                raise _unclear()
            found += [self._entry(kind.order_class, entry) for entry in entries]
            if not entries or not answer.get("nextPage"):
                break
            page += 1
        return found[:limit]

    async def _unpublish(self, kind: str, body: dict[str, str], signer: Signer) -> tuple[str, ...]:
        answer = await self._proven("PUT", _kind(kind), body, signer)
        hashes = answer.get("unpublished")
        try:
            if not isinstance(hashes, list) or not hashes:
                raise _unclear()
            return tuple(hex32(entry) for entry in hashes)
        except OrderError:
            raise _unclear() from None

    async def _proven(self, method: str, kind: Kind, body: dict[str, Any], signer: Signer) -> dict[str, Any]:
        """A call that proves who makes it. A challenge that somebody with the same wallet used up is asked for anew."""
        async with self._proving:
            for last_try in (False, True):
                header = await self._authorization(signer)

                async def send(header: str = header) -> dict[str, Any]:
                    return await self._request(
                        method, f"/{kind.collection}", {}, content=json.dumps(body), headers={"authorization": header}
                    )

                try:
                    # Only a connection that was never made is safe to try again: the challenge is used up by then.
                    return await retried(
                        send, service=_SERVICE, url=self._url, clock=self._clock, lost=(httpx.ConnectError,)
                    )
                except ServiceRefused as refusal:
                    if last_try or (refusal.status, refusal.message) != (403, "invalid authorization"):
                        raise
        raise AssertionError("the last try returns or raises")

    async def _authorization(self, signer: Signer) -> str:
        """Sign the market's challenge, and nothing else that it may have put in its place."""
        answer = await self._get("/challenge", {"address": signer.address})
        try:
            challenge = answer["data"]["message"]["challenge"]
        except (KeyError, TypeError):
            raise _unclear() from None
        if (
            not isinstance(challenge, str)
            or not challenge.startswith(CHALLENGE_PREFIX)
            or len(challenge) > _MAX_CHALLENGE_CHARACTERS
            or not challenge.isprintable()
        ):
            raise ServiceRefused(_SERVICE, 200, "it asks to sign something that is not a log-in challenge")
        document = challenge_typed_data(self._chain_id, challenge)
        signature = await asyncio.to_thread(signer.sign_typed_data, document)
        return f"{typed_data_hash(document)}_{signature}_{signer.address}"

    async def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        return await retried(
            lambda: self._request("GET", path, query), service=_SERVICE, url=self._url, clock=self._clock
        )

    async def _request(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        *,
        content: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        sent_headers = {"accept": "application/json", **(headers or {})}
        if content is not None:
            sent_headers["content-type"] = "application/json"
        async with self._http.stream(
            method,
            self._url + path,
            params={"chainId": str(self._chain_id), **query},
            content=content,
            headers=sent_headers,
        ) as response:
            answer = await start_of(response, limit=_MAX_ANSWER_BYTES)
        status = response.status_code
        if status in TRANSIENT_STATUS:
            raise Interrupted(f"status {status}")
        try:
            document = parse_json(answer)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise _unclear(status)
        if status == 200 and document.get("ok") is True:
            return document
        reason = one_line(str(document.get("error", "no reason given")))
        if status >= 500:
            raise ServiceUnavailable(_SERVICE, self._url, reason)
        raise ServiceRefused(_SERVICE, status, reason)

    def _entry(self, order_class: type[Order], entry: Any) -> PublishedOrder[Any]:
        """A strictly parsed entry: a market that says nonsense is refused as a whole."""
        try:
            order = order_class.from_wire(entry["order"])
            published = PublishedOrder(
                order=order,
                order_hash=hex32(entry["orderHash"]),
                remaining=_whole(entry["remaining"]),
                status=_known_status(entry["status"]),
                signer=checksum(entry["signer"]),
                published=datetime.fromisoformat(entry["publicationTimestamp"]),
            )
        except (KeyError, TypeError, ValueError, OrderError):
            raise _unclear() from None
        if published.remaining > order.volume:
            raise _unclear()
        if self._domain is not None and order_hash(order, self._domain) != published.order_hash:
            raise ServiceRefused(
                _SERVICE, 200, f"the hash that it states for order {published.order_hash} is not its own"
            )
        return published


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise UsageError(f"{name!r} is no kind of orders. Choose one of {', '.join(KINDS)}.")
    return KINDS[name]


def _unclear(status: int = 200) -> ServiceRefused:
    return ServiceRefused(_SERVICE, status, "its answer cannot be understood; is this the address of a market?")


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("not a whole number")
    return value


def _known_status(value: Any) -> str:
    if not isinstance(value, str) or value not in _STATUSES:
        raise ValueError("not a status")
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _text(value: Filter) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
