"""`Executor`: the standard library's interface, with a grid of strangers' machines behind it."""

from __future__ import annotations

import concurrent.futures
import itertools
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from fairgrid.errors import UsageError
from fairgrid.executors.apps import name_clash
from fairgrid.executors.calls import Call, CallWriter
from fairgrid.executors.cancelling import Cancelled
from fairgrid.executors.dispatcher import Dispatcher
from fairgrid.executors.displays import find_display
from fairgrid.executors.environment import Environment
from fairgrid.executors.futures import CallFuture, check_process
from fairgrid.executors.kept_environments import kept_environment
from fairgrid.executors.leaving import tell_left
from fairgrid.executors.ordered import in_order, many_objects
from fairgrid.executors.packing import MAX_DEAL_TASKS, Packing, pack
from fairgrid.executors.places import Place, Trust
from fairgrid.executors.progress import OnRunProgress, RunProgress
from fairgrid.executors.quoting import SweepQuote, quote_of
from fairgrid.executors.receipt import Receipt
from fairgrid.executors.record import RunRecord
from fairgrid.executors.run_opening import new_run, reopened_run
from fairgrid.executors.timing import Timing
from fairgrid.executors.verification import explain
from fairgrid.protocol.certificate import Certificate

__all__ = ["Executor"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Executor(concurrent.futures.Executor):
    """Calls functions on a network, and gives futures of their verified results.

    ``network`` is ``"local"``, the folder of a network, or ``"here"`` for this machine alone. ``budget`` is a hard cap
    for the life of the executor ("2 RLC", or whole nRLC): nothing is signed that goes beyond it, and what is not spent
    stays yours. ``trust`` says how sure each result must be (0.9 by default), or ``verify`` who stands for it:
    ``"none"``, ``"replicate:3"``, ``"audit:5%"``, ``"tee"``; `explain` tells what that is worth. What the network
    cannot reach is refused before anything is signed, and so is a budget that does not cover one task.

    ``private`` encrypts calls, data and results for the network's own pool and the machines that it gives them to: they
    can read all of it, storage, market, chain and everybody else see sizes only.

    ``secrets`` are names of the account's secrets (`fairgrid secret set`, `Client.secrets`), which calls find in
    ``os.environ["IEXEC_REQUESTER_SECRET_1"]`` and so on; they travel sealed, and the same can read them.

    ``keep`` is how long results stay in storage ("7d", "4w", or days); what they were computed from is removed a week
    later. Without it they stay. Copies that others made meanwhile cannot be recalled.

    ``runtime`` is ``"python"``, or ``"science"`` for numpy, pandas, scipy and scikit-learn, or ``"native"`` for the
    Python of the worker's machine, which alone can have the network: ``reach`` names the hosts that calls connect to
    (``"api.example.org"``, ``"*.example.org:8443"``); their owners must allow them. ``environment`` is a requirements
    file, or a list such as ``["attrs==24.2.0"]``: pure Python packages that travel along, from the folder
    ``wheelhouse`` or as they are installed here; or the hash of an environment that an earlier run had
    (`Environment.lock_hash`). ``progress`` False hides the line in a terminal and the card in a
    notebook that tell how far the run is, what it cost and how long it takes; elsewhere nothing is shown.
    ``on_progress`` is called with the same, from a thread of the executor.

    Functions travel as source with the constants, functions and classes that they use; see `docs/executor.md` for what
    can travel. Calls that come close together are dealt together, many calls to a task.

    Raises:
        UsageError: no such network, or a budget or trust that is none.
        FundsError: trust, budget or account do not suffice.
        ServiceError: the network does not answer.
    """

    def __init__(
        self,
        network: str | Path | Place = "local",
        *,
        budget: str | int = 0,
        trust: Trust | None = None,
        verify: str | None = None,
        workers_at_least: int = 1,
        key_folder: Path | None = None,
        packing: Packing | None = None,
        timing: Timing | None = None,
        runtime: str = "python",
        environment: str | Path | Sequence[str] = (),
        wheelhouse: str | Path | None = None,
        reach: Sequence[str] = (),
        private: bool = False,
        secrets: Sequence[str] = (),
        keep: str | int | None = None,
        progress: bool = True,
        on_progress: OnRunProgress | None = None,
    ) -> None:
        timing = timing or Timing()
        place, record = new_run(
            network,
            budget=budget,
            trust=trust,
            verify=verify,
            workers_at_least=workers_at_least,
            key_folder=key_folder,
            patience_s=timing.patience,
            runtime=runtime,
            environment=environment,
            wheelhouse=wheelhouse,
            reach=reach,
            private=private,
            secrets=secrets,
            keep=keep,
        )
        self._begin(place, record, packing, timing, progress, on_progress)

    @classmethod
    def resume(
        cls,
        run_id: str,
        network: str | Path | Place | None = None,
        *,
        key_folder: Path | None = None,
        packing: Packing | None = None,
        timing: Timing | None = None,
        progress: bool = True,
        on_progress: OnRunProgress | None = None,
    ) -> Executor:
        """Go on with a run whose process ended; its budget and trust still hold.

        Make the same calls again: each that was planned before gives the future of that very deal, and is not paid for
        twice. Or take the futures of all of them from `recovered`. Without ``network``, the run is looked for on the
        local network and on this machine.

        Raises:
            UsageError: there is no such run, or another process works on it.
            ServiceError: the network does not answer.
        """
        timing = timing or Timing()
        place, record = reopened_run(run_id, network, key_folder=key_folder, patience_s=timing.patience)
        self = cls.__new__(cls)
        self._begin(place, record, packing, timing, progress, on_progress)
        return self

    def _begin(
        self,
        place: Place,
        record: RunRecord,
        packing: Packing | None,
        timing: Timing,
        progress: bool,
        on_progress: OnRunProgress | None,
    ) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._groups = itertools.count(1)
        plans = record.plans()
        calls = [call for plan in plans for task in plan.tasks for call in task]
        self._packages = place.packages | frozenset(record.facts.get("packages", ()))
        first = max((call.number for call in calls), default=-1) + 1
        self._writer = CallWriter(record.keep, keep_path=record.keep_file, first=first, packages=self._packages)
        self._packing = packing or Packing()
        self._environment = kept_environment(record.facts.get("environment"), record.inputs)
        self._reach = frozenset(record.facts.get("reach", ()))
        self._backend = place.backend
        self._dispatcher = Dispatcher(place.backend, record, int(record.facts["budget"]), self._packing, timing)
        display = find_display(self._dispatcher.progress()) if progress else None
        for listener in (None if display is None else display.show, on_progress):
            if listener is not None:
                self._dispatcher.listen(listener)
        self._closed = False
        try:
            futures = self._dispatcher.start(plans)
        except BaseException:
            self._closed = True
            record.discard(empty=not plans)
            raise
        # Whom nobody holds any more nobody can give calls: its thread ends once those that are there are done.
        weakref.finalize(self, self._dispatcher.close, wait=False, cancel=False).atexit = False
        self._recovered = {call.key: (call.number, futures[call.number]) for call in calls}
        self._earlier = dict(sorted(futures.items()))

    @property
    def run_id(self) -> str:
        """The name of this run: `resume` takes it."""
        return self._dispatcher.run_id

    @property
    def environment(self) -> Environment:
        """The packages that travel with the calls: `Environment.lock_hash` names them, `Environment.save` keeps them.

        ``Executor(environment=hash)`` has the same ones again on this network, `resume` has them anyway.
        """
        return self._environment

    @property
    def recovered(self) -> list[CallFuture[Any]]:
        """The futures of all calls of the processes before, in the order in which they were made.

        Results that are instances of your own classes can only be read once the same call is made again.
        """
        for number in self._earlier:
            self._dispatcher.claim(number, None)
        return list(self._earlier.values())

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Call ``fn(*args, **kwargs)`` on the network.

        Arguments are written down at once: what is changed afterwards does not count.

        Raises:
            CannotTravel: the function or an argument cannot go to another machine.
            RuntimeError: the executor was shut down.
            UsageError: in a fork of the process that made the executor.
        """
        check_process(self._owner)
        with self._lock:
            self._refuse_closed()
            self._check_reach(fn)
            hints = getattr(fn, "__fairgrid_seconds__", 0.0)
            return self._take(self._writer.write(fn, args, kwargs, seconds=hints))

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Iterator[_T]:
        """Results of ``fn`` for the items of ``iterables``, in their order, as they come.

        ``timeout`` counts in seconds from this call. ``chunksize`` says how many calls are one task (None: by their
        cost). All items are taken at once, except with ``buffersize``: then no more than so many are ahead of what
        was read.

        Raises:
            CannotTravel: as `submit`.
            TimeoutError: from the iterator, if a result is not there in time.
            ValueError: chunksize or buffersize is below 1.
        """
        end = None if timeout is None else time.monotonic() + timeout
        more = self.futures(fn, *iterables, chunksize=chunksize, buffersize=buffersize)
        with many_objects():
            ahead = deque(itertools.islice(more, buffersize))
        return in_order(ahead, more, end)

    def futures(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Iterator[CallFuture[_T]]:
        """The futures behind `map`, each made when it is asked for.

        Raises:
            as `map`.
        """
        check_process(self._owner)
        if (chunksize is not None and chunksize < 1) or (buffersize is not None and buffersize < 1):
            raise ValueError("chunksize and buffersize must be at least 1")
        group = next(self._groups)
        seconds = getattr(fn, "__fairgrid_seconds__", 0.0)
        self._check_reach(fn)
        with self._lock:
            self._refuse_closed()
            self._writer.refresh(fn)

        def made() -> Iterator[CallFuture[_T]]:
            for item in zip(*iterables, strict=False):
                with self._lock:
                    self._refuse_closed()
                    call = self._writer.write(
                        fn, item, {}, seconds=seconds, chunk=chunksize or 0, group=group, trusted=True
                    )
                    future = self._take(call)
                yield future

        return made()

    def quote(self, fn: Callable[..., Any], *iterables: Iterable[Any], chunksize: int | None = None) -> SweepQuote:
        """What ``map`` of the same would cost at this moment's orders, and how it would be verified. Signs nothing.

        Every call is looked at, whether it can travel. Iterators are used up: give lists.

        Raises:
            CannotTravel: as `map`.
            TrustUnreachable, FundsError, OrderError: the network cannot compute it, or the account cannot pay it.
            ServiceError: the network does not answer.
        """
        check_process(self._owner)
        writer = CallWriter(lambda name, content: None, packages=self._packages)
        seconds = getattr(fn, "__fairgrid_seconds__", 0.0)
        calls = [
            writer.write(fn, item, {}, seconds=seconds, chunk=chunksize or 0, group=1)
            for item in zip(*iterables, strict=False)
        ]
        ask, left = self._dispatcher.ask, self.receipt().left
        app = calls[0].app if calls else ""
        if app:
            program = ask(lambda: self._backend.app(app))
            if fault := next((fault for call in calls if (fault := name_clash(call, program))), None):
                raise fault
        first = ask(lambda: self._backend.terms(1, app))
        tasks = pack(calls, self._packing, most_tasks=left // first.price if first.price else len(calls))
        terms = ask(lambda: self._backend.terms(min(len(tasks), MAX_DEAL_TASKS), app)) if len(tasks) > 1 else first
        return quote_of(tasks, terms, self._packing, budget_left=left)

    def explain(self) -> str:
        """What a result is worth under this executor's trust or verification, by whom, and what that costs.

        Raises:
            as `quote`.
        """
        return explain(self._dispatcher.ask(lambda: self._backend.terms(1)))

    def progress(self) -> RunProgress:
        """How far the run is now."""
        return self._dispatcher.progress()

    def certificates(self) -> tuple[Certificate, ...]:
        """The certificate of every task that has an agreed result so far, deal by deal; also after `shutdown`.

        Each has the calls of one task. Their files come from storage: for thousands of tasks this takes minutes;
        `CallFuture.certificate` makes one.

        Raises:
            as `CallFuture.certificate`.
        """
        return tuple(self._dispatcher.certificate(*place) for place in self._dispatcher.settled_tasks())

    def _repr_html_(self) -> str:
        return self.progress()._repr_html_()

    def receipt(self) -> Receipt:
        """What this run has cost so far, deal by deal."""
        return self._dispatcher.receipt()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. ``wait``: until all futures are done. ``cancel_futures``: drop what is not signed yet."""
        if os.getpid() != self._owner:
            return
        self._closed = True
        self._dispatcher.close(wait=wait, cancel=cancel_futures)

    def cancel(self) -> Cancelled:
        """Stop what can be stopped: take no more calls, and drop those that are not signed yet.

        Tells what goes on, what is locked for it, and when the rest of the money can be taken back; this executor does
        that while it is there, and `resume` later. Returns at once; `shutdown` waits.

        Raises:
            ServiceUnavailable: the chain does not answer; the calls are dropped all the same.
        """
        check_process(self._owner)
        self._closed = True
        return self._dispatcher.cancel()

    def __enter__(self) -> Executor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for all calls; after Ctrl-C, leave at once: deals go on, and `resume` fetches their results."""
        if os.getpid() != self._owner:
            return
        if kind is None or not issubclass(kind, KeyboardInterrupt | SystemExit):
            self.shutdown(wait=True)
            return
        self._closed = True
        if left := self._dispatcher.abandon("it was interrupted"):
            tell_left(self.run_id, left)

    def _check_reach(self, fn: Callable[..., Any]) -> None:
        missing = [host for host in getattr(fn, "__fairgrid_reach__", ()) if host not in self._reach]
        if missing:
            raise UsageError(
                f"{getattr(fn, '__name__', fn)!r} reaches {', '.join(missing)}, and this executor's calls do not. "
                f"Make it with Executor(runtime='native', reach={missing!r})."
            )

    def _refuse_closed(self) -> None:
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _take(self, call: Call) -> CallFuture[Any]:
        """The future of a call, or of the same one of an earlier process."""
        known = self._recovered.pop(call.key, None) if self._recovered else None
        if known is not None:
            number, future = known
            self._earlier.pop(number, None)
            self._dispatcher.claim(number, call.captured)
            return future
        future = CallFuture[Any]()
        self._dispatcher.add(call, future)
        return future
