"""The container sandbox: each job in a container of its own, without network, privileges or a writable image."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fairgrid.errors import HostFailure, ManifestError
from fairgrid.runtime.cgroups.around import group_around
from fairgrid.runtime.cgroups.interface import JobGroup
from fairgrid.runtime.cgroups.names import CONTAINER_PREFIX, next_number, numbered_name
from fairgrid.runtime.container.commands import Plan, run_command
from fairgrid.runtime.container.engines import Engine, open_files_limit
from fairgrid.runtime.container.folders import (
    copy_plain_files,
    environment_file,
    make_readable,
    make_scratch,
    measure,
    read_end,
    removed_bytes,
    take,
)
from fairgrid.runtime.container.gpus import GVISOR_FAULT, gpu_variables, passing_fault
from fairgrid.runtime.container.images import ReadyImage
from fairgrid.runtime.container.machine import ContainerMachine
from fairgrid.runtime.container.network import ContainerNetwork, container_network
from fairgrid.runtime.container.sampled import SampledGroup
from fairgrid.runtime.container.seccomp import write_profile
from fairgrid.runtime.interface import Outcome, SandboxJob, Stop
from fairgrid.runtime.log_sink import LogSink
from fairgrid.runtime.network.grant import proxy_environment
from fairgrid.runtime.removal import remove_tree
from fairgrid.runtime.suspension import SuspendableSandbox
from fairgrid.runtime.uninterrupted import settled, to_the_end

__all__ = ["ContainerSandbox"]

_LOOK_S: Final = 0.1
_READ_BYTES: Final = 65_536
_LOOK_CLOSELY: Final = 5
"""Files that were removed while open, and the job's progress, are looked at in each so many'th look."""
_KILL_S: Final = 0.05
_REMOVE_AFTER_S: Final = 5.0
_GIVE_UP_S: Final = 60.0
_REFUSED: Final = 125
"""Exit code of a job whose program is no image that may run; every machine says so."""
_ENGINES_STATUS: Final = (125, 126, 127)
_NO_PROGRAM: Final = (b'exec: "', b"exec user process", b"executable file", b"error finding executable")
_NO_IMAGE: Final = (b"no such image", b"image not known")


@dataclass(slots=True)
class _Strike:
    """Which limit ended the job, once one did."""

    stop: Stop | None = None
    detail: str = ""

    def say(self, stop: Stop, detail: str = "") -> None:
        if self.stop is None:
            self.stop, self.detail = stop, detail


@dataclass(slots=True)
class _Running:
    """One container while it runs."""

    job: SandboxJob
    scratch: Path
    group: JobGroup
    process: asyncio.subprocess.Process
    logs: tuple[LogSink, LogSink]
    strike: _Strike = field(default_factory=_Strike)

    @property
    def writable(self) -> list[Path]:
        folders = [self.scratch / name for name in ("out", "tmp", "fairgrid", "checkpoint")]
        if self.job.checkpoint_folder is not None:
            folders[-1] = self.job.checkpoint_folder
        return [folder for folder in folders if folder.is_dir()]


class ContainerSandbox(SuspendableSandbox):
    """Runs images in the containers of one machine."""

    def __init__(self, runtime_id: str, machine: ContainerMachine) -> None:
        super().__init__(runtime_id)
        self._machine = machine

    async def run(self, job: SandboxJob) -> Outcome:
        """Run ``job``; its output folder must be empty and receives files only if the program ends by itself.

        An image that is refused ends with exit code 125 and the reason as its error log. Cancelling kills the
        container, and goes on when nothing of it is left.

        Raises:
            HostFailure: there is no engine, the image cannot be had, or the container cannot be started.
        """
        engine = await self._machine.engine()
        if job.gpus:
            fault = GVISOR_FAULT if self._machine.is_gvisor else await asyncio.to_thread(passing_fault, engine)
            if fault is not None:
                raise HostFailure(f"The job was leased graphics processors, and {fault}.")
        while self._suspension.is_suspended:  # noqa: ASYNC110 - nothing tells of its end
            await asyncio.sleep(_LOOK_S)
        try:
            async with self._machine.images(engine).held(job.script) as image:
                outcome = await self._run_with(engine, image, job)
            if outcome.stop is Stop.HOST and any(text in outcome.stderr.lower() for text in _NO_IMAGE):
                # Somebody removed it behind our back.
                self._machine.images(engine).forget(image.image_id)
                async with self._machine.images(engine).held(job.script) as image:
                    outcome = await self._run_with(engine, image, job)
        except ManifestError as error:
            return Outcome(Stop.EXITED, _REFUSED, b"", f"{error}\n".encode(), 0, 0.0, 0)
        return outcome

    async def _run_with(self, engine: Engine, image: ReadyImage, job: SandboxJob) -> Outcome:
        scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=job.output_folder.parent)).resolve()
        try:
            return await self._run_in(scratch, engine, image, job)
        finally:
            await to_the_end(asyncio.to_thread(remove_tree, scratch))

    async def _run_in(self, scratch: Path, engine: Engine, image: ReadyImage, job: SandboxJob) -> Outcome:
        async with container_network(self._machine, engine, job.network) as network:
            outcome = await self._run_joined(scratch, engine, image, job, network)
            return replace(outcome, network_bytes=network.used_bytes)

    async def _run_joined(
        self, scratch: Path, engine: Engine, image: ReadyImage, job: SandboxJob, network: ContainerNetwork
    ) -> Outcome:
        # A thread cannot be cancelled: left alone it would write on in a folder that is being removed.
        await to_the_end(asyncio.to_thread(make_scratch, scratch))
        await to_the_end(asyncio.to_thread(make_readable, job.input_folder))
        checkpoint, resumed = _checkpoint_folder(job, scratch)
        variables = dict(gpu_variables(job.gpus, kind=engine.kind))
        environment = {"HOME": "/tmp", **job.environment, "FAIRGRID_SEED": job.seed.hex(), **variables}
        environment |= proxy_environment(job.network)
        name = numbered_name(next_number(), prefix=CONTAINER_PREFIX)
        plan = Plan(
            name=name,
            image_id=image.image_id,
            entrypoint=image.entrypoint,
            command=job.arguments,
            limits=job.limits,
            input_folder=job.input_folder.resolve(),
            scratch=scratch.resolve(),
            checkpoint_folder=checkpoint.resolve() if checkpoint is not None else None,
            runtime=await self._machine.runtime(engine),
            # gVisor's kernel answers the job's calls itself, and has a list of its own for the machine's.
            seccomp=None if self._machine.is_gvisor else write_profile(engine.folder, has_gpus=bool(job.gpus)),
            is_gvisor=self._machine.is_gvisor,
            network=network.name,
            gpus=job.gpus,
            volumes=image.volumes,
            variables=environment_file(scratch / "environment", environment),
            open_files=open_files_limit(),
        )
        group = _group(engine, name, job.limits.memory_bytes)
        try:
            began = time.monotonic()
            running = await self._started(engine, plan, group, job, scratch)
            try:
                with self._suspension.holding(group.suspend, group.resume), _watched(job, scratch):
                    await self._attend(running)
            finally:
                await self._end(engine, name, running)
            return await to_the_end(asyncio.to_thread(_outcome, running, time.monotonic() - began, resumed))
        finally:
            await to_the_end(asyncio.to_thread(group.remove))

    async def _started(self, engine: Engine, plan: Plan, group: JobGroup, job: SandboxJob, scratch: Path) -> _Running:
        live = job.watch.folder if job.watch is not None else None
        starting = asyncio.create_subprocess_exec(
            *run_command(engine, plan),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(engine.environment),
            # When memory runs out, podman's monitor leaves an empty file `oom` where it was started.
            cwd=scratch,
            start_new_session=True,
        )
        try:
            process, cancelled = await settled(starting)
        except OSError as error:
            raise HostFailure(f"{engine.kind} cannot be started: {error}.") from error
        logs = [LogSink(job.limits.log_bytes, live / name if live else None) for name in ("stdout", "stderr")]
        running = _Running(job, scratch, group, process, (logs[0], logs[1]))
        if cancelled:
            # The engine may be making the container already, and killed half way it would leave it.
            await self._end(engine, plan.name, running)
            raise asyncio.CancelledError
        return running

    async def _attend(self, running: _Running) -> None:
        """Until the container ended, or a limit ended it."""
        assert running.process.stdout is not None and running.process.stderr is not None
        reading = asyncio.gather(
            _read(running.process.stdout, running.logs[0]),
            _read(running.process.stderr, running.logs[1]),
            running.process.wait(),
        )
        looking = asyncio.ensure_future(self._look(running))
        finding = asyncio.ensure_future(running.group.find()) if isinstance(running.group, SampledGroup) else None
        both = asyncio.ensure_future(asyncio.wait((reading, looking), return_when=asyncio.FIRST_COMPLETED))
        try:
            await self._suspension.wait_for(both, running.job.limits.wall_s)
            if running.strike.stop is None and looking.done():
                looking.result()
            if running.strike.stop is not None:
                await _killed(running, reading)
        except TimeoutError:
            running.strike.say(Stop.WALL_CLOCK, "killed after the wall-clock limit")
            await _killed(running, reading)
        finally:
            for task in (looking, finding, reading):
                if task is not None:
                    task.cancel()
            await asyncio.gather(looking, *((finding,) if finding else ()), reading, return_exceptions=True)

    async def _look(self, running: _Running) -> None:
        """Until a limit strikes that nobody but us enforces, or reports."""
        limits, number = running.job.limits, 0
        cpu_s = limits.cpu_s if limits.cpu_s is not None else limits.wall_s * limits.cpus
        device = running.scratch.stat().st_dev
        while running.strike.stop is None:
            reading = running.group.read()
            if reading.out_of_memory:
                running.strike.say(Stop.MEMORY)
            elif reading.cpu_s > cpu_s:
                running.strike.say(Stop.CPU)
            held = await asyncio.to_thread(measure, *running.writable, at_most=limits.output_files)
            size = held.size
            if number % _LOOK_CLOSELY == 0:
                size += await asyncio.to_thread(removed_bytes, running.group.pids(), device)
                _tell_progress(running)
            if held.files > limits.output_files:
                running.strike.say(Stop.OUTPUT, "files")
            elif size > limits.output_bytes:
                running.strike.say(Stop.OUTPUT, "bytes")
            number += 1
            await asyncio.sleep(_LOOK_S)

    async def _end(self, engine: Engine, name: str, running: _Running) -> None:
        """Nothing is left of the container when this returns; a cancellation meanwhile goes on afterwards."""
        try:
            await to_the_end(self._ended(engine, name, running))
        finally:
            for log in running.logs:
                log.close()

    async def _ended(self, engine: Engine, name: str, running: _Running) -> None:
        process, began = running.process, time.monotonic()
        was_killed = process.returncode is None
        while process.returncode is None:
            # The command itself is killed last: it may be half way through making the container.
            running.group.kill()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _KILL_S)
            waited = time.monotonic() - began
            if waited > _REMOVE_AFTER_S:
                await self._machine.remove(engine, name)
            if waited > _GIVE_UP_S and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if was_killed or process.returncode not in (0, None):
            # Removes itself; but not if its command was killed, or failed on the way.
            await self._machine.remove(engine, name)


def _group(engine: Engine, name: str, memory_bytes: int) -> JobGroup:
    if engine.owns_groups:
        return group_around(name, memory_bytes, parent=engine.group_parent)
    return SampledGroup(engine, name)


def _checkpoint_folder(job: SandboxJob, scratch: Path) -> tuple[Path | None, bool]:
    """Where the job keeps its checkpoint, and whether it goes on from one."""
    if not job.checkpoint:
        return None, False
    folder = job.checkpoint_folder if job.checkpoint_folder is not None else scratch / "checkpoint"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    return folder, any(folder.iterdir())


@contextlib.contextmanager
def _watched(job: SandboxJob, scratch: Path) -> Iterator[None]:
    """Let the caller ask for snapshots while the container runs."""
    if job.watch is None:
        yield
        return

    async def snapshot(destination: Path, max_bytes: int) -> bool:
        try:
            await asyncio.to_thread(copy_plain_files, scratch / "out", destination, max_bytes)
        except OSError:
            return False
        return True

    with job.watch.attached(snapshot):
        yield


def _tell_progress(running: _Running) -> None:
    if running.job.watch is None:
        return
    data = read_end(running.scratch / "fairgrid", "progress")
    if data is not None:
        new = running.job.watch.folder / ".progress.new"
        with contextlib.suppress(OSError):
            new.write_bytes(data)
            new.replace(running.job.watch.folder / "progress")


async def _read(stream: asyncio.StreamReader, log: LogSink) -> None:
    while data := await stream.read(_READ_BYTES):
        log.add(data)


async def _killed(running: _Running, reading: asyncio.Future[Any]) -> None:
    """Kill what is in the group until the engine's command sees that it is over."""
    until = time.monotonic() + _REMOVE_AFTER_S
    while not reading.done() and time.monotonic() < until:
        running.group.kill()
        await asyncio.wait((reading,), timeout=_KILL_S)


