"""Child processes of a local network: started with a log file, waited for, and ended by pid *and* start time.

A process is told from a stranger that got its number by its start time, so only what this package started is ever
ended. `Guardian` is a small process of its own that ends the others when their parent dies, however it dies.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from fairgrid.errors import ServiceError
from fairgrid.localnet.bytecode import bytecode_environment

__all__ = [
    "Guardian",
    "ProcessFailed",
    "ProcessRecord",
    "ProcessSpec",
    "RunningProcess",
    "end_processes",
    "log_tail",
    "start_process",
    "wait_until",
]

POLL_S = 0.02
MAX_LOG_BYTES = 20_000_000
_START_TIME_TOLERANCE_S = 2.0
"""A clock that is set while a process runs moves its start time a little; a reused pid starts much later."""

_detached: list[subprocess.Popen[bytes]] = []
"""Handles of processes that outlive us: kept, so that dropping them is not taken for a leak."""


class ProcessFailed(ServiceError):
    """A process of the local network ended, or did not get ready; ``log`` names its log file."""

    def __init__(self, name: str, reason: str, log: Path) -> None:
        self.name = name
        self.reason = reason
        self.log = log
        tail = log_tail(log)
        said = f"\nIts last words:\n{tail}" if tail else " It said nothing."
        super().__init__(f"The process {name} did not start: {reason}. Its log is {log}.{said}")


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run."""

    name: str
    command: tuple[str, ...]
    log: Path
    """Takes stdout and stderr; appended to, and begun anew when it is over 20 MB."""
    ready: str | None = None
    """Regular expression of the line that says that it serves; group 1, if there is one, is `RunningProcess.ready`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to ours."""
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """Names one process for ever: a pid alone is reused."""

    name: str
    pid: int
    started: float
    """Start time in seconds since the epoch, as the system tells it."""

    def running(self) -> bool:
        """True while this very process runs."""
        return self._process() is not None

    def _process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started) > _START_TIME_TOLERANCE_S:
                return None
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.Error:
            return None
        return process

    def signal(self, *, kill: bool) -> None:
        """Ask it to end (SIGTERM), or end it (SIGKILL). Nothing happens if it is gone."""
        process = self._process()
        if process is None:
            return
        try:
            if kill:
                process.kill()
            else:
                process.terminate()
        except psutil.Error:
            pass


