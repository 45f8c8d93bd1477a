"""The child process that runs one WebAssembly job: ``python -I -m fairgrid.runtime.wasm.host``.

It reads one `HostJob` line from standard input, runs it, and writes the `Outcome` as JSON to standard output. Standard
input stays open for requests for snapshots, and as a life-line: when it closes, the parent is gone and this process
ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Outcome, Stop
from fairgrid.runtime.outcome_json import outcome_to_json
from fairgrid.runtime.wasm.engine import THREAD_STACK_BYTES
from fairgrid.runtime.wasm.guest_run import Guest, guest_class, run_guest
from fairgrid.runtime.wasm.host_job import HostJob, SnapshotRequest
from fairgrid.runtime.wasm.launch import GUEST_FILES
from fairgrid.runtime.wasm.loaded import LoadedProgram
from fairgrid.runtime.wasm.lockdown import die_with_parent, limit_resources, lock_calls, lock_files

__all__ = ["main", "serve"]

_SPARE_BYTES = 1 << 20
_SPARE_CPU_S = 60
_OPEN_FILES = 512


def main() -> None:
    """Run the job that standard input names."""
    die_with_parent()
    answer = os.dup(1)
    os.dup2(2, 1)
    serve(answer)


def serve(answer: int, ready: LoadedProgram | None = None) -> NoReturn:
    """Wait for the job, run it, write its outcome to the descriptor ``answer``, and end the process.

    ``ready`` is what was loaded before; a job that needs something else loads that.
    """
    line = sys.stdin.buffer.readline()
    if not line:
        os._exit(1)
    job = HostJob.from_line(line)
    guest_class(job.launch)
    # Before there is a second thread: the lock on files holds for this one and those that it starts.
    _lock_down(job)
    guests: list[Guest] = []
    outcomes: list[Outcome] = []
    threading.stack_size(THREAD_STACK_BYTES)
    runner = threading.Thread(target=lambda: outcomes.append(_run(job, ready, guests.append)))
    runner.start()
    threading.Thread(target=_watch_life_line, args=(guests,), daemon=True).start()
    runner.join()
    with os.fdopen(answer, "wb") as stream:
        stream.write(outcome_to_json(outcomes[0]))
    # The engine's destructors would only cost time.
    os._exit(0)


def _run(job: HostJob, ready: LoadedProgram | None, started: Callable[[Guest], None]) -> Outcome:
    try:
        if ready is None or not ready.fits(job.engine_class, job.launch):
            ready = LoadedProgram.load(job.engine_class, job.launch, None)
        return run_guest(job, ready, started)
    except (HostFailure, OSError, MemoryError) as error:
        return Outcome(Stop.HOST, 0, b"", b"", 0, 0.0, 0, f"{type(error).__name__}: {error}")


def _watch_life_line(guests: list[Guest]) -> None:
    """Answer requests for snapshots until the parent is gone."""
    for line in sys.stdin.buffer:
        request = SnapshotRequest.from_line(line)
        if guests:
            # A snapshot that fails is one that does not appear; the job goes on.
            with contextlib.suppress(Exception):
                guests[0].snapshot(Path(request.destination), request.max_bytes, request.max_files)
    # It has no children: it cannot make any.
    os._exit(1)


def _lock_down(job: HostJob) -> None:
    """Keep what the job needs and give everything else up: the second wall behind the engine (decision 46)."""
    limit_resources(
        {
            "RLIMIT_FSIZE": job.limits.output_bytes + _SPARE_BYTES,
            "RLIMIT_CORE": 0,
            "RLIMIT_NOFILE": _OPEN_FILES,
            "RLIMIT_CPU": (int(job.limits.wall_s) + _SPARE_CPU_S) * (os.cpu_count() or 1),
        }
    )
    ours = [*GUEST_FILES[job.launch].values(), *([Path(job.library)] if job.library else [])]
    lock_files(
        read=[Path(job.compiled), job.script_path, Path(job.input_folder), *ours],
        write=[
            Path(folder)
            for folder in (job.output_folder, job.scratch_folder, job.checkpoint_folder, job.live_folder)
            if folder
        ],
    )
    lock_calls()


if __name__ == "__main__":
    main()
