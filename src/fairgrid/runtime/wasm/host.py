"""The child process that runs one WebAssembly job: ``python -I -m fairgrid.runtime.wasm.host``.

It reads one `HostJob` line from standard input, runs it, and writes the `Outcome` as JSON to standard output. Standard
input stays open for requests for snapshots, and as a life-line: when it closes, the parent is gone and this process
kills its whole group.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Limits, Outcome, Stop
from fairgrid.runtime.outcome_json import outcome_to_json
from fairgrid.runtime.wasm.engine import THREAD_STACK_BYTES
from fairgrid.runtime.wasm.guest_run import Guest, run_guest
from fairgrid.runtime.wasm.host_job import HostJob, SnapshotRequest
from fairgrid.runtime.wasm.native_code import check_native_code

__all__ = ["main"]

_SPARE_BYTES = 1 << 20
_SPARE_CPU_S = 60
_OPEN_FILES = 512
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Run the job that standard input names."""
    _die_with_parent()
    answer = os.dup(1)
    os.dup2(2, 1)
    job = HostJob.from_line(sys.stdin.buffer.readline())
    guests: list[Guest] = []
    threading.Thread(target=_watch_life_line, args=(guests,), daemon=True).start()
    _set_limits(job.limits)
    outcomes: list[Outcome] = []
    threading.stack_size(THREAD_STACK_BYTES)
    runner = threading.Thread(target=lambda: outcomes.append(_run(job, guests.append)))
    runner.start()
    runner.join()
    with os.fdopen(answer, "wb") as stream:
        stream.write(outcome_to_json(outcomes[0]))
    # The engine's destructors would only cost time.
    os._exit(0)


def _run(job: HostJob, started: Callable[[Guest], None]) -> Outcome:
    try:
        check_native_code(Path(job.compiled))
        return run_guest(job, started)
    except (HostFailure, OSError, MemoryError) as error:
        return Outcome(Stop.HOST, 0, b"", b"", 0, 0.0, 0, f"{type(error).__name__}: {error}")


def _die_with_parent() -> None:
    """On Linux the kernel kills this process with its parent; elsewhere the life-line does it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _watch_life_line(guests: list[Guest]) -> None:
    """Answer requests for snapshots until the parent is gone."""
    for line in sys.stdin.buffer:
        request = SnapshotRequest.from_line(line)
        if guests:
            # A snapshot that fails is one that does not appear; the job goes on.
            with contextlib.suppress(Exception):
                guests[0].snapshot(Path(request.destination), request.max_bytes, request.max_files)
    if os.name == "posix" and os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _set_limits(limits: Limits) -> None:
    """Backstops of the operating system behind the engine's own limits (decision 46)."""
    if os.name != "posix":
        return
    import resource

    cpu_s = int(limits.wall_s) + _SPARE_CPU_S
    wanted = {
        resource.RLIMIT_FSIZE: limits.output_bytes + _SPARE_BYTES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CPU: cpu_s * (os.cpu_count() or 1),
    }
    for kind, value in wanted.items():
        _, hard = resource.getrlimit(kind)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (allowed, allowed))


if __name__ == "__main__":
    main()
