"""The market service: an order book over HTTP, with the routes and texts of the published market API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fairgrid import __version__
from fairgrid.chain.interface import Chain
from fairgrid.errors import FairgridError, UsageError
from fairgrid.market.auth import Challenges
from fairgrid.market.checks import Checks
from fairgrid.market.kinds import APP, DATASET, KINDS, MAX_NUMBER, Kind
from fairgrid.market.refusals import Forbidden, Invalid, MarketRefusal, NotFound, TooLarge
from fairgrid.market.store import OrderBook, StoredOrder
from fairgrid.market.validation import (
    parse_address,
    parse_body,
    parse_chain_id,
    parse_hash,
    parse_number,
    parse_order,
    parse_page,
    parse_query,
)
from fairgrid.market.watcher import Watcher
from fairgrid.protocol.typed_data import Domain, order_hash
from fairgrid.seams.clock import Clock, SystemClock
from fairgrid.seams.database import migrate
from fairgrid.seams.service import drain

__all__ = ["MAX_BODY_BYTES", "market_application", "open_market"]

#: The largest body that is read: far above any order, whose params are bounded by what the chain takes.
MAX_BODY_BYTES = 256 * 1024

_DRAIN_BYTES = 16 * 1024 * 1024
_BODY_S = 30
_RETRY_LATER = "Something went wrong, you should retry later."
_log = structlog.get_logger("fairgrid.market")
_Handler = Callable[[Request], Awaitable[Response]]


@asynccontextmanager
async def open_market(
    engine: Engine,
    chain: Chain,
    *,
    max_open: int = 50,
    clock: Clock | None = None,
    sweep_every_s: float = 60,
    poll_s: float = 0.5,
) -> AsyncIterator[Starlette]:
    """The market's application over a database and a chain, with its watcher at work while the block runs.

    The tables are made or migrated. The caller closes ``engine`` and ``chain``. ``max_open``: open orders of a kind
    that one wallet may have.

    Raises:
        UsageError: the database holds orders of another chain or hub, or was written by a newer release.
    """
    await asyncio.to_thread(migrate, engine, "fairgrid.market.migrations")
    book = OrderBook(engine)
    first = await asyncio.to_thread(book.first)
    if first is not None and order_hash(first.order, Domain(chain.chain_id, chain.hub)) != first.order_hash:
        raise UsageError(
            f"This database holds orders of another network than chain {chain.chain_id}, hub {chain.hub}. "
            f"Give each network's market a folder of its own with --dir."
        )
    checks = Checks(chain, book, max_open=max_open)
    watcher = Watcher(chain, book, checks, clock=clock, sweep_every_s=sweep_every_s, poll_s=poll_s)
    watching = asyncio.create_task(watcher.run(), name="market watcher")
    try:
        yield market_application(chain, book, checks, watcher, clock=clock)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


def market_application(
    chain: Chain, book: OrderBook, checks: Checks, watcher: Watcher, *, clock: Clock | None = None
) -> Starlette:
    """The ASGI application over a migrated book; `open_market` makes all its parts."""
    market = _Market(chain, book, checks, watcher, clock or SystemClock())
    routes = [
        Route("/version", market.version, methods=["GET"]),
        Route("/health", market.health, methods=["GET"]),
        Route("/challenge", _answering(market.challenge), methods=["GET"]),
        Route("/metrics", _answering(market.metrics), methods=["GET"]),
        Route("/categories", _answering(market.categories), methods=["GET"]),
        Route("/categories/{catid}", _answering(market.category), methods=["GET"]),
    ]
    for kind in KINDS.values():
        path = f"/{kind.collection}"
        routes += [
            Route(f"{path}/{{order_hash}}", _answering(market.get_order(kind)), methods=["GET"]),
            Route(path, _answering(market.list_orders(kind)), methods=["GET"]),
            Route(path, _answering(market.publish(kind)), methods=["POST"]),
            Route(path, _answering(market.unpublish(kind)), methods=["PUT"]),
        ]
    cors = Middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["GET", "POST", "PUT"], allow_headers=["*"], max_age=600
    )
    return Starlette(routes=routes, middleware=[cors], exception_handlers={404: _not_found, 405: _not_found})


def _answering(handler: Callable[[Request], Awaitable[dict[str, Any]]]) -> _Handler:
    """The envelope: ``{ok: true, …}``, or ``{ok: false, error}`` with the status of what was raised."""

    async def answer(request: Request) -> Response:
        try:
            return JSONResponse({"ok": True, **await handler(request)})
        except TooLarge as error:
            return _failure(413, str(error), close=True)
        except Invalid as error:
            return _failure(400, str(error))
        except MarketRefusal as error:
            return _failure(error.status, str(error))
        except FairgridError as error:
            _log.error("chain_trouble", path=request.url.path, reason=str(error))
            return _failure(500, _RETRY_LATER)
        except ClientDisconnect:
            return _failure(400, "The body breaks off")
        except Exception:
            _log.exception("internal_error", path=request.url.path)
            return _failure(500, "Internal error")

    return answer


def _failure(status: int, text: str, *, close: bool = False) -> Response:
    headers = {"connection": "close"} if close else None
    return JSONResponse({"ok": False, "error": text}, status_code=status, headers=headers)


async def _not_found(request: Request, error: Exception) -> Response:
    return PlainTextResponse("Not Found", status_code=404)


class _Market:
    def __init__(self, chain: Chain, book: OrderBook, checks: Checks, watcher: Watcher, clock: Clock) -> None:
        self._chain = chain
        self._book = book
        self._checks = checks
        self._watcher = watcher
        self._clock = clock
        self._challenges = Challenges(chain.chain_id, clock)

    async def version(self, request: Request) -> Response:
        return JSONResponse({"ok": True, "version": __version__})

    async def health(self, request: Request) -> Response:
        return JSONResponse(
            {"ok": True, "service": "market", "version": __version__, "lastBlock": self._watcher.last_block}
        )

    async def challenge(self, request: Request) -> dict[str, Any]:
        parse_chain_id(request.query_params, self._chain.chain_id)
        address = parse_address("address", request.query_params.get("address"))
        return {"data": self._challenges.issue(address)}

    async def metrics(self, request: Request) -> dict[str, Any]:
        parse_chain_id(request.query_params, self._chain.chain_id)
        counts = await asyncio.to_thread(self._book.open_counts)
        block = self._watcher.last_block
        documents = {KINDS[name].collection: count for name, count in counts.items()}
        return {"lastBlock": block, "checkpointBlock": block, **documents}

    async def categories(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        parse_chain_id(query, self._chain.chain_id)
        page = parse_page(query)
        least = parse_number("minWorkClockTimeRef", query.get("minWorkClockTimeRef") or "0")
        most = parse_number("maxWorkClockTimeRef", query.get("maxWorkClockTimeRef") or str(MAX_NUMBER))
        known = range(await self._chain.count_categories())
        all_of_them = await asyncio.gather(*(self._category(catid) for catid in known))
        found = [entry for entry in all_of_them if least <= entry["workClockTimeRef"] <= most]
        found.sort(key=lambda entry: (entry["workClockTimeRef"], entry["catid"]))
        shown = found[page.skip : page.skip + page.limit]
        next_page = {"nextPage": page.skip + page.limit} if len(shown) == page.limit else {}
        return {"categories": shown, "count": len(found), **next_page}

    async def category(self, request: Request) -> dict[str, Any]:
        parse_chain_id(request.query_params, self._chain.chain_id)
        catid = parse_number("catid", request.path_params["catid"])
        if catid >= await self._chain.count_categories():
            raise NotFound("category")
        return await self._category(catid)

    async def _category(self, catid: int) -> dict[str, Any]:
        category = await self._chain.view_category(catid)
        return {
            "catid": catid,
            "chainId": self._chain.chain_id,
            "name": category.name,
            "description": category.description,
            "workClockTimeRef": category.timeref,
        }

    def get_order(self, kind: Kind) -> Callable[[Request], Awaitable[dict[str, Any]]]:
        async def get(request: Request) -> dict[str, Any]:
            chain_id = parse_chain_id(request.query_params, self._chain.chain_id)
            wanted = parse_hash("orderHash", request.path_params["order_hash"])
            stored = await asyncio.to_thread(self._book.get, wanted)
            if stored is None or stored.kind is not kind:
                raise NotFound(kind.document)
            return self._entry(stored, bulk=False) | {"chainId": chain_id}

        return get

    def list_orders(self, kind: Kind) -> Callable[[Request], Awaitable[dict[str, Any]]]:
        async def list_them(request: Request) -> dict[str, Any]:
            parse_chain_id(request.query_params, self._chain.chain_id)
            query = parse_query(kind, request.query_params)
            page = parse_page(request.query_params)
            listing = await asyncio.to_thread(lambda: self._book.page(query, skip=page.skip, limit=page.limit))
            full = len(listing.orders) == page.limit
            next_page = {"nextPage": page.skip + page.limit} if full else {}
            return {"orders": [self._entry(stored) for stored in listing.orders], "count": listing.count, **next_page}

        return list_them

    def publish(self, kind: Kind) -> Callable[[Request], Awaitable[dict[str, Any]]]:
        async def publish(request: Request) -> dict[str, Any]:
            wallet, body = await self._authorised_body(request)
            order = parse_order(kind, body)
            stored = await self._checks.publish(order, wallet, int(self._clock.now() * 1000))
            _log.info("published", kind=kind.name, order=stored.order_hash, signer=stored.signer)
            return {"published": self._entry(stored)}

        return publish

    def unpublish(self, kind: Kind) -> Callable[[Request], Awaitable[dict[str, Any]]]:
        async def unpublish(request: Request) -> dict[str, Any]:
            wallet, body = await self._authorised_body(request)
            leaving = await self._to_unpublish(kind, wallet, body)
            await asyncio.to_thread(self._book.remove, [stored.order_hash for stored in leaving])
            if kind in (APP, DATASET):
                for resource in {stored.resource for stored in leaving}:
                    await asyncio.to_thread(self._book.retire_requests, kind, resource)
            _log.info("unpublished", kind=kind.name, signer=wallet, orders=len(leaving))
            return {"unpublished": [stored.order_hash for stored in leaving]}

        return unpublish

    async def _to_unpublish(self, kind: Kind, wallet: str, body: dict[str, Any]) -> tuple[StoredOrder, ...]:
        target = body.get("target", "unpublish_orderHash")
        if target == "unpublish_orderHash":
            wanted = parse_hash("orderHash", body.get("orderHash"))
            stored = await asyncio.to_thread(self._book.get, wanted)
            if stored is None or stored.kind is not kind:
                raise Forbidden(f"{kind.document} with orderHash {wanted} is not published")
            if stored.signer != wallet:
                raise Forbidden(f"only order signer {stored.signer} can unpublish an order")
            return (stored,)
        if target not in ("unpublish_last", "unpublish_all"):
            raise Invalid(
                "target must be one of the following values: unpublish_orderHash, unpublish_last, unpublish_all"
            )
        field = kind.resource_field
        resource = parse_address(field, body.get(field))
        found = await asyncio.to_thread(self._book.open_of, kind, wallet, resource)
        if not found:
            raise Forbidden(f"no open {kind.document} published by signer {wallet} for {field} {resource}")
        return found if target == "unpublish_all" else found[:1]

    async def _authorised_body(self, request: Request) -> tuple[str, dict[str, Any]]:
        """The wallet that calls, and the body; the body is read first, so that a large one costs no challenge."""
        parse_chain_id(request.query_params, self._chain.chain_id)
        body = bytearray()
        stream = request.stream()
        try:
            async with asyncio.timeout(_BODY_S):
                async for piece in stream:
                    body += piece
                    if len(body) > MAX_BODY_BYTES:
                        await drain(stream, limit_bytes=_DRAIN_BYTES)
                        raise TooLarge(MAX_BODY_BYTES)
        except TimeoutError:
            raise Invalid(f"The body did not arrive within {_BODY_S} s") from None
        wallet = await self._challenges.redeem(request.headers.get("authorization"), self._checks.signed)
        return wallet, parse_body(bytes(body))

    def _entry(self, stored: StoredOrder, *, bulk: bool = True) -> dict[str, Any]:
        published = datetime.fromtimestamp(stored.published_ms / 1000, UTC)
        entry = {
            "orderHash": stored.order_hash,
            "order": stored.order.to_wire(),
            "chainId": self._chain.chain_id,
            "remaining": stored.remaining,
            "status": stored.status.value,
            "publicationTimestamp": published.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "signer": stored.signer,
        }
        return entry | {"bulk": stored.bulk} if bulk and stored.kind is DATASET else entry
