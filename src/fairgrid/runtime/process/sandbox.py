"""The sandbox of the level ``process``: a native program behind bubblewrap, a list of system calls, and limits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.cgroups.interface import Caps, Controls, JobGroup
from fairgrid.runtime.cgroups.names import next_number, numbered_name
from fairgrid.runtime.interface import Limits, Outcome, SandboxJob, Stop
from fairgrid.runtime.log_sink import LogSink
from fairgrid.runtime.network.grant import proxy_environment
from fairgrid.runtime.network.job_network import JobNetwork
from fairgrid.runtime.process.bubblewrap import (
    JOB_UID,
    Bubblewrap,
    View,
    find_bubblewrap,
    sandbox_arguments,
)
from fairgrid.runtime.process.checkpoint import NativeCheckpoint
from fairgrid.runtime.process.choose import find_controls
from fairgrid.runtime.process.disk import TooDeep, Used, copy_tree_now, disk_used, make_ours, remove_all
from fairgrid.runtime.process.launch import Launched, launch
from fairgrid.runtime.process.programs import NotAProgram, lay_out_program
from fairgrid.runtime.process.seccomp import ARCHITECTURES, allow_list
from fairgrid.runtime.process.supervisor import TOO_DEEP, Supervisor, Verdict
from fairgrid.runtime.removal import remove_tree
from fairgrid.runtime.suspension import SuspendableSandbox
from fairgrid.runtime.uninterrupted import to_the_end
from fairgrid.runtime.watch import SNAPSHOT_FILES, JobWatch

__all__ = ["CANNOT_RUN", "ProcessSandbox", "job_environment"]

CANNOT_RUN: Final = 126
"""Exit code of what is no program, as a shell says it."""

_OPEN_FILES: Final = 1024
_FILE_SPARE: Final = 1 << 20
_CPU_SPARE_S: Final = 60
_LEAST_SCRATCH: Final = 16 << 20
_NAMES: Final = b"nobody:x:65534:65534::/tmp:/bin/sh\n"
_EPOCH: Final = "1700000000"
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "GOMAXPROCS", "RAYON_NUM_THREADS")


class ProcessSandbox(SuspendableSandbox):
    """Implements `Sandbox` for native programs of this machine's architecture."""

    def __init__(self, runtime_id: str, *, controls: Controls | None = None) -> None:
        """``controls`` None: the best that this machine has, found at the first job."""
        super().__init__(runtime_id)
        self._controls = controls

    @property
    def summary(self) -> str:
        """How limits are kept, for people; empty before the first job."""
        return self._controls.summary if self._controls is not None else ""

    async def run(self, job: SandboxJob) -> Outcome:
        """Run ``job``; its output folder must be empty and belongs to the job while it runs.

        Cancelling kills all its processes before the cancellation goes on. They also die with the thread that runs this
        event loop.

        Raises:
            HostFailure: bubblewrap is missing or does not work, or this machine lacks what the program runs in.
        """
        bubblewrap = find_bubblewrap()
        architecture = platform.machine()
        if architecture not in ARCHITECTURES:
            raise HostFailure(f"There is no list of system calls for {architecture}; native programs cannot run here.")
        if self._controls is None:
            self._controls = await asyncio.to_thread(find_controls)
        scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=job.output_folder.parent))
        try:
            return await self._run_in(scratch, job, bubblewrap, self._controls, architecture)
        finally:
            await to_the_end(asyncio.to_thread(_clear, scratch, job.output_folder))

    async def _run_in(
        self, scratch: Path, job: SandboxJob, bubblewrap: Bubblewrap, controls: Controls, architecture: str
    ) -> Outcome:
        number = next_number()
        user = JOB_UID + (os.getpid() * 64 + number) % 0x10000 if os.geteuid() == 0 else None
        try:
            view = await to_the_end(asyncio.to_thread(_lay_out, scratch, job, architecture, user))
        except NotAProgram as error:
            said = f"[fairgrid: this program cannot be run: {error}]\n".encode()
            return Outcome(Stop.EXITED, CANNOT_RUN, b"", said, 0, 0.0, 0)
        caps = Caps(job.limits.memory_bytes, job.limits.processes, job.limits.cpus)
        try:
            group = controls.new_group(numbered_name(number), caps)
        except OSError as error:
            raise HostFailure(f"The job's group of processes cannot be made ({error}).") from error
        network = JobNetwork(job.network) if job.network is not None else None
        try:
            launched = await launch(
                bubblewrap,
                sandbox_arguments(view.view, as_root=user is not None, network=job.network is not None),
                (*_become(user), *_limited(job.limits, controls), view.command, *job.arguments),
                filter_program=allow_list(architecture),
                group=group,
                before_start=network.join if network is not None else None,
            )
            outcome = await self._attend(job, view, launched, group)
            return outcome if network is None else replace(outcome, network_bytes=network.used_bytes)
        finally:
            group.kill()
            if network is not None:
                await to_the_end(network.leave())
            await to_the_end(asyncio.to_thread(group.remove))
            if view.saver is not None:
                view.saver.close()

    async def _attend(self, job: SandboxJob, laid: _LaidOut, launched: Launched, group: JobGroup) -> Outcome:
        live = job.watch.folder if job.watch is not None else None
        sinks = [LogSink(job.limits.log_bytes, live / name if live else None) for name in ("stdout", "stderr")]
        saver = laid.saver
        if saver is not None:
            saver.take_logs(*sinks)
        supervisor = Supervisor(
            group, job, own_folder=laid.view.own_folder, checkpoint=laid.view.checkpoint, saver=saver
        )
        started, suspended = time.monotonic(), self._suspension.suspended_s
        verdict: Verdict | None = None
        try:
            with self._suspension.holding(group.suspend, group.resume), _watched(job):
                verdict = await self._suspension.wait_for(
                    _until_over(launched, supervisor, sinks), max(job.limits.wall_s, 0.01)
                )
        except TimeoutError:
            verdict = Verdict(Stop.WALL_CLOCK, f"it ran for {job.limits.wall_s:.0f} s")
        finally:
            group.kill()
            await to_the_end(launched.end())
            if saver is not None:
                await to_the_end(asyncio.to_thread(saver.look))
            for sink in sinks:
                sink.close()
        wall_s = time.monotonic() - started - (self._suspension.suspended_s - suspended)
        reading = group.read()
        try:
            used = await asyncio.to_thread(disk_used, job.output_folder)
        except TooDeep:
            used, verdict = Used(0, 0, 0), TOO_DEEP
        verdict = verdict or supervisor.last_word(reading, used)
        if verdict is not None and verdict.stop is Stop.OUTPUT:
            # Nobody reads it, and it may be what no ordinary walk removes.
            folders = [job.output_folder, laid.view.own_folder, *filter(None, [laid.view.checkpoint])]
            await to_the_end(asyncio.to_thread(remove_all, *folders))
        if verdict is None and launched.exit_code is None:
            said = sinks[1].contents().decode(errors="replace").strip()[-500:]
            verdict = Verdict(Stop.HOST, f"the sandbox ended without the job: {said or 'no message'}")
        return Outcome(
            stop=verdict.stop if verdict else Stop.EXITED,
            exit_code=launched.exit_code or 0 if verdict is None else 0,
            stdout=sinks[0].contents(),
            stderr=sinks[1].contents(),
            fuel_used=0,
            wall_s=wall_s,
            peak_memory_bytes=reading.peak_memory_bytes,
            detail=verdict.detail if verdict else _remark(reading.refused_processes, job.limits),
            cpu_s=reading.cpu_s,
            written_bytes=used.bytes,
            resumed=saver is not None and saver.loaded is not None,
        )


