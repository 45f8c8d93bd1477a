"""Start-up, throughput and idle memory of isolation levels, each beside the bare tool in the same run.

``python -m bench.sandbox [LEVEL …] [--runs N]`` prints a table. A level takes part by a function ``() -> Contest`` in
`CONTESTS`: how a job that does nothing is run through its sandbox, and what the tool alone takes for the same.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import structlog
import wasmtime

from fairgrid.errors import FairgridError, HostFailure
from fairgrid.runtime.catalogue import CATALOGUE
from fairgrid.runtime.container.engines import Engine, find_engine
from fairgrid.runtime.container.image_check import read_head
from fairgrid.runtime.container.image_files import ArchiveFiles
from fairgrid.runtime.container.provider import provider
from fairgrid.runtime.container.runtimes import ARCHITECTURE_OF
from fairgrid.runtime.container.settings import ContainerSettings
from fairgrid.runtime.container.small_images import write_nothing_image
from fairgrid.runtime.interface import Limits, Outcome, Sandbox, SandboxJob, Stop
from fairgrid.runtime.process.bubblewrap import find_bubblewrap
from fairgrid.runtime.process.provider import provider as native_provider
from fairgrid.runtime.vm.disks import write_in_disk, write_out_disk
from fairgrid.runtime.vm.provider import QemuProvider
from fairgrid.runtime.vm.qemu import MachineFiles, find_qemu, machine_command
from fairgrid.runtime.wasm.engine import load_module, new_engine
from fairgrid.runtime.wasm.interpreters import find_runtime
from fairgrid.runtime.wasm.launch import GUEST_FILES, Launch, guest_command
from fairgrid.runtime.wasm.provider import provider as wasm_provider
from fairgrid.runtime.wasm.sandbox import ModuleSandbox, WasmSandbox

__all__ = ["CONTESTS", "Contest", "Target", "main"]

_SIDE_BY_SIDE = 2
_LIMITS = Limits(fuel=10**10, memory_bytes=64 << 20, wall_s=60.0)


@dataclass(frozen=True, slots=True)
class Target:
    """What a job may take at most, each by the medians of one run; None: that is not asked."""

    ratio: float | None = None
    """Times the bare tool."""
    over_ms: float | None = None
    """Milliseconds more than the bare tool."""
    ms: float | None = None

    def __str__(self) -> str:
        asked = (
            f"at most {self.ratio} bare" if self.ratio is not None else "",
            f"at most {self.over_ms:g} ms over bare" if self.over_ms is not None else "",
            f"at most {self.ms:g} ms" if self.ms is not None else "",
        )
        return ", ".join(filter(None, asked)) or "none: a new process"

    def verdict(self, ours_ms: float, bare_ms: float) -> str:
        """``met``, ``missed``, or ``-`` where nothing is asked."""
        limits = (
            None if self.ratio is None else self.ratio * bare_ms,
            None if self.over_ms is None else self.over_ms + bare_ms,
            self.ms,
        )
        asked = [limit for limit in limits if limit is not None]
        return "-" if not asked else "met" if ours_ms <= min(asked) else "missed"


@dataclass(frozen=True, slots=True)
class Contest:
    """One level against its bare tool."""

    name: str
    sandbox: Sandbox
    program: Callable[[Path], Path]
    """Writes the program that does nothing into a folder."""
    bare: Callable[[], Awaitable[list[str]]]
    """The tool's own command for the same, once the sandbox ran it; empty: there is none."""
    environment: Callable[[], Awaitable[dict[str, str]]]
    target: Target
    limits: Limits
    inputs: Callable[[], Collection[Path]] = tuple
    """Files that each job finds among its inputs."""
    here: Callable[[], None] | None = None
    """What the bare tool does for the same in this process; then there is no command of its own."""
    settled: Callable[[int], Awaitable[None]] | None = None
    """Waits until so many jobs would find what is kept ready for them."""
    slot_mib: Callable[[], float] | None = None
    """Memory of an idle slot, where that is not in this process."""