def _outcome(running: _Running, wall_s: float, resumed: bool) -> Outcome:
    """Called when it is over."""
    job, status = running.job, running.process.returncode or 0
    _tell_progress(running)
    reading = running.group.read()
    if reading.out_of_memory:
        running.strike.say(Stop.MEMORY)
    elif status == 137 and running.strike.stop is None and isinstance(running.group, SampledGroup):
        if reading.peak_memory_bytes > job.limits.memory_bytes * 0.9:
            running.strike.say(Stop.MEMORY)
    if running.strike.stop is None:
        held = measure(*running.writable, at_most=job.limits.output_files)
        if held.files > job.limits.output_files:
            running.strike.say(Stop.OUTPUT, "files")
        elif held.size > job.limits.output_bytes:
            running.strike.say(Stop.OUTPUT, "bytes")
    stdout, stderr = (log.contents() for log in running.logs)
    if running.strike.stop is None and _is_engines_fault(status, stderr):
        running.strike.say(Stop.HOST, f"the engine said: {' '.join(stderr.decode(errors='replace').split())[-600:]}")
    written = take(running.scratch / "out", job.output_folder) if running.strike.stop is None else 0
    return Outcome(
        stop=running.strike.stop or Stop.EXITED,
        exit_code=status if running.strike.stop is None else 0,
        stdout=stdout,
        stderr=stderr,
        fuel_used=0,
        wall_s=wall_s,
        peak_memory_bytes=reading.peak_memory_bytes,
        detail=running.strike.detail,
        resumed=resumed,
        cpu_s=reading.cpu_s,
        written_bytes=written,
    )


def _is_engines_fault(status: int, stderr: bytes) -> bool:
    """True if the container never started, and not for want of the program that it was to run.

    A program may end like that, too; then nothing is contributed for it.
    """
    if status < 0:
        return True
    said = stderr.startswith(b"Error: ") or b"\nError: " in stderr or b"docker: " in stderr
    return status in _ENGINES_STATUS and said and not any(text in stderr for text in _NO_PROGRAM)
