"""One run of the job under one condition: ``python -m fairgrid.runtime.determinism.trial``.

A JSON line on standard input says what; a JSON line on standard output says what came of it. When standard input
closes, the one who asked is gone, and the job is ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from fairgrid.errors import FairgridError
from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.manifest import parse_manifest
from fairgrid.runtime.catalogue import runtime_info
from fairgrid.runtime.determinism.conditions import Condition, apply_condition
from fairgrid.runtime.interface import Outcome, Sandbox, SandboxJob
from fairgrid.runtime.job import TaskContext, run_job
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.runtime.providers import provider_of

__all__ = ["TrialRequest", "TrialResult", "main", "run_trial"]

_ONE_TASK: Final = 1


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """Paths are this machine's; ``files`` maps CIDs to files."""

    manifest: str
    files: dict[str, str]
    workdir: str
    condition: Condition
    wall_s: float
    index: int = 0

    def to_line(self) -> bytes:
        """One line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> TrialRequest:
        """Read what `to_line` wrote."""
        fields: dict[str, Any] = json.loads(line)
        condition = fields.pop("condition")
        condition["environment"] = tuple(tuple(pair) for pair in condition["environment"])
        return cls(condition=Condition(**condition), **fields)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """A digest, or why there is none. ``unchanged`` says which part of the condition could not be had here."""

    digest: str = ""
    exit_code: int | None = None
    wall_s: float = 0.0
    failure: str = ""
    unchanged: str = ""


async def run_trial(request: TrialRequest) -> TrialResult:
    """Run the job in the runtime that it names; the condition is in force already."""
    data = Path(request.manifest).read_bytes()
    manifest = parse_manifest(data)
    provider = provider_of(runtime_info(manifest.runtime))
    await provider.probe()
    sandbox: Sandbox = provider.sandbox()
    if request.condition.reversed_folders:
        sandbox = _ReversedFolders(sandbox)
    context = TaskContext(
        deal_id=ZERO32, task_id=ZERO32, index=request.index, bot_first=request.index, bot_size=_ONE_TASK
    )
    try:
        result = await run_job(
            manifest,
            manifest.cid(),
            context,
            inputs={cid: Path(path) for cid, path in request.files.items()},
            workdir=Path(request.workdir),
            sandbox=sandbox,
            wall_s=request.wall_s,
            network=NetworkGrant(manifest.needs.network) if manifest.needs.network else None,
        )
    finally:
        await sandbox.close()
    return TrialResult(result.digest, result.exit_code, result.usage.wall_s)


class _ReversedFolders:
    """A sandbox whose jobs find their inputs laid down in the opposite order."""

    def __init__(self, inner: Sandbox) -> None:
        self._inner = inner

    @property
    def runtime_id(self) -> str:
        return self._inner.runtime_id

    async def close(self) -> None:
        await self._inner.close()

    def suspend(self) -> bool:
        return self._inner.suspend()

    def resume(self) -> None:
        self._inner.resume()

    async def run(self, job: SandboxJob) -> Outcome:
        turned = job.input_folder.with_name("turned")
        _lay_reversed(job.input_folder, turned)
        job.input_folder.rename(job.input_folder.with_name("straight"))
        turned.rename(job.input_folder)
        try:
            return await self._inner.run(replace(job))
        finally:
            _remove(job.input_folder.with_name("straight"))


def _lay_reversed(source: Path, target: Path) -> None:
    target.mkdir()
    for path in sorted(source.iterdir(), reverse=True):
        if path.is_dir():
            _lay_reversed(path, target / path.name)
        else:
            os.link(path, target / path.name)


def _remove(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            _remove(path)
        else:
            path.unlink()
    folder.rmdir()


def _end_when_alone(work: asyncio.Task[TrialResult]) -> None:
    """End the work when standard input closes; a thread of its own, because nothing else should wait for that."""
    loop = asyncio.get_running_loop()

    def watch() -> None:
        sys.stdin.buffer.read()
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(work.cancel)

    threading.Thread(target=watch, daemon=True).start()


async def _answer(request: TrialRequest, unchanged: str) -> TrialResult:
    work = asyncio.ensure_future(run_trial(request))
    _end_when_alone(work)
    try:
        return replace(await work, unchanged=unchanged)
    except (FairgridError, OSError) as error:
        return TrialResult(failure=str(error), unchanged=unchanged)


def main() -> None:
    """The command."""
    request = TrialRequest.from_line(sys.stdin.buffer.readline())
    unchanged = apply_condition(request.condition)
    with suppress(asyncio.CancelledError):
        result = asyncio.run(_answer(request, unchanged))
        sys.stdout.write(json.dumps(asdict(result)) + "\n")
        sys.stdout.flush()
    # The thread that waits for standard input would keep the interpreter from its end.
    os._exit(0)


if __name__ == "__main__":
    main()