@dataclass(frozen=True, slots=True)
class _LaidOut:
    view: View
    command: str
    saver: NativeCheckpoint | None


def _lay_out(scratch: Path, job: SandboxJob, architecture: str, user: int | None) -> _LaidOut:
    program = lay_out_program(job.script, scratch / "app", architecture)
    own, etc = scratch / "own", scratch / "etc"
    own.mkdir()
    etc.mkdir()
    (etc / "passwd").write_bytes(_NAMES if user is None else _NAMES.replace(b"65534:65534", b"%d:%d" % (user, user)))
    (etc / "group").write_bytes(b"nogroup:x:%d:\n" % (65_534 if user is None else user))
    (etc / "hosts").write_bytes(b"127.0.0.1 localhost\n::1 localhost\n")
    checkpoint, saver = None, None
    if job.checkpoint:
        checkpoint = scratch / "checkpoint"
        checkpoint.mkdir()
        if job.checkpoint_folder is not None:
            saver = NativeCheckpoint(checkpoint, job.checkpoint_folder, scratch / "staging")
    if user is not None:
        for folder in (job.output_folder, own, checkpoint):
            if folder is not None:
                for place in (folder, *folder.iterdir()):
                    os.chown(place, user, user)
        scratch.chmod(0o755)
        for folder in (program.folder, job.input_folder, etc):
            _let_read(folder)
    view = View(
        program=program.folder,
        input_folder=job.input_folder.resolve(),
        output_folder=job.output_folder.resolve(),
        own_folder=own,
        etc=etc,
        checkpoint=checkpoint,
        scratch_bytes=max(job.limits.output_bytes, _LEAST_SCRATCH),
        environment=job_environment(job),
    )
    return _LaidOut(view, program.command, saver)


