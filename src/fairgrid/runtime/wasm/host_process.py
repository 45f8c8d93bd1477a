"""Each WebAssembly job runs in an operating system process of its own that knows nothing of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fairgrid.errors import HostFailure
from fairgrid.runtime.children import end_child
from fairgrid.runtime.interface import Outcome, SandboxJob, Stop
from fairgrid.runtime.outcome_json import outcome_from_json
from fairgrid.runtime.removal import remove_tree
from fairgrid.runtime.suspension import Suspension
from fairgrid.runtime.wasm.host_job import HostJob, SnapshotRequest
from fairgrid.runtime.wasm.launch import GuestProgram
from fairgrid.runtime.wasm.native_code import check_native_code
from fairgrid.runtime.wasm.ready_hosts import ReadyHosts, start_host
from fairgrid.runtime.watch import SNAPSHOT_FILES, JobWatch

__all__ = ["JobProcesses"]

_GRACE_S = 5.0
"""How long after the wall limit the child may take to stop by itself."""
_MAX_DIAGNOSTICS = 16_384
_SNAPSHOT_S = 20.0
_FEW = 4
_LITTLE_BYTES = 1 << 16


class JobProcesses:
    """The processes of one sandbox's jobs."""

    def __init__(self, ready: ReadyHosts) -> None:
        self._suspension = Suspension()
        self._ready = ready
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> int:
        """How many processes wait for jobs."""
        return self._ready.waiting

    async def close(self) -> None:
        """End the processes that wait for jobs, and wait for those that are ending."""
        await self._ready.close()
        await asyncio.gather(*self._ending)

    def suspend(self) -> bool:
        """Stop the processes of all jobs until `resume`, and end those that wait; False where the system cannot."""
        self._ready.let_go()
        return self._suspension.suspend()

    def resume(self) -> None:
        """Let every job go on."""
        self._suspension.resume()

    async def run(self, job: SandboxJob, program: GuestProgram) -> Outcome:
        """Run ``job``; its output folder must be empty and receives files only if the program ends by itself.

        Cancelling kills the process group before the cancellation goes on. The process also dies with the thread that
        runs this event loop.

        Raises:
            HostFailure: the child process cannot be started, others could have written its compiled form, or the job
                asks for the network.
        """
        if job.network is not None:
            raise HostFailure("WebAssembly has no network, and the job asks for it.")
        check_native_code(program.compiled)
        scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=job.output_folder.parent))
        try:
            return await self._run_in(scratch, job, program)
        finally:
            if _is_soon_removed(scratch):
                remove_tree(scratch)
            else:
                await asyncio.to_thread(remove_tree, scratch)

    async def _run_in(self, scratch: Path, job: SandboxJob, program: GuestProgram) -> Outcome:
        line = HostJob(
            compiled=str(program.compiled.resolve()),
            script=str(job.script.resolve()),
            arguments=job.arguments,
            input_folder=str(job.input_folder.resolve()),
            output_folder=str(job.output_folder.resolve()),
            scratch_folder=str(scratch.resolve()),
            environment=job.environment,
            seed=job.seed.hex(),
            limits=job.limits,
            checkpoint=job.checkpoint,
            checkpoint_folder=str(job.checkpoint_folder.resolve()) if job.checkpoint_folder is not None else "",
            live_folder=str(job.watch.folder.resolve()) if job.watch is not None else "",
            launch=program.launch,
            engine_class=program.engine_class,
            library=str(program.library.resolve()) if program.library is not None else "",
            library_name=program.library_name,
        ).to_line()
        outcome: Outcome | None = None
        process = self._ready.take() or await start_host()
        assert process.stderr is not None
        said = asyncio.ensure_future(_read_start(process.stderr))
        try:
            with self._suspension.running(process.pid), _watched(job.watch, process, scratch):
                answer = await self._suspension.wait_for(_converse(process, line), job.limits.wall_s + _GRACE_S)
            outcome = _read(answer)
            if outcome is None:
                return _host_outcome(Stop.HOST, 0.0, await _what_it_said(process, said))
        except TimeoutError:
            return _host_outcome(Stop.WALL_CLOCK, job.limits.wall_s, "killed after the wall-clock limit")
        finally:
            if outcome is None or not self._ready.is_on:
                await _end(process, said)
        # It answered and is ending: giving its memory back takes it longer than a small job, so nobody waits for that.
        if self._ready.is_on:
            ending = asyncio.ensure_future(_end(process, said))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        return outcome


@contextlib.contextmanager
def _watched(watch: JobWatch | None, process: asyncio.subprocess.Process, scratch: Path) -> Iterator[None]:
    """Let the caller ask for snapshots while the child runs."""
    if watch is None:
        yield
        return
    numbers = itertools.count(1)

    async def snapshot(destination: Path, max_bytes: int) -> bool:
        if process.stdin is None:
            return False
        # The child can write to no folder but the job's own.
        copy = scratch / f"snapshot-{next(numbers)}"
        try:
            process.stdin.write(SnapshotRequest(str(copy.resolve()), max_bytes, SNAPSHOT_FILES).to_line())
            await process.stdin.drain()
            async with asyncio.timeout(_SNAPSHOT_S):
                while not copy.exists():  # noqa: ASYNC110 - the child has no other way to say so
                    await asyncio.sleep(0.05)
            await asyncio.to_thread(_move, copy, destination)
        except (OSError, TimeoutError):
            return False
        return True

    with watch.attached(snapshot):
        yield


def _move(source: Path, destination: Path) -> None:
    """Move a folder so that it appears at once, also from one file system to another."""
    try:
        source.rename(destination)
    except OSError:
        partial = destination.with_name(destination.name + ".partial")
        shutil.copytree(source, partial)
        partial.rename(destination)


async def _converse(process: asyncio.subprocess.Process, line: bytes) -> bytes:
    """Send the job, keep standard input open, and read the answer to its end."""
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(ConnectionError):
        process.stdin.write(line)
        await process.stdin.drain()
    return await process.stdout.read()


def _is_soon_removed(scratch: Path) -> bool:
    """Whether a thread would take longer: what a small job leaves is an empty file or two."""
    try:
        with os.scandir(scratch) as entries:
            found = list(itertools.islice(entries, _FEW + 1))
        return len(found) <= _FEW and not any(one.is_dir() or one.stat().st_size > _LITTLE_BYTES for one in found)
    except OSError:
        return False


def _read(answer: bytes) -> Outcome | None:
    try:
        return outcome_from_json(answer)
    except ValueError:
        return None


async def _end(process: asyncio.subprocess.Process, said: asyncio.Future[bytes]) -> None:
    """End the process and the reading of its words."""
    await end_child(process)
    said.cancel()


async def _what_it_said(process: asyncio.subprocess.Process, said: asyncio.Future[bytes]) -> str:
    """Why a process that closed its answer gave none: its status and its own words."""
    gone = asyncio.ensure_future(process.wait())
    await asyncio.wait((said, gone), timeout=_GRACE_S)
    text = said.result().decode(errors="replace").strip() if said.done() else ""
    return f"the sandbox process ended with status {process.returncode} and no result: {text or 'no message'}"


async def _read_start(stream: asyncio.StreamReader) -> bytes:
    """The first bytes of a stream, read to its end."""
    kept = bytearray()
    while chunk := await stream.read(65_536):
        kept += chunk[: _MAX_DIAGNOSTICS - len(kept)]
    return bytes(kept)


def _host_outcome(stop: Stop, wall_s: float, detail: str) -> Outcome:
    return Outcome(stop, 0, b"", b"", 0, wall_s, 0, detail)
