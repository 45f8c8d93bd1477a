"""`GET /tasks/ID/live` and `POST /tasks/ID/partial`: for the requester, who signs that it asks.

The header is ``Authorization: Fairgrid expires=SECONDS,signature=0x…`` over `fairgrid.protocol.access.access_message`.
At trust above 1 nothing is shown before consensus (decision 3).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from fairgrid.errors import OrderError
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.jobs.live import LiveEvent, PartialRefused
from fairgrid.pool.service import PoolService
from fairgrid.protocol.access import MAX_ACCESS_S, access_message
from fairgrid.protocol.hexes import checksum, is_hex32, to_hex32
from fairgrid.protocol.seals import message_hash, recover_message_signer
from fairgrid.protocol.views import TaskStatus
from fairgrid.seams.service import until_server_ends

__all__ = ["live_routes"]

_AUTHORISATION: Final = re.compile(r"Fairgrid expires=(\d{1,12}),signature=(0x[0-9a-fA-F]{2,4096})")
_LOOK_S: Final = 1.0
_PING_TICKS: Final = 10
_HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


def live_routes(service: PoolService) -> list[Route]:
    """The two routes of a running pool."""
    rim = _LiveRim(service)
    return [
        Route("/tasks/{task_id}/live", rim.live),
        Route("/tasks/{task_id}/partial", rim.partial, methods=["POST"]),
    ]


class _LiveRim:
    def __init__(self, service: PoolService) -> None:
        self._service = service

    async def live(self, request: Request) -> Response:
        """Server-sent events: ``run``, ``output``, ``progress``, and ``end`` when nothing more will come."""
        try:
            task = await self._allowed(request)
        except _Refused as error:
            return _error(error.status, str(error))
        stream = until_server_ends(request.scope, self._events(task.task_id))
        return StreamingResponse(stream, media_type="text/event-stream", headers=_HEADERS)

    async def partial(self, request: Request) -> Response:
        """What the job has written so far, as an archive in storage: unverified, from one worker."""
        try:
            task = await self._allowed(request)
            worker = self._service.live.worker_of(task.task_id)
            if worker is None:
                raise _Refused(409, "No job of this task runs now, or it has not said anything yet. Ask later.")
            result = await self._service.live.partial(
                task.task_id, worker, lambda message: self._service.send_to(worker, message)
            )
        except _Refused as error:
            return _error(error.status, str(error))
        except PartialRefused as error:
            return _error(409, str(error))
        document = {"cid": result.cid, "size": result.size, "worker": worker, "verified": False, "partial": True}
        return JSONResponse(document, headers=_HEADERS)

    async def _events(self, task_id: str) -> AsyncIterator[bytes]:
        try:
            async with self._service.live.watching(task_id) as queue:
                quiet = 0
                while True:
                    try:
                        async with asyncio.timeout(_LOOK_S):
                            event = await queue.get()
                    except TimeoutError:
                        quiet += 1
                        if not await self._runs(task_id):
                            yield _line(LiveEvent("end", {}))
                            return
                        if quiet % _PING_TICKS == 0:
                            yield b": still here\n\n"
                        continue
                    if event is None:
                        return  # Too slow; it may come again and sees the gap.
                    quiet = 0
                    yield _line(event)
        except PartialRefused as error:
            yield _line(LiveEvent("refused", {"error": str(error)}))

    async def _runs(self, task_id: str) -> bool:
        stored = await self._service.inquiries.task(task_id)
        return stored is not None and not stored.state.is_final and stored.state.facts.status < TaskStatus.REVEALING

    async def _allowed(self, request: Request) -> TaskState:
        """The task, if whoever asks is its requester and it may be shown."""
        task_id = request.path_params["task_id"].lower()
        stored = await self._service.inquiries.task(task_id) if is_hex32(task_id) else None
        if stored is None:
            raise _Refused(404, f"This pool has no task {task_id[:80]}.")
        task = stored.state
        found = _AUTHORISATION.fullmatch(request.headers.get("authorization", ""))
        if found is None:
            raise _Refused(401, "Only the requester sees this. Send Authorization: Fairgrid expires=…,signature=0x….")
        expires_at = int(found[1])
        now = self._service.now()
        if not now <= expires_at <= now + MAX_ACCESS_S:
            raise _Refused(
                401, f"The signature ended, or is for more than {MAX_ACCESS_S} s. Sign again; is a clock off?"
            )
        identity = self._service.identity
        message = access_message(identity.chain_id, identity.hub, identity.workerpool, task_id, expires_at)
        if not await self._signed(task.deal.requester, message, found[2]):
            raise _Refused(403, f"Only the requester {task.deal.requester} sees this; another key signed.")
        if task.deal.trust > 1:
            raise _Refused(409, f"The task's trust is {task.deal.trust}: nothing is shown before its workers agreed.")
        return task

    async def _signed(self, requester: str, message: bytes, signature: str) -> bool:
        try:
            if recover_message_signer(message, signature) == checksum(requester):
                return True
        except OrderError:
            pass  # Not the length of a key's signature; a contract may know it.
        return await self._service.signed_by_contract(requester, to_hex32(message_hash(message)), signature)


def _line(event: LiveEvent) -> bytes:
    return f"event: {event.kind}\ndata: {json.dumps(event.data, separators=(',', ':'))}\n\n".encode()


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status, headers=_HEADERS)