def _docker_of_our_own() -> None:
    """Start a daemon for this run where none answers, as the tests do; it ends with this process."""
    there = (
        subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=60)
        if shutil.which("docker")
        else None
    )
    if there is not None and there.returncode and shutil.which("dockerd") and os.geteuid() == 0:
        from tests.containers import docker_daemon

        docker_daemon()


def _container(engine_name: str, runtime_id: str) -> Contest:
    if engine_name == "docker":
        _docker_of_our_own()
    settings = ContainerSettings(engine=engine_name)
    sandbox = provider(CATALOGUE[runtime_id], settings).sandbox()
    architecture = ARCHITECTURE_OF[runtime_id]
    image: list[str] = []

    def program(folder: Path) -> Path:
        path = folder / "nothing.oci.tar"
        write_nothing_image(path, architecture)
        with ArchiveFiles.opened(path) as files:
            image[:] = [read_head(files, architecture=architecture).image_id]
        return path

    async def engine() -> Engine:
        return await find_engine(engine_name)

    async def bare() -> list[str]:
        # The same walls as a user would ask for by hand: bare means without us, not without a sandbox.
        found = await engine()
        files = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
        walls = ("--network", "none", "--read-only", "--cap-drop", "ALL", "--user", "65534:65534", "--memory", "64m")
        return found.command("run", "--rm", "--pull=never", *walls, *files, image[0])

    async def environment() -> dict[str, str]:
        return dict((await engine()).environment)

    return Contest(engine_name, sandbox, program, bare, environment, Target(ratio=1.2), _LIMITS)


_NOTHING = "#!/bin/sh\n"
_USR_LINKS = ("bin", "sbin", "lib", "lib64")


