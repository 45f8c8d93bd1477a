"""`OperatorClient`: ask a pool as its operator, whichever process leads; and how a pool's folder knows them."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import httpx
from pydantic import BaseModel, ValidationError

from fairgrid.errors import ServiceRefused, ServiceUnavailable, UsageError
from fairgrid.pool.administration.operator_access import authorisation
from fairgrid.pool.administration.operator_views import (
    ActList,
    BanList,
    DrainView,
    Handover,
    PolicyView,
    PoolStatus,
    StoryView,
    TaskList,
    UsageList,
    WhyTask,
    WhyWorker,
    WorkerList,
    WorkerMark,
)
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.seams.clock import Clock, SystemClock
from fairgrid.seams.closing import Closing
from fairgrid.seams.http import Interrupted, one_line, open_http, retried
from fairgrid.wallet.signer import Signer

__all__ = ["OperatorClient", "Reach", "note_reach", "reaches_of"]

_SERVICE: Final = "pool"
_FOLDER: Final = "reach"
_MOST_REACHES: Final = 8
_TAKEOVER_S: Final = 15.0
_LOOK_AGAIN_S: Final = 0.5
_Answer = TypeVar("_Answer", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a process of a pool answers, and which pool it is."""

    url: str
    identity: PoolIdentity


def note_reach(folder: Path, reach: Reach) -> None:
    """Remember in the pool's folder how a process of it is reached; one file each, so that none loses another's."""
    place = folder / _FOLDER
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = hashlib.sha256(reach.url.encode()).hexdigest()[:16]
    identity = reach.identity
    document = {
        "url": reach.url,
        "chainId": identity.chain_id,
        "hub": identity.hub,
        "workerpool": identity.workerpool,
    }
    partial = place / f"{name}.partial"
    partial.write_text(json.dumps(document) + "\n")
    partial.replace(place / f"{name}.json")
    for old in _newest_first(place)[_MOST_REACHES:]:
        old.unlink(missing_ok=True)


def reaches_of(folder: Path) -> list[Reach]:
    """How processes of the pool in ``folder`` could be reached, the newest first; empty if none ever ran there."""
    found = []
    for path in _newest_first(folder / _FOLDER):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            document = json.loads(path.read_text())
            identity = PoolIdentity(document["chainId"], document["hub"], document["workerpool"])
            found.append(Reach(str(document["url"]), identity))
    return found


def _newest_first(place: Path) -> list[Path]:
    times: list[tuple[int, Path]] = []
    for path in place.glob("*.json"):
        with contextlib.suppress(OSError):
            times.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(times, key=lambda item: (-item[0], item[1]))]


