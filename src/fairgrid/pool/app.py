"""The pool over HTTP: what it is, whom it has, how far a task is; and the websocket of its workers.

Before consensus a task shows coarse phases and no names, and never a digest (decision 3).
"""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from fairgrid import __version__
from fairgrid.chain.network import Network, document_of
from fairgrid.errors import OrderError, ServiceUnavailable, UsageError
from fairgrid.pool.administration.access import Role
from fairgrid.pool.core.phases import ReplicaPhase
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.task_state import StoryLine, TaskState
from fairgrid.pool.jobs.live_app import live_routes
from fairgrid.pool.observability.dashboard import dashboard_routes
from fairgrid.pool.observability.room import room_document
from fairgrid.pool.records.rows import StoredTask
from fairgrid.pool.service import PoolService
from fairgrid.pool.workers.sessions import serve_worker
from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum, is_hex32
from fairgrid.protocol.trust import reachable_trust
from fairgrid.protocol.views import TaskStatus
from fairgrid.protocol.wire import PROTOCOL_VERSION

__all__ = ["pool_application", "task_document", "trust_document"]

_PAGE = 1_000
_SILENT_CHAIN_S = 30.0
_HEADERS = {"access-control-allow-origin": "*", "x-content-type-options": "nosniff"}


def pool_application(
    service: PoolService, *, network: Network | None = None, administration: ASGIApp | None = None
) -> Starlette:
    """The ASGI application of a running `PoolService`; ``network`` is what newcomers are told of the network.

    ``administration`` answers its operators under ``/admin``.
    """
    rim = _Rim(service, network)
    return Starlette(
        routes=[
            Route("/info", rim.info),
            Route("/network", rim.network),
            Route("/trust", rim.trust),
            Route("/encryption-key", rim.encryption_key),
            Route("/room", rim.room),
            Route("/health", rim.health),
            Route("/deals/{deal_id}", rim.deal),
            Route("/tasks/{task_id}", rim.task),
            Route("/tasks/{task_id}/story", rim.story),
            *live_routes(service),
            *dashboard_routes(service.dashboard),
            *((Mount("/admin", administration),) if administration is not None else ()),
            WebSocketRoute("/worker", rim.worker),
        ],
        exception_handlers={404: _not_found},
    )


def trust_document(service: PoolService) -> dict[str, Any]:
    """Each connected owner with the weight that its lightest worker has now, the trust that all of them reach, and how
    long it may be worth to wait for those who were lost a moment ago."""
    owners = service.owners()
    listed = [
        {"owner": owner, "weight": worker.weight, "score": worker.score} for owner, worker in sorted(owners.items())
    ]
    returning = service.returning()
    return {
        "owners": listed,
        "reachable": reachable_trust([worker.weight for worker in owners.values()]),
        "returning": {"withinS": round(returning.within_s, 3), "reachable": returning.reachable},
    }


def task_document(stored: StoredTask) -> dict[str, Any]:
    """What everybody may know of a task."""
    task = stored.state
    document: dict[str, Any] = {
        "taskId": task.task_id,
        "dealId": task.deal.deal_id,
        "index": task.index,
        "phase": task.phase.value,
        "round": max(task.round, 0),
        "trust": task.deal.trust,
        "contributionDeadline": task.deal.contribution_deadline,
        "finalDeadline": task.deal.final_deadline,
        "createdAt": task.created_at,
        "updatedAt": stored.updated_at,
        "replicas": [_replica_document(task, number, replica) for number, replica in enumerate(task.replicas, 1)],
    }
    if task.facts.status >= TaskStatus.REVEALING:
        document["resultDigest"] = task.facts.result_digest
        document["cid"] = task.upload.cid if task.upload.verified else ""
    return document


def _replica_document(task: TaskState, number: int, replica: Replica) -> dict[str, Any]:
    if not task.is_public:
        return {"worker": f"worker {number}", "phase": _coarse_phase(replica)}
    seen = task.facts.contribution(replica.worker)
    return {
        "worker": replica.worker,
        "owner": replica.owner,
        "phase": _coarse_phase(replica),
        "resultHash": seen.result_hash if seen else "",
        "digest": replica.digest,
    }


def _coarse_phase(replica: Replica) -> str:
    match replica.phase:
        case ReplicaPhase.LEASED:
            return replica.shown_phase
        case ReplicaPhase.AUTHORISED:
            return "contributing"
        case _:
            return replica.phase.value


def _line_document(line: StoryLine, *, public: bool) -> dict[str, Any]:
    return {"number": line.number, "at": line.at, "text": line.text, "worker": line.worker if public else ""}


