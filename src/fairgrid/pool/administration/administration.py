"""The operator's REST API under ``/admin``: every request is signed by an operator, every act is written down.

``GET /admin/openapi.json`` describes it to whoever asks; all else needs a signature (`operator_access`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Annotated, Any, Final, Literal

import structlog
from fastapi import Depends, FastAPI, Path, Query, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fairgrid import __version__
from fairgrid.errors import FairgridError, OrderError, UsageError
from fairgrid.pool.administration import operator_views as views
from fairgrid.pool.administration.operating import PoolOperator
from fairgrid.pool.administration.operations import WHOLE_POOL, Operations, Replayed
from fairgrid.pool.administration.operator_access import AccessRefused, OperatorAccess, Signed
from fairgrid.pool.administration.outlook import UnknownSubject
from fairgrid.pool.administration.overview import WORKER_SORTS, WORKER_STATES, WorkerFilter
from fairgrid.pool.core.phases import Phase
from fairgrid.pool.records.task_lists import TaskFilter, TaskLists
from fairgrid.protocol.hexes import checksum
from fairgrid.seams.http import one_line
from fairgrid.seams.service import drain as drain_body

__all__ = ["MAX_BODY_BYTES", "administration"]

_log = structlog.get_logger(__name__)

MAX_BODY_BYTES: Final = 64 * 1024
"""The largest request that is read."""
_BODY_S: Final = 10.0
_OPENAPI: Final = "/openapi.json"
_HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_TASK: Final = r"^0x[0-9a-fA-F]{64}$"
_DAY: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_ADDRESS: Final = r"^0x[0-9a-fA-F]{40}$"

_TaskId = Annotated[str, Path(pattern=_TASK, description="A task's id.")]
_Worker = Annotated[str, Path(pattern=_ADDRESS, description="A worker's address.")]
_Subject = Annotated[str, Path(pattern=_ADDRESS, description="The address of a worker, or of an owner.")]
_OptionalAddress = Annotated[str, Field(pattern=r"^(0x[0-9a-fA-F]{40})?$")]
_Limit = Annotated[int, Field(ge=1, le=1_000)]
_Offset = Annotated[int, Field(ge=0, le=1_000_000_000)]
_HandOver = Callable[[Callable[[], Awaitable[None]]], Awaitable[str]]


class WorkerQuery(BaseModel):
    """Which workers; empty: all of them."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["", *WORKER_STATES] = ""  # type: ignore[valid-type]
    owner: _OptionalAddress = ""
    label: Annotated[str, Field(max_length=64)] = ""
    sort: Literal[*WORKER_SORTS] = "worker"  # type: ignore[valid-type]
    limit: _Limit = 100
    offset: _Offset = 0


class TaskQuery(BaseModel):
    """Which tasks, newest first; empty: all that have begun."""

    model_config = ConfigDict(extra="forbid")

    phase: Literal["", *(phase.value for phase in Phase)] = ""  # type: ignore[valid-type]
    deal: Annotated[str, Field(pattern=r"^(0x[0-9a-fA-F]{64})?$")] = ""
    requester: _OptionalAddress = ""
    app: _OptionalAddress = ""
    worker: _OptionalAddress = ""
    limit: _Limit = 100
    offset: _Offset = 0


class ActQuery(BaseModel):
    """Whose acts: ``subject`` is an address, ``pool``, or keys of the policy."""

    model_config = ConfigDict(extra="forbid")

    subject: Annotated[str, Field(max_length=200)] = ""
    limit: _Limit = 100
    offset: _Offset = 0


class UsageQuery(BaseModel):
    """Whose sums, over which days (UTC, both included)."""

    model_config = ConfigDict(extra="forbid")

    by: Literal["requester", "app", "worker", "pool"] = "requester"
    since: Annotated[str, Field(pattern=_DAY)] = "0000-01-01"
    until: Annotated[str, Field(pattern=_DAY)] = "9999-12-31"
    limit: _Limit = 100
    offset: _Offset = 0


def administration(
    operator: PoolOperator,
    operations: Operations,
    lists: TaskLists,
    access: OperatorAccess,
    *,
    hand_over: _HandOver | None = None,
) -> ASGIApp:
    """The ASGI application to mount under ``/admin``; ``hand_over`` calls back to have it
    written down, then lets go, and gives the URL of who takes over.
    """
    return _Guard(_application(operator, operations, lists, hand_over), access)


class _Guard:
    """Reads the whole request, within limits, and lets it pass if an operator signed it."""

    def __init__(self, application: FastAPI, access: OperatorAccess) -> None:
        self._application = application
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        path = scope["path"]
        if path.removeprefix(scope.get("root_path", "")) == _OPENAPI:
            await self._application(scope, receive, send)
            return
        query = scope.get("query_string", b"").decode("latin-1")
        try:
            body = await _body(request)
            scope.setdefault("state", {})["signed"] = self._access.check(
                method=request.method,
                target=path + (f"?{query}" if query else ""),
                body=body,
                header=request.headers.get("authorization", ""),
                client=request.client.host if request.client else "",
            )
        except AccessRefused as refused:
            if refused.status == 413:
                await drain_body(request.stream(), limit_bytes=1 << 20)
            answer = _error(refused.status, str(refused), retry_after_s=refused.retry_after_s)
            await answer(scope, receive, send)
            return
        except ClientDisconnect:
            return
        # Whatever a client calls its body: it is JSON here, or it is refused.
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
        scope = {**scope, "headers": [*headers, (b"content-type", b"application/json")]}
        await self._application(scope, _again(body, receive), send)


