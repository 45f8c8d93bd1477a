"""Live numbers of a pool: one REST document, a stream of it, and a page that draws it. They name nobody.

Everybody looks at the same text, made once every two seconds: a hundred spectators cost a pool with ten thousand
workers no more than one does.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise, takewhile
from typing import Any, Final, Protocol

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from fairgrid.pool.core.accounts import Account
from fairgrid.pool.core.sponsoring import DebtSums
from fairgrid.pool.observability.numbers import PoolNumbers
from fairgrid.seams.service import until_server_ends

__all__ = ["Dashboard", "Shown", "Totals", "dashboard_routes"]

_EVERY_S: Final = 2.0
_SAMPLES: Final = 1_800
"""An hour of them."""
_MOST_SPECTATORS: Final = 200
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}
_ASSETS: Final = {"dashboard.js": "text/javascript", "dashboard.css": "text/css"}


class Shown(Protocol):
    """What is asked of a pool; `fairgrid.pool.observability.figures.PoolFigures` answers."""

    @property
    def totals(self) -> Totals: ...
    @property
    def transactions_under_way(self) -> int: ...
    @property
    def chain_silence_s(self) -> float: ...
    @property
    def chain_time(self) -> int: ...
    @property
    def debts(self) -> DebtSums: ...

    def numbers(self) -> PoolNumbers: ...
    def now(self) -> float: ...


@dataclass(slots=True)
class Totals:
    """What happened since this process leads; less only where a reorganisation takes tasks back."""

    completed: int = 0
    failed: int = 0
    paid_nrlc: int = 0
    """What requesters paid this pool for completed tasks."""
    earned_nrlc: int = 0
    """What of it workers earned."""
    cpu_ms: int = 0

    def add(self, accounts: Iterable[Account]) -> None:
        """What one more task adds."""
        for account in accounts:
            if account.kind == "requester":
                self.completed += account.completed
                self.failed += account.tasks - account.completed
                self.paid_nrlc += account.nrlc
                self.cpu_ms += account.cpu_ms
            elif account.kind == "worker":
                self.earned_nrlc += account.nrlc


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    completed: int
    paid_nrlc: int
    waiting: int
    computing: int
    workers: int
    busy: int


class Dashboard:
    """Samples a pool, and keeps an hour of samples."""

    def __init__(self, shown: Shown, *, sleep: Callable[[float], Any]) -> None:
        self._shown = shown
        self._sleep = sleep
        self._samples: deque[_Sample] = deque(maxlen=_SAMPLES)
        self._next = asyncio.Event()
        self._over = False
        self._latest = ""
        self.spectators = 0

    async def keep(self) -> None:
        """Sample for ever."""
        self._over = False
        try:
            while True:
                self.sample()
                await self._sleep(_EVERY_S)
        finally:
            self._over = True
            self._next.set()

    def sample(self) -> None:
        """Take one sample now."""
        shown = self._shown
        numbers, totals = shown.numbers(), shown.totals
        self._samples.append(
            _Sample(
                at=shown.now(),
                completed=totals.completed,
                paid_nrlc=totals.paid_nrlc,
                waiting=numbers.unbegun_tasks + numbers.waiting_tasks,
                computing=numbers.leases,
                workers=sum(numbers.workers.values()),
                busy=numbers.workers["busy"],
            )
        )
        if self.spectators:
            self._latest = _event(self.document(history=False))
        self._next.set()
        self._next = asyncio.Event()

    def document(self, *, history: bool = True) -> dict[str, Any]:
        """The numbers as JSON values; ``history`` False: without the plots' past."""
        shown = self._shown
        numbers, totals = shown.numbers(), shown.totals
        document: dict[str, Any] = {
            "at": shown.now(),
            "everyS": _EVERY_S,
            "workers": dict(numbers.workers),
            "owners": numbers.owners,
            "slots": numbers.slots,
            "freeSlots": numbers.free_slots,
            "computing": numbers.leases,
            "tasks": {phase: count for phase, count in numbers.tasks.items() if count},
            "unbegunTasks": numbers.unbegun_tasks,
            "waitingTasks": numbers.waiting_tasks,
            "oldestWaitS": round(numbers.oldest_wait_s, 1),
            "deals": numbers.deals,
            "completed": totals.completed,
            "failed": totals.failed,
            "tasksPerS": round(self._rate(lambda sample: sample.completed), 3),
            "paidNrlc": str(totals.paid_nrlc),
            "earnedNrlc": str(totals.earned_nrlc),
            "paidNrlcPerHour": str(round(self._rate(lambda sample: sample.paid_nrlc) * 3_600)),
            "cpuS": totals.cpu_ms // 1_000,
            "transactionsUnderWay": shown.transactions_under_way,
            "chainTime": shown.chain_time,
            "chainSilenceS": round(shown.chain_silence_s, 1),
            "quarantined": numbers.quarantined,
            "debtors": shown.debts.debtors,
            "sponsoredOwedNrlc": str(shown.debts.owed_nrlc),
            "sponsoredRepaidNrlc": str(shown.debts.repaid_nrlc),
        }
        if history:
            document["history"] = self._history()
        return document

    def _rate(self, of: Callable[[_Sample], int]) -> float:
        """How fast something grows a second, over the last minute."""
        if len(self._samples) < 2:
            return 0.0
        last = self._samples[-1]
        *_, first = takewhile(lambda sample: sample.at >= last.at - 60, reversed(self._samples))
        return (of(last) - of(first)) / (last.at - first.at) if last.at > first.at else 0.0

    def _history(self) -> dict[str, list[float]]:
        samples = list(self._samples)
        rates = [0.0] + [
            (after.completed - before.completed) / max(after.at - before.at, 0.001)
            for before, after in pairwise(samples)
        ]
        return {
            "at": [round(sample.at, 1) for sample in samples],
            "tasksPerS": [round(rate, 3) for rate in rates[: len(samples)]],
            "waiting": [sample.waiting for sample in samples],
            "computing": [sample.computing for sample in samples],
            "workers": [sample.workers for sample in samples],
            "busy": [sample.busy for sample in samples],
            "paidNrlc": [sample.paid_nrlc for sample in samples],
        }

    async def stream(self) -> AsyncIterator[str]:
        """Server-sent events: all of it first, then each new sample."""
        self.spectators += 1
        try:
            yield _event(self.document())
            while not self._over:
                await self._next.wait()
                yield self._latest
        finally:
            self.spectators -= 1