class _Rim:
    def __init__(self, service: PoolService, network: Network | None) -> None:
        self._service = service
        self._network = network

    async def info(self, request: Request) -> JSONResponse:
        service = self._service
        workers = service.machine.workers.values()
        return _json(
            {
                "service": "pool",
                "version": __version__,
                "protocolVersion": PROTOCOL_VERSION,
                "chainId": service.identity.chain_id,
                "hub": service.identity.hub,
                "workerpool": service.identity.workerpool,
                "scheduler": service.scheduler,
                "confirmations": service.policy.confirmations,
                "heartbeatS": service.policy.heartbeat_s,
                "workers": sum(1 for worker in workers if worker.ready),
                "owners": len({worker.owner for worker in workers if worker.ready}),
                "auditShare": service.policy.audit_share,
            }
        )

    async def network(self, request: Request) -> JSONResponse:
        if self._network is None:
            return _error(404, "This pool does not describe its network. Ask its operator for the network file.")
        return _json(document_of(self._network))

    async def trust(self, request: Request) -> JSONResponse:
        return _json(trust_document(self._service))

    async def encryption_key(self, request: Request) -> JSONResponse:
        """What keys of private jobs are sealed for, signed by the scheduler."""
        try:
            public, signature = await self._service.task_keys.published()
        except UsageError as error:
            return _error(409, str(error))
        identity = self._service.identity
        place = {"chainId": identity.chain_id, "hub": identity.hub, "workerpool": identity.workerpool}
        return _json({"publicKey": public, "signature": signature, "scheduler": self._service.scheduler, **place})

    async def room(self, request: Request) -> JSONResponse:
        """Whether a requester may use the pool, and how many of its tasks would begin at once."""
        trust = _number(request, "trust", 1)
        try:
            requester = checksum(request.query_params.get("requester", ZERO_ADDRESS))
        except OrderError as error:
            return _error(400, str(error))
        if trust is None:
            return _error(400, "Ask for /room?trust=N&requester=0x…, with a whole number.")
        service = self._service
        try:
            refusal = "" if service.access is None else await service.access.refusal(Role.REQUESTER, requester)
        except ServiceUnavailable:
            return _error(503, "The chain does not answer now, and a group must be asked. Try again.")
        weights = [worker.weight for worker in service.owners().values()]
        return _json(room_document(service.figures.numbers(), trust=trust, weights=weights, refusal=refusal))

    async def health(self, request: Request) -> JSONResponse:
        silence = self._service.figures.chain_silence_s
        money = self._service.figures.gas_money
        healthy = silence < _SILENT_CHAIN_S
        document = {
            "status": "ok" if healthy else "the chain does not answer",
            "chainTime": self._service.figures.chain_time,
            "chainSilenceS": round(silence, 3),
            "liveTasks": len(self._service.machine.tasks),
            "epoch": self._service.epoch,
            "transactionsUnderWay": self._service.figures.transactions_under_way,
            "gasMoney": {
                "address": self._service.scheduler,
                "balanceWei": None if money.balance_wei is None else str(money.balance_wei),
                "transactionsLeft": money.transactions_left,
                "low": money.is_low,
            },
        }
        return _json(document, status=200 if healthy else 503)

    async def deal(self, request: Request) -> JSONResponse:
        deal_id = request.path_params["deal_id"].lower()
        limit, offset = _number(request, "limit", _PAGE), _number(request, "offset", 0)
        if not is_hex32(deal_id) or limit is None or offset is None:
            return _error(400, "Ask for /deals/0x… (32 bytes), with limit and offset as whole numbers.")
        count, tasks = await self._service.inquiries.tasks_of_deal(deal_id, limit=min(limit, _PAGE), offset=offset)
        if not count:
            return _error(404, f"This pool has no deal {deal_id}.")
        return _json(
            {
                "dealId": deal_id,
                "taskCount": count,
                "tasks": [{"taskId": task_id, "index": index, "phase": phase} for task_id, index, phase in tasks],
            }
        )

    async def task(self, request: Request) -> JSONResponse:
        stored = await self._find(request)
        return _unknown_task(request) if stored is None else _json(task_document(stored))

    async def story(self, request: Request) -> JSONResponse:
        stored = await self._find(request)
        if stored is None:
            return _unknown_task(request)
        lines = await self._service.inquiries.story(stored.state.task_id)
        public = stored.state.is_public
        return _json({"lines": [_line_document(line, public=public) for line in lines]})

    async def worker(self, socket: WebSocket) -> None:
        await serve_worker(self._service, socket)

    async def _find(self, request: Request) -> StoredTask | None:
        task_id = request.path_params["task_id"].lower()
        return await self._service.inquiries.task(task_id) if is_hex32(task_id) else None


def _number(request: Request, name: str, default: int) -> int | None:
    text = request.query_params.get(name, "")
    if not text:
        return default
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _json(document: dict[str, Any], *, status: int = 200) -> JSONResponse:
    return JSONResponse(document, status_code=status, headers=_HEADERS)


def _error(status: int, message: str) -> JSONResponse:
    return _json({"error": message}, status=status)


def _unknown_task(request: Request) -> JSONResponse:
    return _error(404, f"This pool has no task {request.path_params['task_id'][:80]}.")


async def _not_found(request: Request, error: Exception) -> JSONResponse:
    return _error(
        404, "There is nothing here. Ask for /info, /trust, /room, /health, /deals/ID, /tasks/ID or /tasks/ID/story."
    )
