"""The manifest of a run's results: for each task its digest and where its result lies; the chain commits to its CID.

Canonical JSON (RFC 8785), everything in it a function of the tasks' results, so that workers who computed the same
agree on it to the byte::

    {"count":2,"fairgrid":"results/1","first":0,"tasks":[{"cid":"…","digest":"0x…","size":298}, …]}

A task of a deal with a callback has ``{"callback":"0x…","digest":"0x…"}`` instead: its digest covers those bytes, and
its files are not published. The ``results`` bytes of the run are `results_text` of the manifest's CID.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import rfc8785

from fairgrid.errors import UsageError, VerificationError
from fairgrid.protocol.bounded_json import load_json
from fairgrid.protocol.cid import cid_of, is_cid
from fairgrid.protocol.hexes import from_hex, is_hex32, keccak, to_hex, to_hex32
from fairgrid.protocol.results import MAX_CALLBACK_BYTES, results_text
from fairgrid.protocol.runs import run_digest, task_proof, tasks_root

__all__ = [
    "MAX_INDEX",
    "MAX_RESULTS_TASKS",
    "RunResults",
    "TaskResult",
    "max_manifest_bytes",
    "parse_run_results",
]

MAX_RESULTS_TASKS: Final = 65_536
"""How many tasks a run may have whose results are described so; the chain alone would take more."""

MAX_INDEX: Final = 2**53 - 1
"""The largest index that canonical JSON can hold."""

_VERSION: Final = "results/1"
_TASK_BYTES: Final = 192
_CALLBACK_TASK_BYTES: Final = 128 + 2 * MAX_CALLBACK_BYTES
_HEAD_BYTES: Final = 128
_CALLBACK = re.compile(r"0x([0-9a-f]{2})*", re.ASCII)


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task of a run: its digest, and either its archive (CID and size in bytes) or the callback's bytes."""

    digest: str
    cid: str = ""
    size: int = 0
    callback: bytes | None = None

    def to_wire(self) -> dict[str, Any]:
        """The JSON object."""
        if self.callback is not None:
            return {"callback": to_hex(self.callback), "digest": self.digest}
        return {"cid": self.cid, "digest": self.digest, "size": self.size}


@dataclass(frozen=True)
class RunResults:
    """The results of tasks ``first`` to ``first + count - 1`` of a deal, in order of their index."""

    first: int
    tasks: tuple[TaskResult, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.tasks) <= MAX_RESULTS_TASKS:
            raise UsageError(
                f"A run's results are of 1 to {MAX_RESULTS_TASKS} tasks, not of {len(self.tasks)}. Open smaller runs."
            )
        if not 0 <= self.first <= MAX_INDEX - len(self.tasks):
            raise UsageError(f"The index {self.first} is beyond what a run's results can name ({MAX_INDEX}).")
        if len({task.callback is None for task in self.tasks}) != 1:
            raise UsageError("Either all tasks of a run have a callback or none has: they are of one deal.")

    @property
    def count(self) -> int:
        """How many tasks the run has."""
        return len(self.tasks)

    @property
    def digests(self) -> tuple[str, ...]:
        """The tasks' digests in order."""
        return tuple(task.digest for task in self.tasks)

    def task(self, index: int) -> TaskResult:
        """The result of task ``index``.

        Raises:
            VerificationError: the run does not have it.
        """
        if not self.first <= index < self.first + self.count:
            raise VerificationError(f"Task {index} is not of this run: it has {self.first} to {self._last}.")
        return self.tasks[index - self.first]

    def to_bytes(self) -> bytes:
        """The canonical bytes."""
        return self._bytes

    @cached_property
    def cid(self) -> str:
        """The CID of `to_bytes`."""
        return cid_of(self._bytes)

    @cached_property
    def root(self) -> str:
        """The root over the digests."""
        return tasks_root(self.digests)

    @property
    def results(self) -> bytes:
        """What is finalized: the text that names the manifest."""
        return results_text(self.cid)

    @property
    def digest(self) -> str:
        """What the workers of the run agree on."""
        return run_digest(self.root, self.results)

    def proof(self, index: int) -> tuple[str, ...]:
        """The siblings that prove the digest of task ``index`` under `root`, as ``materialise`` takes them.

        Raises:
            VerificationError: the run does not have it.
        """
        self.task(index)
        return task_proof(self.digests, index - self.first)

    @cached_property
    def _bytes(self) -> bytes:
        return rfc8785.dumps(
            {
                "count": self.count,
                "fairgrid": _VERSION,
                "first": self.first,
                "tasks": [task.to_wire() for task in self.tasks],
            }
        )

    @property
    def _last(self) -> int:
        return self.first + self.count - 1


