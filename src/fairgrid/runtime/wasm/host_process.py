"""Each WebAssembly job runs in an operating system process of its own that knows nothing of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Outcome, SandboxJob, Stop
from fairgrid.runtime.outcome_json import outcome_from_json
from fairgrid.runtime.suspension import Suspension
from fairgrid.runtime.wasm.host_job import HostJob, SnapshotRequest
from fairgrid.runtime.wasm.launch import GuestProgram
from fairgrid.runtime.wasm.native_code import check_native_code
from fairgrid.runtime.watch import SNAPSHOT_FILES, JobWatch

__all__ = ["JobProcesses"]

_GRACE_S = 5.0
"""How long after the wall limit the child may take to stop by itself."""
_MAX_DIAGNOSTICS = 16_384
_SNAPSHOT_S = 20.0


class JobProcesses:
    """The processes of one sandbox's jobs."""

    def __init__(self) -> None:
        self._suspension = Suspension()

    def suspend(self) -> bool:
        """Stop the processes of all jobs until `resume`; False where the system cannot."""
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
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)

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
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-B", "-X", "utf8", "-m", "fairgrid.runtime.wasm.host"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=scratch,
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                start_new_session=True,
            )
        except OSError as error:
            raise HostFailure(f"The sandbox process cannot be started: {error}.") from error
        try:
            with self._suspension.running(process.pid), _watched(job.watch, process, scratch):
                answer, diagnostics = await self._suspension.wait_for(
                    _converse(process, line), job.limits.wall_s + _GRACE_S
                )
        except TimeoutError:
            return _host_outcome(Stop.WALL_CLOCK, job.limits.wall_s, "killed after the wall-clock limit")
        finally:
            await _kill(process)
        try:
            return outcome_from_json(answer)
        except ValueError:
            text = diagnostics.decode(errors="replace").strip()
            detail = f"the sandbox process ended with status {process.returncode} and no result: {text or 'no message'}"
            return _host_outcome(Stop.HOST, 0.0, detail)


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


async def _converse(process: asyncio.subprocess.Process, line: bytes) -> tuple[bytes, bytes]:
    """Send the job, keep standard input open, and read the answer and the diagnostics to their ends."""
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    with contextlib.suppress(ConnectionError):
        process.stdin.write(line)
        await process.stdin.drain()
    answer, diagnostics = await asyncio.gather(process.stdout.read(), _read_start(process.stderr))
    await process.wait()
    return answer, diagnostics


async def _read_start(stream: asyncio.StreamReader) -> bytes:
    """The first bytes of a stream, read to its end."""
    kept = bytearray()
    while chunk := await stream.read(65_536):
        kept += chunk[: _MAX_DIAGNOSTICS - len(kept)]
    return bytes(kept)


async def _kill(process: asyncio.subprocess.Process) -> None:
    """End the child's process group, and wait until the child is gone, also while being cancelled."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    reaper = asyncio.ensure_future(process.wait())
    while not reaper.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(reaper)
    if process.stdin is not None:
        process.stdin.close()


def _host_outcome(stop: Stop, wall_s: float, detail: str) -> Outcome:
    return Outcome(stop, 0, b"", b"", 0, wall_s, 0, detail)
