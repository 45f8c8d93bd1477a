"""A run on disk: its budget, its files, and every deal's plan *before* the deal is signed.

So a process may be killed at any moment: what is planned and found in the client's journal is paid for, what is planned
and not found there is not.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fairgrid.errors import UsageError
from fairgrid.executors.apps import read_app_call
from fairgrid.executors.backend import AppProgram, DealJob, TaskJob
from fairgrid.executors.calls import Call
from fairgrid.executors.packing import Packing, Task, lay_out
from fairgrid.executors.runtimes import NATIVE_RUNTIME, runtime_of

__all__ = ["DealPlan", "RunRecord", "new_run_id"]

_GUEST: Final = Path(__file__).parent / "guest"
_VALUES: Final = "fairgrid_values.py"
_RUNNER: Final = "fairgrid_runner.py"
_PIECE: Final = 1 << 20
_RUN_ID: Final = re.compile(r"run-[0-9a-z-]{1,40}", re.ASCII)


def new_run_id() -> str:
    """A name that no other run has; it begins with the day."""
    return f"run-{time.strftime('%Y%m%d', time.gmtime())}-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True)
class DealPlan:
    """A deal as it was planned: its tasks' calls, in order."""

    job: DealJob
    tasks: tuple[Task, ...]
    out: Path
    """Where its results lie."""

    @property
    def calls(self) -> int:
        """How many calls it has."""
        return sum(len(task) for task in self.tasks)