class OperatorClient(Closing):
    """Signs every request with the operator's key. Use it as an asynchronous context manager.

    Every method raises:
        ServiceUnavailable: no process of the pool answers, or none leads.
        UsageError: the pool cannot do it as things are, or cannot read the request; the text says why.
        ServiceRefused: it refuses: no operator, too often, or nothing of that name (404).
    """

    def __init__(
        self,
        urls: Sequence[str],
        identity: PoolIdentity,
        signer: Signer,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._identity = identity
        self._signer = signer
        self._http = open_http(transport=transport)
        self._clock = clock or SystemClock()

    async def close(self) -> None:
        await self._http.aclose()

    # --- asking ---------------------------------------------------------------------------------------------------

    async def status(self) -> PoolStatus:
        return await self._ask(PoolStatus, "GET", "/status")

    async def workers(self, **query: str | int) -> WorkerList:
        """Keys are those of `administration.WorkerQuery`."""
        return await self._ask(WorkerList, "GET", "/workers", query=query)

    async def tasks(self, **query: str | int) -> TaskList:
        """Keys are those of `administration.TaskQuery`."""
        return await self._ask(TaskList, "GET", "/tasks", query=query)

    async def story(self, task_id: str) -> StoryView:
        return await self._ask(StoryView, "GET", f"/tasks/{task_id}/story")

    async def why_task(self, task_id: str) -> WhyTask:
        return await self._ask(WhyTask, "GET", f"/tasks/{task_id}/why")

    async def why_worker(self, worker: str) -> WhyWorker:
        return await self._ask(WhyWorker, "GET", f"/workers/{worker}/why")

    async def bans(self) -> BanList:
        return await self._ask(BanList, "GET", "/bans")

    async def policy(self) -> PolicyView:
        return await self._ask(PolicyView, "GET", "/policy")

    async def acts(self, **query: str | int) -> ActList:
        """Keys are those of `administration.ActQuery`."""
        return await self._ask(ActList, "GET", "/acts", query=query)

    async def usage(self, **query: str | int) -> UsageList:
        """Keys are those of `administration.UsageQuery`."""
        return await self._ask(UsageList, "GET", "/usage", query=query)

    # --- acting ---------------------------------------------------------------------------------------------------

    async def drain(self, reason: str) -> DrainView:
        return await self._ask(DrainView, "POST", "/drain", body={"reason": reason})

    async def undrain(self) -> PoolStatus:
        return await self._ask(PoolStatus, "POST", "/undrain")

    async def drain_worker(self, worker: str, reason: str) -> WorkerMark:
        return await self._ask(WorkerMark, "POST", f"/workers/{worker}/drain", body={"reason": reason})

    async def undrain_worker(self, worker: str) -> WorkerMark:
        return await self._ask(WorkerMark, "POST", f"/workers/{worker}/undrain")

    async def ban(self, worker: str, reason: str, *, owner: str = "") -> WorkerMark:
        body = {"reason": reason, "owner": owner}
        return await self._ask(WorkerMark, "POST", f"/workers/{worker}/ban", body=body)

    async def unban(self, address: str) -> WorkerMark:
        return await self._ask(WorkerMark, "POST", f"/workers/{address}/unban")

    async def label(self, worker: str, labels: Sequence[str]) -> WorkerMark:
        return await self._ask(WorkerMark, "PUT", f"/workers/{worker}/labels", body={"labels": list(labels)})

    async def change_policy(self, values: Mapping[str, Any], unset: Sequence[str] = ()) -> PolicyView:
        body = {"values": dict(values), "unset": list(unset)}
        return await self._ask(PolicyView, "POST", "/policy", body=body)

    async def hand_over(self) -> Handover:
        return await self._ask(Handover, "POST", "/handover")

    # --- inside ---------------------------------------------------------------------------------------------------

    async def _ask(
        self,
        kind: type[_Answer],
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> _Answer:
        target = f"/admin{path}" + (f"?{urlencode(query)}" if query else "")
        content = json.dumps(body).encode() if body is not None else b""
        where = " or ".join(self._urls)

        async def attempt() -> _Answer:
            until = self._clock.now() + _TAKEOVER_S
            while True:
                lost: Exception = Interrupted("there is no address")
                stands_by = False
                for url in list(self._urls):
                    try:
                        answer = await self._send(url, method, target, content)
                    except httpx.ConnectError as error:
                        lost = error
                        continue
                    document = _document(answer)
                    if answer.status_code == 503 and "leader" in document:
                        stands_by, lost = True, Interrupted("no process leads just now")
                        self._learn(str(document["leader"]))
                        continue
                    self._urls.sort(key=lambda known: known != url)
                    return _read(kind, answer)
                # One that stands by takes over within seconds when nobody leads.
                if not stands_by or self._clock.now() >= until:
                    raise lost
                await self._clock.sleep(_LOOK_AGAIN_S)

        # What may have been done must not be done again: an act is only tried again when nobody was reached.
        safe: tuple[type[Exception], ...] = (httpx.TransportError, Interrupted)
        lost = safe if method == "GET" else (httpx.ConnectError, Interrupted)
        return await retried(attempt, service=_SERVICE, url=where, clock=self._clock, lost=lost)

    def _learn(self, leader: str) -> None:
        """Ask the one that leads, too: a signature is of use at this pool only, whoever names an address."""
        if leader.startswith(("http://", "https://")) and leader not in self._urls and len(self._urls) < 16:
            self._urls.append(leader)

    async def _send(self, url: str, method: str, target: str, content: bytes) -> httpx.Response:
        header = authorisation(
            self._signer, self._identity, method=method, target=target, body=content, now=self._clock.now()
        )
        return await self._http.request(
            method,
            url + target,
            content=content,
            headers={"authorization": header, "content-type": "application/json"},
        )


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _read(kind: type[_Answer], answer: httpx.Response) -> _Answer:
    if answer.status_code == 200:
        try:
            return kind.model_validate_json(answer.content)
        except ValidationError as error:
            text = f"its answer does not fit ({one_line(str(error))}); is it of another release?"
            raise ServiceUnavailable(_SERVICE, str(answer.url), text) from error
    text = one_line(str(_document(answer).get("error", answer.text)))
    if answer.status_code in (400, 409):
        raise UsageError(f"{text}.")
    raise ServiceRefused(_SERVICE, answer.status_code, text)