def _process() -> Contest:
    sandbox = native_provider(CATALOGUE[f"process/linux-{platform.machine()}"]).sandbox()
    script: list[Path] = []

    def program(folder: Path) -> Path:
        script[:] = [folder / "nothing.sh"]
        script[0].write_text(_NOTHING)
        script[0].chmod(0o755)
        return script[0]

    async def bare() -> list[str]:
        # The namespaces and the view of the machine that a user would ask for by hand.
        words = [find_bubblewrap().path, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
        words += ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        for name in _USR_LINKS:
            words += ["--symlink", f"usr/{name}", f"/{name}"]
        return [*words, "--ro-bind", str(script[0]), "/app", "/bin/sh", "/app"]

    return Contest("process", sandbox, program, bare, _environment, Target(ms=60), _LIMITS)


_RECIPE = Path(__file__).parents[1] / "examples" / "virtual_image" / "build.sh"
_VM_LIMITS = Limits(fuel=0, memory_bytes=128 << 20, wall_s=300.0)


def _vm() -> Contest:
    """A machine that boots, runs an empty script, writes its result and ends."""
    machine = QemuProvider(CATALOGUE["vm/x86_64"])
    if not asyncio.run(machine.probe()).works:
        raise HostFailure("no virtual machine runs here")
    qemu = find_qemu()
    assert qemu is not None
    place: list[Path] = []

    def program(folder: Path) -> Path:
        place[:] = [folder / "image"]
        built = subprocess.run([_RECIPE, place[0]], capture_output=True, text=True, timeout=300, check=False)
        if built.returncode:
            raise HostFailure(f"the image cannot be built here: {built.stderr[-300:]}")
        (place[0] / "main.sh").write_text("")
        return place[0] / "image.vm.json"

    async def bare() -> list[str]:
        folder = place[0]
        (folder / "in").mkdir()
        (folder / "in" / "main.sh").write_text("")
        job = SandboxJob(folder / "image.vm.json", (), folder / "in", folder, {}, bytes(32), _VM_LIMITS)
        write_in_disk(folder / "in.img", job, leave_out=())
        write_out_disk(folder / "out.img", _VM_LIMITS)
        files = MachineFiles(
            in_disk=folder / "in.img",
            out_disk=folder / "out.img",
            kernel=folder / "vmlinuz",
            initrd=folder / "initrd.img",
        )
        return machine_command(qemu, machine.accelerator, files, _VM_LIMITS, stdout_fd=2)

    def inputs() -> Collection[Path]:
        return [place[0] / name for name in ("vmlinuz", "initrd.img", "main.sh")]

    return Contest("vm", machine.sandbox(), program, bare, _environment, Target(ratio=1.2), _VM_LIMITS, inputs)


# (module (memory (export "memory") 1) (func (export "_start")))
_NO_MODULE = bytes.fromhex(
    "0061736d01000000010401600000030201000503010001071302066d656d6f72790200065f737461727400000a040102000b"
)
_MODULES, _PYTHON = "wasmtime-49/wasi/deterministic", "wasmtime-49/py312/deterministic"


def _wasm(runtime_id: str, *, ready: int) -> Contest:
    """An empty module, or an empty script in CPython, each against the engine alone in this process, warm.

    The engine alone runs the same command with the same folders: for a script the prelude, which reads and runs it.
    """
    sandbox = wasm_provider(CATALOGUE[runtime_id]).sandbox(ready=ready)
    assert isinstance(sandbox, ModuleSandbox | WasmSandbox)
    is_script = runtime_id == _PYTHON
    engine = new_engine()
    module = load_module(engine, find_runtime(_PYTHON).compiled) if is_script else wasmtime.Module(engine, _NO_MODULE)

    mounts: dict[str, Path] = {}

    def program(folder: Path) -> Path:
        path = folder / ("nothing.py" if is_script else "nothing.wasm")
        path.write_bytes(b"" if is_script else _NO_MODULE)
        for name in ("iexec_in", "iexec_out", "iexec_app", ".fairgrid", "tmp"):
            mounts[f"/{name}"] = folder / "bare" / name
            mounts[f"/{name}"].mkdir(parents=True)
        shutil.copy(path, mounts["/iexec_app"])
        for name, file in GUEST_FILES[Launch.PYTHON].items():
            shutil.copy(file, mounts["/.fairgrid"] / name)
        return path

    def here() -> None:
        store = wasmtime.Store(engine)
        store.set_fuel(_LIMITS.fuel)
        store.set_epoch_deadline(1)
        linker = wasmtime.Linker(engine)
        if is_script:
            settings = wasmtime.WasiConfig()
            settings.argv = guest_command(Launch.PYTHON, "nothing.py", ())
            for guest_path, folder in mounts.items():
                settings.preopen_dir(str(folder), guest_path)
            store.set_wasi(settings)
            linker.define_wasi()
        start = linker.instantiate(store, module).exports(store)["_start"]
        assert isinstance(start, wasmtime.Func)
        try:
            start(store)
        except wasmtime.ExitTrap as end:
            assert end.code == 0, "the bare engine failed"

    async def settled(jobs: int) -> None:
        while sandbox.ready_processes < min(jobs, ready):  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)

    async def bare() -> list[str]:
        return []

    def slot_mib() -> float:
        found = []
        for one in psutil.Process().children():
            # The last job's process may have ended, and nobody has waited for it yet.
            with contextlib.suppress(psutil.NoSuchProcess):
                if any("ready_host" in word for word in one.cmdline()):
                    found.append(one)
        return statistics.mean([one.memory_full_info().uss for one in found] or [0]) / (1 << 20)

    target = Target(over_ms=5) if ready else Target()
    name = f"{'CPython' if is_script else 'module'}, {'a process waits' if ready else 'a new process'}"
    limits = Limits(fuel=10**10, memory_bytes=256 << 20, wall_s=60.0)
    return Contest(
        name, sandbox, program, bare, _environment, target, limits, here=here, settled=settled, slot_mib=slot_mib
    )


async def _environment() -> dict[str, str]:
    return dict(os.environ)