class RunRecord:
    """The folder of one run. One process at a time holds it."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder = folder
        self.facts = facts
        self.inputs = folder / "inputs"
        """Where files lie that calls need."""
        self.inputs.mkdir(exist_ok=True)
        self._known: set[str] = set()
        self._deals = len(list(folder.glob("deal-*")))
        self._lock = _hold(folder)
        self.keep(_VALUES, (_GUEST / "values.py").read_bytes())
        self._script = (_GUEST / "runner.py").read_bytes()
        self._shared: tuple[str, ...] = (_VALUES,)
        if runtime_of(facts.get("runtime", "python")) == NATIVE_RUNTIME:
            # A native program finds its modules by itself: the runner is one of the inputs.
            self.keep(_RUNNER, self._script)
            self._shared, self._script = (_VALUES, _RUNNER), (_GUEST / "native.py").read_bytes()

    @classmethod
    def make(cls, runs: Path, run_id: str, **facts: Any) -> RunRecord:
        """A new run; ``facts`` are kept with it.

        Raises:
            UsageError: there is no place for it.
        """
        folder = runs / run_id
        try:
            folder.mkdir(parents=True)
            _write(folder / "run.json", json.dumps({"run": run_id, **facts}, indent=2).encode())
        except OSError as error:
            raise UsageError(f"The run cannot be kept in {folder} ({error.strerror}). Make room for it.") from error
        return cls(folder, {"run": run_id, **facts})

    @classmethod
    def open(cls, runs: Path, run_id: str) -> RunRecord:
        """A run of an earlier process.

        Raises:
            UsageError: there is none of that name, or another process holds it.
        """
        folder = runs / run_id
        try:
            facts = json.loads((folder / "run.json").read_text()) if _RUN_ID.fullmatch(run_id) else None
        except (OSError, ValueError):
            facts = None
        if not isinstance(facts, dict):
            known = sorted(path.name for path in runs.glob("run-*")) if runs.is_dir() else []
            hint = f"The newest are {', '.join(known[-3:])}." if known else "There are none."
            raise UsageError(f"There is no run {run_id!r} in {runs}. {hint} Is it the right network?")
        return cls(folder, facts)

    @property
    def run_id(self) -> str:
        """Its name."""
        return str(self.facts["run"])

    def close(self) -> None:
        """Let another process have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def discard(self, *, empty: bool) -> None:
        """Give it back; a run in which nothing happened leaves nothing behind."""
        self.close()
        if empty:
            shutil.rmtree(self.folder, ignore_errors=True)

    def keep(self, name: str, content: bytes) -> None:
        """Keep a file that calls need; one of that name is there already or has the same content."""
        if name in self._known:
            return
        path = self.inputs / name
        if not path.exists() or name in (_VALUES, _RUNNER):
            _write(path, content)
        self._known.add(name)

    def keep_file(self, path: Path) -> tuple[str, int]:
        """Copy a user's file, by its content, a piece at a time; gives its name and size.

        Raises:
            OSError: it cannot be read, or there is no room.
        """
        partial = self.inputs / f"{secrets.token_hex(8)}.partial"
        digest, size = hashlib.sha256(), 0
        try:
            with open(path, "rb") as source, open(partial, "wb") as copy:
                while piece := source.read(_PIECE):
                    digest.update(piece)
                    size += len(piece)
                    copy.write(piece)
                copy.flush()
                os.fsync(copy.fileno())
            name = f"blob-{digest.hexdigest()}"
            partial.replace(self.inputs / name)
        finally:
            partial.unlink(missing_ok=True)
        self._known.add(name)
        return name, size

    def plan(self, tasks: Sequence[Task], packing: Packing, app: AppProgram | None = None) -> DealPlan:
        """Write the plan of the next deal; with ``app``, all its calls are calls of that app, each a task."""
        self._deals += 1
        folder = self.folder / f"deal-{self._deals:04d}"
        folder.mkdir()
        pages = lay_out(tasks, packing)
        for name, text in pages.files.items():
            _write(folder / name, text.encode())
        if app is None:
            name = f"{self.run_id}.{self._deals}.py"
            _write(folder / name, self._script)
        else:
            name = f"{self.run_id}.{self._deals}.{app.program.name}"
        document = {
            "job": name,
            "app": None if app is None else self._keep_app(app),
            "tasks": [
                {
                    "page": place.page,
                    "first": place.first,
                    "numbers": [call.number for call in task],
                    "bundles": sorted({call.bundle for call in task}),
                    "blobs": [list(call.blobs) for call in task],
                }
                for place, task in zip(pages.places, tasks, strict=True)
            ],
        }
        _write(folder / "plan.json", json.dumps(document).encode())
        return self._plan(folder, document, tuple(tasks))

    def give_up(self, plan: DealPlan) -> None:
        """A plan that was not signed, and never will be."""
        file = plan.out.parent / "plan.json"
        file.rename(file.with_name("given-up.json"))

    def plans(self) -> list[DealPlan]:
        """All plans, oldest first; one that was not finished does not count."""
        return [self._read(file.parent) for file in sorted(self.folder.glob("deal-*/plan.json"))]

    def _read(self, folder: Path) -> DealPlan:
        try:
            document = json.loads((folder / "plan.json").read_text())
            pages: dict[str, list[str]] = {}
            tasks = []
            for task in document["tasks"]:
                if task["page"] not in pages:
                    pages[task["page"]] = (folder / task["page"]).read_text().split("\n")
                lines = pages[task["page"]][task["first"] : task["first"] + len(task["numbers"])]
                bundles = [json.loads(line.split("\t", 1)[1])["bundle"] for line in lines]
                calls = zip(task["numbers"], lines, bundles, task["blobs"], strict=True)
                app = (document.get("app") or {}).get("address", "")
                tasks.append(
                    tuple(Call(number, line, bundle, tuple(blobs), app=app) for number, line, bundle, blobs in calls)
                )
            return self._plan(folder, document, tuple(tasks))
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise UsageError(f"The plan in {folder} cannot be read ({error}). Move {folder} away to go on.") from error

    def _plan(self, folder: Path, document: dict[str, Any], tasks: tuple[Task, ...]) -> DealPlan:
        if document.get("app") is not None:
            return DealPlan(self._app_job(document["job"], document["app"], tasks), tasks, folder / "results")
        needed = []
        for entry, task in zip(document["tasks"], tasks, strict=True):
            names = dict.fromkeys((*entry["bundles"], *(blob for call in task for blob in call.blobs)))
            needed.append((folder / entry["page"], *(self.inputs / name for name in names)))
        shared = needed[0] if len(set(needed)) == 1 else ()
        jobs = tuple(
            TaskJob((entry["page"], str(entry["first"]), str(len(task))), () if shared else files)
            for entry, task, files in zip(document["tasks"], tasks, needed, strict=True)
        )
        lock = (self.facts.get("environment") or {}).get("lock")
        common = (*self._shared, *self.facts.get("wheels", ()), *((lock,) if lock else ()))
        job = DealJob(
            document["job"], folder / document["job"], (*(self.inputs / name for name in common), *shared), jobs
        )
        return DealPlan(job, tasks, folder / "results")

    def _keep_app(self, app: AppProgram) -> dict[str, Any]:
        """The app in a plan; its files are kept, so that a run goes on without fetching them again."""
        program, *inputs = [[path.name, self.keep_file(path)[0]] for path in (app.program, *app.inputs)]
        facts = {"address": app.address, "runtime": app.runtime, "memoryBytes": app.memory_bytes, "reach": app.reach}
        return {**facts, "program": program, "inputs": inputs}

    def _app_job(self, name: str, wire: dict[str, Any], tasks: tuple[Task, ...]) -> DealJob:
        program, inputs = self._named(*wire["program"]), tuple(self._named(*one) for one in wire["inputs"])
        reach = tuple(wire.get("reach", ()))
        app = AppProgram(wire["address"], program, inputs, wire["runtime"], wire["memoryBytes"], reach)
        calls = [read_app_call(task[0].line) for task in tasks]
        jobs = [TaskJob(call.arguments, tuple(self._named(*file) for file in call.files)) for call in calls]
        return DealJob(name, program, inputs, tuple(jobs), app)

    def _named(self, name: str, content: str) -> Path:
        """A file that is kept by its content, under the name that a program sees."""
        place = self.inputs / "named" / content / name
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(self.inputs / content, place)
            except OSError:
                # Not every file system has links.
                partial = place.parent.with_suffix(".partial")
                shutil.copyfile(self.inputs / content, partial)
                partial.replace(place)
        return place


def _write(path: Path, content: bytes) -> None:
    """All of a file or nothing, also when the power fails."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _hold(folder: Path) -> int | None:
    try:
        import fcntl
    except ImportError:
        return None
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise UsageError(f"Another process works on {folder.name}. Wait until it has ended.") from None
    return descriptor