def dashboard_routes(dashboard: Dashboard) -> list[Route]:
    """``/dashboard`` for people, ``/dashboard/numbers`` and ``/dashboard/events`` for programs."""

    async def page(request: Request) -> Response:
        return HTMLResponse(_asset("dashboard.html"), headers=_HEADERS)

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _ASSETS:
            return JSONResponse({"error": "There is nothing here. Ask for /dashboard."}, 404)
        return Response(_asset(name), media_type=_ASSETS[name], headers=_HEADERS)

    async def numbers(request: Request) -> Response:
        headers = {"access-control-allow-origin": "*", "cache-control": "no-cache", "x-content-type-options": "nosniff"}
        return JSONResponse(dashboard.document(), headers=headers)

    async def events(request: Request) -> Response:
        if dashboard.spectators >= _MOST_SPECTATORS:
            text = f"{_MOST_SPECTATORS} look on already. Ask for /dashboard/numbers now and then."
            return JSONResponse({"error": text}, 503, headers={"retry-after": "30"})
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no", "x-content-type-options": "nosniff"}
        stream = until_server_ends(request.scope, dashboard.stream())
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    return [
        Route("/dashboard", page),
        Route("/dashboard/numbers", numbers),
        Route("/dashboard/events", events),
        Route("/dashboard/{name}", asset),
    ]


def _asset(name: str) -> str:
    return (files("fairgrid.pool.observability") / "pages" / name).read_text(encoding="utf-8")


def _event(document: dict[str, Any]) -> str:
    return f"data: {json.dumps(document, separators=(',', ':'))}\n\n"