CONTESTS: dict[str, Callable[[], Contest]] = {
    "podman": lambda: _container("podman", "oci/linux-x86_64"),
    "docker": lambda: _container("docker", "oci/linux-x86_64"),
    "process": _process,
    "wasm": lambda: _wasm(_MODULES, ready=0),
    "wasm-warm": lambda: _wasm(_MODULES, ready=_SIDE_BY_SIDE),
    "wasm-python": lambda: _wasm(_PYTHON, ready=0),
    "wasm-python-warm": lambda: _wasm(_PYTHON, ready=_SIDE_BY_SIDE),
    "vm": _vm,
}


async def measure(contest: Contest, runs: int) -> dict[str, Any]:
    """Median time of a job and of the bare tool by turns, jobs a second side by side, memory of an idle slot."""
    with tempfile.TemporaryDirectory(prefix="fairgrid-bench-") as temporary:
        folder = Path(temporary)
        program = contest.program(folder)
        numbers = iter(range(1_000_000))

        async def job() -> float:
            base = folder / str(next(numbers))
            for name in ("in", "out"):
                (base / name).mkdir(parents=True)
            for path in contest.inputs():
                os.link(path, base / "in" / path.name)
            began = time.monotonic()
            outcome: Outcome = await contest.sandbox.run(
                SandboxJob(program, (), base / "in", base / "out", {}, bytes(32), contest.limits)
            )
            assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 0), outcome
            return time.monotonic() - began

        idle = psutil.Process().memory_info().rss
        await job()
        command, environment = await contest.bare(), await contest.environment()
        ours, theirs = [], []
        for _ in range(runs):
            if contest.settled is not None:
                await contest.settled(_SIDE_BY_SIDE)
            ours.append(await job())
            began = time.monotonic()
            if contest.here is not None:
                contest.here()
            else:
                subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)  # noqa: ASYNC221
            theirs.append(time.monotonic() - began)
        began = time.monotonic()
        for _ in range(0, runs, _SIDE_BY_SIDE):
            await asyncio.gather(*(job() for _ in range(_SIDE_BY_SIDE)))
        rate = runs / (time.monotonic() - began)
        if contest.settled is not None:
            await contest.settled(_SIDE_BY_SIDE)
        slot_mib = contest.slot_mib() if contest.slot_mib is not None else None
        await contest.sandbox.close()
        return {
            "least_ms": min(ours) * 1000,
            "least_bare_ms": min(theirs) * 1000,
            "ours_ms": statistics.median(ours) * 1000,
            "bare_ms": statistics.median(theirs) * 1000,
            "ratio": statistics.median(ours) / statistics.median(theirs),
            "jobs_per_s": rate,
            "idle_mib": (psutil.Process().memory_info().rss - idle) / (1 << 20) if slot_mib is None else slot_mib,
        }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("levels", nargs="*", default=list(CONTESTS), metavar="LEVEL", help=", ".join(CONTESTS))
    parser.add_argument("--runs", type=int, default=10, help="how often each is run (default 10)")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs, {given.runs} runs each, by turns")
    print(
        "| level | a job | bare tool | ratio | target | verdict | jobs a second, 2 at once | memory of an idle slot |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in given.levels:
        try:
            contest = CONTESTS[name]()
            found = asyncio.run(measure(contest, given.runs))
        except (FairgridError, KeyError, AssertionError, OSError, subprocess.SubprocessError) as error:
            print(f"| {name} | not measured: {error!r:.300} | | | | | | |", flush=True)
            continue
        verdict = contest.target.verdict(found["ours_ms"], found["bare_ms"])
        print(
            f"| {name} | {found['ours_ms']:.1f} ms (least {found['least_ms']:.1f}) | "
            f"{found['bare_ms']:.1f} ms (least {found['least_bare_ms']:.1f}) | {found['ratio']:.2f} | "
            f"{contest.target} | {verdict} | {found['jobs_per_s']:.1f} | {found['idle_mib']:.1f} MiB |"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