class RunningProcess:
    """A process that we started. ``ready`` is what its ready line said."""

    def __init__(self, spec: ProcessSpec, popen: subprocess.Popen[bytes], record: ProcessRecord, ready: str) -> None:
        self.spec = spec
        self.record = record
        self.ready = ready
        self._popen = popen

    def exit_code(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._popen.poll()

    async def stop(self, *, grace_s: float = 5.0) -> int:
        """End it (SIGTERM, after ``grace_s`` SIGKILL), wait, give its exit code."""
        await asyncio.to_thread(self.stop_now, grace_s=grace_s)
        return self._popen.wait()

    def stop_now(self, *, grace_s: float = 5.0) -> None:
        """`stop` for those who have no event loop."""
        if self._popen.poll() is None:
            self._popen.terminate()
        try:
            self._popen.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def detach(self) -> None:
        """Let it outlive us."""
        _detached.append(self._popen)


class Guardian:
    """Ends the processes given to it when this process dies, even by SIGKILL: a process of its own that reads a pipe
    which only we hold. `close` when all was ended in order, or to let them go on (``release=True``)."""

    def __init__(self) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "fairgrid.localnet.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def add(self, record: ProcessRecord) -> None:
        """Watch over one more."""
        self._write(f"{record.pid} {record.started!r} {record.name}\n")

    def close(self, *, release: bool = False) -> None:
        """End the watch; what still runs is ended, unless ``release``."""
        if release:
            self._write("release\n")
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        self._popen.wait()

    def _write(self, line: str) -> None:
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(line.encode())
            self._popen.stdin.flush()
        except OSError:
            pass  # the guardian was killed: nobody watches, and nothing else changes


async def start_process(
    spec: ProcessSpec, *, guardian: Guardian | None = None, started: Callable[[RunningProcess], None] | None = None
) -> RunningProcess:
    """Start it in a session of its own (Ctrl-C reaches us only) and wait for its ready line.

    ``started`` is told of it before it is ready, so that nobody loses sight of it.

    Raises:
        ProcessFailed: it ended or did not get ready in time; it is ended then.
    """
    # Not in a thread: a cancellation meanwhile would lose sight of a process that runs.
    popen, offset = _spawn(spec)
    record = ProcessRecord(spec.name, popen.pid, _start_time(popen.pid))
    running = RunningProcess(spec, popen, record, "")
    if guardian is not None:
        guardian.add(record)
    if started is not None:
        started(running)
    if spec.ready is None:
        return running
    pattern = re.compile(spec.ready, re.MULTILINE)
    found: list[re.Match[str]] = []

    def is_ready() -> bool:
        with spec.log.open("rb") as log:
            log.seek(offset)
            match = pattern.search(log.read(1_000_000).decode(errors="replace"))
        if match is not None:
            found.append(match)
        return match is not None

    await wait_until(running, is_ready)
    running.ready = found[0].group(1) if pattern.groups else found[0].group(0)
    return running


async def wait_until(process: RunningProcess, condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds; the process's ``timeout_s`` counts from now.

    Raises:
        ProcessFailed: the process ended first, or the time was up; it is ended then.
    """
    spec = process.spec
    deadline = time.monotonic() + spec.timeout_s
    try:
        while not await asyncio.to_thread(condition):
            code = process.exit_code()
            if code is not None:
                raise ProcessFailed(spec.name, f"it ended with code {code}", spec.log)
            if time.monotonic() > deadline:
                raise ProcessFailed(spec.name, f"it was not ready after {spec.timeout_s:g} s", spec.log)
            await asyncio.sleep(POLL_S)
    except asyncio.CancelledError:
        process.record.signal(kill=False)  # whoever was told that it started waits for its end
        process.detach()
        raise
    except BaseException:
        process.stop_now(grace_s=1.0)
        raise


async def end_processes(records: Sequence[ProcessRecord], *, grace_s: float = 5.0) -> None:
    """End these, all at once: SIGTERM, after ``grace_s`` SIGKILL. Returns when all are gone; strangers stay.

    Raises:
        ServiceError: one does not end, even killed.
    """
    for record in records:
        record.signal(kill=False)
    deadline = time.monotonic() + grace_s
    killed = False
    while True:
        left = [record for record in records if record.running()]
        if not left:
            return
        if time.monotonic() > deadline and not killed:
            killed = True
            for record in left:
                record.signal(kill=True)
        if time.monotonic() > deadline + 10:
            names = ", ".join(f"{record.name} (pid {record.pid})" for record in left)
            raise ServiceError(f"These processes do not end, even killed: {names}. End them by hand.")
        await asyncio.sleep(POLL_S)


def log_tail(log: Path, *, lines: int = 20) -> str:
    """The last lines of a log file; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 20_000))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])


def _spawn(spec: ProcessSpec) -> tuple[subprocess.Popen[bytes], int]:
    """The process, and where in its log its own words begin."""
    spec.log.parent.mkdir(parents=True, exist_ok=True)
    mode = "ab"
    offset = spec.log.stat().st_size if spec.log.exists() else 0
    if offset > MAX_LOG_BYTES:
        mode, offset = "wb", 0
    with spec.log.open(mode) as log:
        try:
            popen = subprocess.Popen(
                spec.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**bytecode_environment(os.environ), "PYTHONUNBUFFERED": "1", **spec.environment},
                start_new_session=True,
            )
        except OSError as error:
            raise ProcessFailed(spec.name, f"{spec.command[0]} cannot be run ({error})", spec.log) from error
    return popen, offset


def _start_time(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:  # it ended within a moment; its exit code tells
        return time.time()