async def _body(request: Request) -> bytes:
    text = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for piece in request.stream():
                text += piece
                if len(text) > MAX_BODY_BYTES:
                    raise AccessRefused(413, f"The request has more than {MAX_BODY_BYTES} bytes.")
    except TimeoutError:
        raise AccessRefused(408, f"The request did not arrive within {_BODY_S:g} s.") from None
    return bytes(text)


def _again(body: bytes, receive: Receive) -> Receive:
    told = False

    async def next_message() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        message: MutableMapping[str, Any] = {"type": "http.request", "body": body, "more_body": False}
        return message

    return next_message


def _error(status: int, message: str, *, retry_after_s: int = 0) -> JSONResponse:
    headers = _HEADERS | ({"retry-after": str(retry_after_s)} if retry_after_s else {})
    return JSONResponse({"error": message}, status_code=status, headers=headers)


def _signed(request: Request) -> Signed:
    signed = request.state.signed
    assert isinstance(signed, Signed)
    return signed


_Who = Annotated[Signed, Depends(_signed)]

_EVERYWHERE: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": views.Error, "description": "A parameter or the body cannot be read; the error names it."},
    401: {"model": views.Error, "description": "There is no signature, or it ended, or it was used before."},
    403: {"model": views.Error, "description": "The signature is another's, another pool's, or no operator's."},
    413: {"model": views.Error, "description": f"The request has more than {MAX_BODY_BYTES} bytes."},
    429: {"model": views.Error, "description": "Too many requests; Retry-After says when to come again."},
    503: {"model": views.Error, "description": "This process stands by (`leader` names who leads), or cannot now."},
}
_UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {
    404: {"model": views.Error, "description": "This pool does not have it."}
}
_CONFLICT: Final[dict[int | str, dict[str, Any]]] = {
    409: {"model": views.Error, "description": "It cannot be done as things are; nothing was changed."}
}