def max_manifest_bytes(count: int, *, callback: bool = False) -> int:
    """The most bytes that the manifest of ``count`` tasks can have: what a reader downloads before it looks."""
    return _HEAD_BYTES + min(count, MAX_RESULTS_TASKS) * (_CALLBACK_TASK_BYTES if callback else _TASK_BYTES)


def parse_run_results(data: bytes, *, first: int, count: int, callback: bool = False) -> RunResults:
    """Read the manifest of a run of ``count`` tasks from index ``first`` on.

    ``callback`` says whether the deal has one: then each task carries its bytes, whose hash its digest must be.

    Raises:
        VerificationError: it is too large, not canonical, of other tasks, or breaks a rule: it is no manifest that an
            honest worker of this run makes.
    """
    if len(data) > max_manifest_bytes(count, callback=callback):
        raise VerificationError(f"The results of {count} tasks cannot have {len(data)} bytes.")
    try:
        wire: Any = load_json(data)
    except ValueError as error:
        raise VerificationError(f"The manifest of the run's results is not JSON: {error}.") from error
    if not isinstance(wire, dict) or set(wire) != {"count", "fairgrid", "first", "tasks"}:
        raise VerificationError("The manifest of the run's results has other keys than count, fairgrid, first, tasks.")
    if wire["fairgrid"] != _VERSION:
        raise VerificationError(f"The run's results are {str(wire['fairgrid'])[:40]!r}, not {_VERSION!r}.")
    tasks = wire["tasks"]
    if (wire["first"], wire["count"]) != (first, count) or not isinstance(tasks, list) or len(tasks) != count:
        raise VerificationError(f"The run's results are not of its {count} tasks from index {first} on.")
    try:
        results = RunResults(first, tuple(_task(task, callback=callback) for task in tasks))
    except UsageError as error:
        raise VerificationError(str(error)) from error
    if results.to_bytes() != data:
        raise VerificationError("The manifest of the run's results is not canonical JSON (RFC 8785).")
    return results


def _task(wire: object, *, callback: bool) -> TaskResult:
    keys = {"callback", "digest"} if callback else {"cid", "digest", "size"}
    if not isinstance(wire, dict) or set(wire) != keys or not is_hex32(wire["digest"]):
        raise VerificationError(f"A task of the run's results has other keys than {', '.join(sorted(keys))}.")
    digest = str(wire["digest"])
    if digest != digest.lower():
        raise VerificationError(f"The digest {digest} is not written in lower case.")
    if not callback:
        cid, size = wire["cid"], wire["size"]
        if not isinstance(cid, str) or not is_cid(cid) or type(size) is not int or not 0 <= size < 1 << 40:
            raise VerificationError(f"A task of the run's results has no archive: CID {str(cid)[:80]!r}.")
        return TaskResult(digest, cid, size)
    text = wire["callback"]
    if not isinstance(text, str) or len(text) > 2 + 2 * MAX_CALLBACK_BYTES or not _CALLBACK.fullmatch(text):
        raise VerificationError("The callback's bytes of a task are no lower-case 0x-hexadecimal, or too long.")
    data = from_hex(text)
    if to_hex32(keccak(data)) != digest:
        raise VerificationError(f"A task's digest {digest} is not the hash of its callback's bytes: it can never come.")
    return TaskResult(digest, callback=data)
