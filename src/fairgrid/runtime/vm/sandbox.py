"""A job in a virtual machine of its own, under QEMU: an own kernel, no network card, two disks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure, UsageError
from fairgrid.runtime.children import end_child, start_child
from fairgrid.runtime.interface import Limits, Outcome, SandboxJob, Stop
from fairgrid.runtime.log_sink import LogSink
from fairgrid.runtime.removal import remove_tree
from fairgrid.runtime.suspension import SuspendableSandbox
from fairgrid.runtime.vm.disks import ResultTooLarge, is_untouched, read_out_disk, write_in_disk, write_out_disk
from fairgrid.runtime.vm.image import VirtualImage, disk_fault, kernel_fault, read_image
from fairgrid.runtime.vm.panic import early_panic
from fairgrid.runtime.vm.qemu import Accelerator, MachineFiles, machine_command

__all__ = ["NO_RESULT_EXIT", "UNUSABLE_EXIT", "VmSandbox"]

UNUSABLE_EXIT: Final = 126
"""Exit code of a job whose image cannot be booted, as a shell reports a program that is none."""
NO_RESULT_EXIT: Final = 125
"""Exit code of a machine that ended without writing a result."""
_CONSOLE_BYTES: Final = 65_536
_SPARE_BYTES: Final = 64 << 20
_OPEN_FILES: Final = 512
_READ: Final = 65_536
_END_S: Final = 10.0
_REPORT_S: Final = 5.0


class VmSandbox(SuspendableSandbox):
    """Boots a virtual image for each job; ``accelerator`` is what the self-test found."""

    def __init__(self, qemu: str, accelerator: Accelerator, runtime_id: str) -> None:
        self._qemu = qemu
        self._accelerator = accelerator
        super().__init__(runtime_id)

    async def run(self, job: SandboxJob) -> Outcome:
        """Boot, wait until the machine ends by itself or at a limit, and take its result off its disk.

        Raises:
            HostFailure: QEMU cannot be started.
        """
        if job.network is not None:
            raise HostFailure("A virtual machine has no network card here, and the job asks for the network.")
        scratch = Path(tempfile.mkdtemp(prefix="machine-", dir=job.output_folder.parent))
        try:
            return await self._run_in(scratch, job)
        finally:
            await asyncio.to_thread(remove_tree, scratch)

    async def _run_in(self, scratch: Path, job: SandboxJob) -> Outcome:
        try:
            files = await asyncio.to_thread(_lay_out, scratch, job)
        except UsageError as error:
            return _ended(UNUSABLE_EXIT, stderr=f"{error}\n".encode())
        live = job.watch.folder if job.watch is not None else None
        console = LogSink(_CONSOLE_BYTES, live / "stderr" if live is not None else None)
        printed = LogSink(job.limits.log_bytes, live / "stdout" if live is not None else None)
        started = time.monotonic()
        try:
            status, said = await self._boot(scratch, files, job.limits, console.add, printed.add)
        except TimeoutError:
            detail = "the machine was ended after the wall-clock limit"
            used = _used(scratch)
            return Outcome(Stop.WALL_CLOCK, 0, b"", b"", 0, job.limits.wall_s, used[1], detail, cpu_s=used[0])
        finally:
            console.close()
            printed.close()
        used = _used(scratch)
        wall_s = time.monotonic() - started
        if used[0] >= _most_cpu_s(job.limits):
            return Outcome(Stop.CPU, 0, b"", b"", 0, wall_s, used[1], "processor time", cpu_s=used[0])
        if status != 0:
            detail = f"QEMU ended with status {status}: {said or 'no message'}"
            return Outcome(Stop.HOST, 0, b"", b"", 0, wall_s, used[1], detail, cpu_s=used[0])
        return await asyncio.to_thread(_result, scratch, job, console.contents(), printed.contents(), wall_s, used)

    async def _boot(
        self,
        scratch: Path,
        files: MachineFiles,
        limits: Limits,
        console: Callable[[bytes], None],
        printed: Callable[[bytes], None],
    ) -> tuple[int, str]:
        """Status of QEMU and its own words.

        Raises:
            TimeoutError: the wall-clock limit passed; the machine is gone.
        """
        reading, writing = os.pipe()
        try:
            command = machine_command(self._qemu, self._accelerator, files, limits, stdout_fd=writing)
            process = await start_child(
                *(sys.executable, "-I", "-m", "fairgrid.runtime.vm.launch"),
                json.dumps(_system_limits(limits)),
                str(scratch / "used.json"),
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=scratch,
                env={"PATH": os.defpath, "LANG": "C.UTF-8", "TMPDIR": str(scratch)},
                pass_fds=(writing,),
            )
        except BaseException as error:
            os.close(reading)
            if isinstance(error, OSError):
                raise HostFailure(f"QEMU cannot be started: {error}.") from error
            raise
        finally:
            os.close(writing)
        assert process.stdout is not None and process.stderr is not None
        said = LogSink(_CONSOLE_BYTES)
        try:
            job_output = await _open(reading)
            both = asyncio.gather(
                _pump(process.stdout, console), _pump(job_output, printed), _pump(process.stderr, said.add)
            )
            with self._suspension.running(process.pid):
                await self._suspension.wait_for(both, limits.wall_s)
                await self._suspension.wait_for(process.wait(), _END_S)
        except TimeoutError:
            # Told to end QEMU, the process between writes down what it used.
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                process.terminate()
                await asyncio.wait_for(process.wait(), _REPORT_S)
            raise
        finally:
            await end_child(process)
        assert process.returncode is not None
        return process.returncode, said.contents().decode(errors="replace").strip()[:1000]


def _lay_out(scratch: Path, job: SandboxJob) -> MachineFiles:
    """The machine's files; the image is looked at first.

    Raises:
        UsageError: the image cannot be booted; the text says why.
    """
    image = read_image(job.script)
    by_name = {name: _part(name, job, image) for name in image.parts}
    if image.kernel and (fault := kernel_fault(by_name[image.kernel])):
        raise UsageError(f"The kernel {image.kernel} cannot be booted: {fault}.")
    if image.disk and (fault := disk_fault(by_name[image.disk])):
        raise UsageError(f"The disk {image.disk} is refused: {fault}.")
    in_disk, out_disk = scratch / "in.img", scratch / "out.img"
    write_in_disk(in_disk, job, leave_out=image.parts)
    write_out_disk(out_disk, job.limits)
    return MachineFiles(
        in_disk=in_disk,
        out_disk=out_disk,
        kernel=by_name.get(image.kernel),
        initrd=by_name.get(image.initrd),
        disk=by_name.get(image.disk),
        append=image.append,
    )


def _part(name: str, job: SandboxJob, image: VirtualImage) -> Path:
    path = job.script if name == job.script.name and name == image.disk else job.input_folder / name
    if not path.is_file():
        raise UsageError(f"The image names its part {name}, and no input of the job has that name.")
    return path.resolve()


def _result(
    scratch: Path, job: SandboxJob, console: bytes, printed: bytes, wall_s: float, used: tuple[float, int]
) -> Outcome:
    cpu_s, peak = used
    try:
        found = read_out_disk(scratch / "out.img", job.limits, job.output_folder)
    except ResultTooLarge as error:
        detail = "files" if str(error) == "files" else ""
        return Outcome(Stop.OUTPUT, 0, printed, b"", 0, wall_s, peak, detail, cpu_s=cpu_s)
    if found is None:
        reason = early_panic(console) if not printed and is_untouched(scratch / "out.img") else None
        if reason is not None:
            detail = f"its kernel panicked before it started the image ({reason}), which another machine may do better"
            return Outcome(Stop.HOST, 0, b"", b"", 0, wall_s, peak, detail, cpu_s=cpu_s)
        text = b"The machine ended and wrote no result to its disk fairgrid-out. The end of its console:\n"
        return _ended(NO_RESULT_EXIT, stdout=printed, stderr=text + console[-4096:], wall_s=wall_s, used=used)
    sink = LogSink(job.limits.log_bytes)
    sink.add(found.stderr)
    return Outcome(
        stop=Stop.EXITED,
        exit_code=found.exit_code,
        stdout=printed,
        stderr=sink.contents(),
        fuel_used=0,
        wall_s=wall_s,
        peak_memory_bytes=peak,
        cpu_s=cpu_s,
        written_bytes=found.written_bytes,
    )


def _ended(
    exit_code: int,
    *,
    stdout: bytes = b"",
    stderr: bytes = b"",
    wall_s: float = 0.0,
    used: tuple[float, int] = (0.0, 0),
) -> Outcome:
    return Outcome(Stop.EXITED, exit_code, stdout, stderr, 0, wall_s, used[1], cpu_s=used[0])


def _system_limits(limits: Limits) -> dict[str, int]:
    """Backstops of the operating system: what a hostile guest could make QEMU do."""
    return {
        "CORE": 0,
        "CPU": int(_most_cpu_s(limits)) + 1,
        # The output disk, and what the guest writes to its own disk.
        "FSIZE": 2 * limits.output_bytes + _SPARE_BYTES,
        "NOFILE": _OPEN_FILES,
    }


def _most_cpu_s(limits: Limits) -> float:
    """Processor time that QEMU may take: the job's limit, or all its processors and one for the devices, all along."""
    return limits.cpu_s if limits.cpu_s is not None else limits.wall_s * (limits.cpus + 1)


def _used(scratch: Path) -> tuple[float, int]:
    """Seconds of processor time and bytes of memory that QEMU took at most."""
    try:
        report = json.loads((scratch / "used.json").read_bytes())
        return float(report["cpu_s"]), int(report["peak_bytes"])
    except (OSError, ValueError, KeyError):
        return 0.0, 0


async def _open(descriptor: int) -> asyncio.StreamReader:
    """A reader of a pipe, which is closed with its transport."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0))
    return reader


async def _pump(stream: asyncio.StreamReader, sink: Callable[[bytes], None]) -> None:
    while chunk := await stream.read(_READ):
        sink(chunk)