def _let_read(folder: Path) -> None:
    """Let every user read what lies in a folder; the folders around it keep others out."""
    for place, _, files in os.walk(folder):
        os.chmod(place, 0o755)
        for name in files:
            path = os.path.join(place, name)
            mode = os.stat(path).st_mode
            if mode & 0o444 != 0o444:
                os.chmod(path, mode & 0o777 | 0o444)


def job_environment(job: SandboxJob) -> dict[str, str]:
    """All variables of a job: what makes programs differ from run to run is fixed, as far as variables can."""
    fixed = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SOURCE_DATE_EPOCH": _EPOCH,
        "FAIRGRID_SEED": job.seed.hex(),
        **dict.fromkeys(_THREADS, str(job.limits.cpus)),
    }
    return {**fixed, **job.environment, **proxy_environment(job.network)}


def _become(user: int | None) -> tuple[str, ...]:
    if user is None:
        return ()
    who = (f"--reuid={user}", f"--regid={user}", "--clear-groups")
    return ("/usr/bin/setpriv", *who, "--inh-caps=-all", "--bounding-set=-all", "--")


def _limited(limits: Limits, controls: Controls) -> tuple[str, ...]:
    """The command that sets the limits of each process, which hold where the group's are late or are not there."""
    cpu_s = limits.cpu_s if limits.cpu_s is not None else limits.wall_s * limits.cpus
    wanted = {
        "core": (resource.RLIMIT_CORE, 0),
        "fsize": (resource.RLIMIT_FSIZE, limits.output_bytes + _FILE_SPARE),
        "nofile": (resource.RLIMIT_NOFILE, _OPEN_FILES),
        "memlock": (resource.RLIMIT_MEMLOCK, 1 << 20),
        "cpu": (resource.RLIMIT_CPU, int(cpu_s) + _CPU_SPARE_S),
    }
    if not controls.limits_processes:
        wanted["nproc"] = (resource.RLIMIT_NPROC, limits.processes)
    if not controls.limits_memory:
        wanted["data"] = (resource.RLIMIT_DATA, 2 * limits.memory_bytes)
    options = []
    for name, (kind, value) in wanted.items():
        _, hard = resource.getrlimit(kind)
        options.append(f"--{name}={value if hard == resource.RLIM_INFINITY else min(value, hard)}")
    return ("/usr/bin/prlimit", *options, "--")


def _remark(refused: int, limits: Limits) -> str:
    return f"{refused} times a process beyond the limit of {limits.processes} was refused" if refused else ""


async def _until_over(launched: Launched, supervisor: Supervisor, sinks: list[LogSink]) -> Verdict | None:
    """Wait for the job's end, or for the limit that it meets first."""
    watching = asyncio.ensure_future(supervisor.watch())
    running = asyncio.ensure_future(launched.run(sinks[0].add, sinks[1].add))
    try:
        await asyncio.wait((watching, running), return_when=asyncio.FIRST_COMPLETED)
        return watching.result() if watching.done() else None
    finally:
        for task in (watching, running):
            task.cancel()
        await asyncio.gather(watching, running, return_exceptions=True)


@contextlib.contextmanager
def _watched(job: SandboxJob) -> Iterator[None]:
    watch: JobWatch | None = job.watch
    if watch is None:
        yield
        return

    async def snapshot(destination: Path, max_bytes: int) -> bool:
        partial = destination.with_name(destination.name + ".partial")
        try:
            await asyncio.to_thread(
                copy_tree_now, job.output_folder, partial, max_bytes=max_bytes, max_files=SNAPSHOT_FILES
            )
            await asyncio.to_thread(partial.rename, destination)
        except OSError:
            return False
        return True

    with watch.attached(snapshot):
        yield


def _clear(scratch: Path, output_folder: Path) -> None:
    with contextlib.suppress(OSError):
        make_ours(scratch, output_folder)
    remove_tree(scratch)