def _application(
    operator: PoolOperator, operations: Operations, lists: TaskLists, hand_over: _HandOver | None
) -> FastAPI:
    scheme = APIKeyHeader(
        name="authorization",
        auto_error=False,
        scheme_name="operator",
        description="Fairgrid operator=0x…,expires=SECONDS,nonce=0x…,signature=0x… (docs/pool-operator.md).",
    )
    app = _Api(
        title="Fairgrid pool administration",
        version=__version__,
        description="For the operators of a workerpool. Amounts are in nRLC or wei, times in seconds since 1970.",
        docs_url=None,
        redoc_url=None,
        openapi_url=_OPENAPI,
        responses=_EVERYWHERE,
        dependencies=[Security(scheme)],
    )
    _refusals(app)

    @app.get("/status", summary="The pool in numbers, with alerts")
    async def status() -> views.PoolStatus:
        return await operator.outlook.status()

    @app.get("/workers", summary="Workers, by state, owner or label")
    async def workers(query: Annotated[WorkerQuery, Query()]) -> views.WorkerList:
        owner = checksum(query.owner) if query.owner else ""
        wanted = WorkerFilter(state=query.state, owner=owner, label=query.label, sort=query.sort)
        return await operator.outlook.workers(wanted, limit=query.limit, offset=query.offset)

    @app.get("/workers/{worker}/why", summary="Why a worker gets no work", responses=_UNKNOWN)
    async def why_worker(worker: _Worker) -> views.WhyWorker:
        return operator.outlook.why_worker(checksum(worker))

    @app.post("/workers/{worker}/drain", summary="Give a worker no new lease")
    async def drain_worker(worker: _Worker, body: views.ReasonRequest, who: _Who) -> views.WorkerMark:
        return await operator.drain_worker(checksum(worker), body.reason, who)

    @app.post("/workers/{worker}/undrain", summary="Give a worker leases again", responses=_CONFLICT)
    async def undrain_worker(worker: _Worker, who: _Who) -> views.WorkerMark:
        return await operator.undrain_worker(checksum(worker), who)

    @app.post("/workers/{worker}/ban", summary="Give a worker and its owner no more work", responses=_CONFLICT)
    async def ban(worker: _Worker, body: views.BanRequest, who: _Who) -> views.WorkerMark:
        owner = checksum(body.owner) if body.owner else ""
        return await operator.ban(checksum(worker), owner, body.reason, who)

    @app.post("/workers/{worker}/unban", summary="Lift the bans of a worker, or of an owner", responses=_CONFLICT)
    async def unban(worker: _Subject, who: _Who) -> views.WorkerMark:
        return await operator.unban(checksum(worker), who)

    @app.put("/workers/{worker}/labels", summary="Give a worker exactly these labels, beside its owner's")
    async def label(worker: _Worker, body: views.LabelRequest, who: _Who) -> views.WorkerMark:
        return await operator.label(checksum(worker), tuple(body.labels), who)

    @app.get("/bans", summary="Who is banned, and why")
    async def bans() -> views.BanList:
        return views.BanList(bans=operator.outlook.bans())

    @app.get("/tasks", summary="Begun tasks, newest first")
    async def tasks(query: Annotated[TaskQuery, Query()]) -> views.TaskList:
        wanted = TaskFilter(
            phase=query.phase,
            deal=query.deal.lower(),
            requester=checksum(query.requester) if query.requester else "",
            app=checksum(query.app) if query.app else "",
            worker=checksum(query.worker) if query.worker else "",
        )
        lines = await asyncio.to_thread(lists.page, wanted, limit=query.limit + 1, offset=query.offset)
        rows = [views.TaskRow.model_validate(line, from_attributes=True) for line in lines[: query.limit]]
        return views.TaskList(tasks=rows, next=query.offset + query.limit if len(lines) > query.limit else None)

    @app.get("/tasks/{task_id}/story", summary="Everything that happened to a task, in order", responses=_UNKNOWN)
    async def story(task_id: _TaskId) -> views.StoryView:
        return await operator.outlook.story(task_id.lower())

    @app.get("/tasks/{task_id}/why", summary="Why a task does not go on", responses=_UNKNOWN)
    async def why_task(task_id: _TaskId) -> views.WhyTask:
        return await operator.outlook.why_task(task_id.lower())

    @app.post("/drain", summary="Begin no new task; those that have begun go on")
    async def drain(body: views.ReasonRequest, who: _Who) -> views.DrainView:
        drain = await operator.drain(WHOLE_POOL, body.reason, who)
        return views.DrainView(who=drain.who, reason=drain.reason, at=drain.at)

    @app.post("/undrain", summary="Begin new tasks again", responses=_CONFLICT)
    async def undrain(who: _Who) -> views.PoolStatus:
        await operator.undrain(WHOLE_POOL, who)
        return await operator.outlook.status()

    @app.get("/policy", summary="Every key of the policy, and where it comes from")
    async def policy() -> views.PolicyView:
        return operator.policy()

    @app.post("/policy", summary="Set keys of the policy, or give them back to the file", responses=_CONFLICT)
    async def change_policy(body: views.PolicyChange, who: _Who) -> views.PolicyView:
        return await operator.change_policy(body.values, tuple(body.unset), who)

    @app.get("/acts", summary="What operators did, newest first")
    async def acts(query: Annotated[ActQuery, Query()]) -> views.ActList:
        found = await asyncio.to_thread(operations.acts, subject=query.subject, limit=query.limit, offset=query.offset)
        return views.ActList(acts=[views.ActView.model_validate(act, from_attributes=True) for act in found])

    @app.get("/usage", summary="Who used the pool, and what was paid")
    async def usage(query: Annotated[UsageQuery, Query()]) -> views.UsageList:
        found = await operator.service.inquiries.usage(query.by, since=query.since, until=query.until)
        part = found[query.offset : query.offset + query.limit]
        rows = [views.UsageRow.model_validate(account, from_attributes=True) for account in part]
        return views.UsageList(accounts=rows, total=len(found))

    @app.post("/handover", summary="Let a process that stands by lead", responses=_CONFLICT)
    async def handover(who: _Who) -> views.Handover:
        if hand_over is None:
            raise UsageError("This pool has one process only. Several need PostgreSQL: give --database to each.")
        leader = await hand_over(lambda: operator.note(who, "handover"))
        return views.Handover(leader=leader)

    return app


class _Api(FastAPI):
    """What cannot be read is 400 here, as elsewhere in this house, not the 422 that the framework writes down."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        for methods in document["paths"].values():
            for operation in methods.values():
                operation["responses"].pop("422", None)
        for unused in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(unused, None)
        return document


def _refusals(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def unreadable(_request: Request, error: RequestValidationError) -> JSONResponse:
        said = [
            f"{'.'.join(str(part) for part in item['loc'][1:]) or 'body'}: {item['msg']}" for item in error.errors()
        ]
        return _error(400, one_line(f"The request cannot be read: {'; '.join(said[:5])}") + ".")

    @app.exception_handler(HTTPException)
    async def nothing_here(_request: Request, error: HTTPException) -> JSONResponse:
        text = "There is nothing here; GET /admin/openapi.json lists what there is." if error.status_code == 404 else ""
        return _error(error.status_code, text or str(error.detail))

    @app.exception_handler(FairgridError)
    async def refused(_request: Request, error: FairgridError) -> JSONResponse:
        match error:
            case UnknownSubject():
                status = 404
            case Replayed():
                status = 401
            case OrderError():
                status = 400
            case UsageError():
                status = 409
            case _:
                status = 503
                _log.error("an operator's request failed", reason=str(error))
        return _error(status, str(error))
