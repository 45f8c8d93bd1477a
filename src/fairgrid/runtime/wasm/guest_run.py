"""One guest: the interpreter's instance with its store, memory, files and system calls, run to its end."""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import wasmtime

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Limits, Outcome, Stop
from fairgrid.runtime.log_sink import LogSink
from fairgrid.runtime.wasm.checkpoint import GuestCheckpoint
from fairgrid.runtime.wasm.engine import EngineClass
from fairgrid.runtime.wasm.guest_faults import GuestError, GuestTrapped, HostTrouble, OutputLimitReached
from fairgrid.runtime.wasm.host_functions import Answer
from fairgrid.runtime.wasm.host_job import HostJob
from fairgrid.runtime.wasm.launch import ENTRY, GUEST_FILES, LIBRARY_FOLDER, Launch, guest_command, guest_environment
from fairgrid.runtime.wasm.loaded import LoadedProgram
from fairgrid.runtime.wasm.store_values import FuelExhausted, FuelMeter, MemoryPlace
from fairgrid.runtime.wasm.wasi_calls import CALL_FUEL, GuestExit, WasiCalls
from fairgrid.runtime.wasm.wasi_file_calls import WasiFileCalls
from fairgrid.runtime.wasm.wasi_handles import FolderHandle, HandleTable, StreamHandle
from fairgrid.runtime.wasm.wasi_memory import GuestMemory
from fairgrid.runtime.wasm.wasi_signatures import WASI_MODULE, WASI_SIGNATURES
from fairgrid.runtime.wasm.wasi_state import LogicalClock, SeededRandom
from fairgrid.runtime.wasm.wasi_tree import Budget, Tree

__all__ = [
    "MEMORY_EXIT",
    "TRAP_EXIT",
    "FuelExhausted",
    "Guest",
    "Interrupted",
    "MemoryRefused",
    "check_allocation",
    "guest_class",
    "run_guest",
]

MEMORY_EXIT = 0x46474D45
"""The code by which the prelude says that nobody caught a MemoryError."""
TRAP_EXIT = 134
"""Exit code of a guest that trapped, as a shell reports an abort."""

_WASM_PAGE = 65_536
_TICK_S = 0.5
_DOOR = ("host", "call")
"""By this import scientific Python would ask its host for tools; there are none here."""
_DOOR_IS_SHUT = -1
_FROM_ROOT = (Launch.QUICKJS, Launch.MODULE, Launch.COMPONENT)
"""Kinds of programs whose relative paths begin at a mount of that name."""


class Interrupted(Exception):
    """The guest's time was over."""


class MemoryRefused(Exception):
    """The guest could not begin with the memory that it wants."""


class Guest:
    """One instance of the interpreter with its store, memory and system calls."""

    TABLE_ELEMENTS = 1 << 20

    def __init__(self, job: HostJob, loaded: LoadedProgram) -> None:
        limits = job.limits
        self._limits = limits
        self._output_folder = Path(job.output_folder)
        self._launch = job.launch
        self._interrupted_by = Stop.WALL_CLOCK
        self._engine = loaded.engine
        self._store = wasmtime.Store(self._engine)
        self._store.set_limits(memory_size=limits.memory_bytes, table_elements=self.TABLE_ELEMENTS)
        self._meter = FuelMeter(self._store) if job.engine_class is EngineClass.DETERMINISTIC else None
        if self._meter is not None:
            self._meter.set(limits.fuel)
        self._store.set_epoch_deadline(1)
        self._memory: wasmtime.Memory | None = None
        self._place: MemoryPlace | None = None
        self._location: tuple[int, int] | None = None
        live = Path(job.live_folder) if job.live_folder else None
        self.stdout, self.stderr = (
            LogSink(limits.log_bytes, live / name if live is not None else None) for name in ("stdout", "stderr")
        )
        self._tree = Tree(
            scratch=Path(job.scratch_folder),
            budget=Budget(limits.output_bytes, limits.output_files),
            start_ns=LogicalClock().now_ns,
        )
        self._outputs = self._tree.writable_folder()
        self.checkpoint = self._offer_checkpoint(job) if job.checkpoint else None
        self._handles = HandleTable(
            self._tree,
            [
                StreamHandle(None),
                StreamHandle(self.stdout),
                StreamHandle(self.stderr),
                FolderHandle(self._tree.read_only_folder(Path(job.input_folder)), "/iexec_in"),
                FolderHandle(self._outputs, "/iexec_out"),
                FolderHandle(self._tree.read_only_files({job.script_path.name: job.script_path}), "/iexec_app"),
                FolderHandle(ours := self._tree.read_only_files(GUEST_FILES[job.launch]), "/.fairgrid"),
                FolderHandle(self._tree.writable_folder(), "/tmp"),
                *([FolderHandle(self.checkpoint.root, "/fairgrid_checkpoint")] if self.checkpoint is not None else []),
                # C's library resolves relative paths against this one; CPython's prelude changes to the folder itself.
                *([FolderHandle(self._outputs, ".")] if job.launch in _FROM_ROOT else []),
                *self._library_of(job),
            ],
        )
        if self.checkpoint is not None:
            self.checkpoint.fill(LogicalClock().now_ns)
        self._tree.add_writable_file(ours, "progress", (live or Path(job.scratch_folder)) / "progress")
        self._load(job, loaded)

    def _load(self, job: HostJob, loaded: LoadedProgram) -> None:
        """Make the calls, and map what is run."""
        memory, clock = GuestMemory(self._locate_memory), LogicalClock()
        self._calls = WasiCalls(
            memory=memory,
            charge=self._charge,
            clock=clock,
            random=SeededRandom(bytes.fromhex(job.seed)),
            arguments=guest_command(job.launch, job.script_path.name, job.arguments),
            environment=guest_environment(job.launch, job.environment),
        )
        self._file_calls = WasiFileCalls(
            memory=memory,
            charge=self._charge,
            tree=self._tree,
            handles=self._handles,
            clock=clock,
            moved=self.checkpoint.moved if self.checkpoint is not None else None,
            removed=self.checkpoint.removed if self.checkpoint is not None else None,
        )
        self._module = loaded.module_of(Path(job.compiled))

    def _library_of(self, job: HostJob) -> list[FolderHandle]:
        if not job.library:
            return []
        return [FolderHandle(self._tree.read_only_files({job.library_name: Path(job.library)}), LIBRARY_FOLDER)]

    def _offer_checkpoint(self, job: HostJob) -> GuestCheckpoint:
        checkpoint = GuestCheckpoint(
            self._tree,
            Path(job.checkpoint_folder) if job.checkpoint_folder else None,
            stdout=self.stdout,
            stderr=self.stderr,
            fuel_limit=job.limits.fuel,
            spent=self.fuel_used,
            charge=self._charge,
        )
        if checkpoint.loaded is not None and self._meter is not None:
            self._meter.set(job.limits.fuel - checkpoint.loaded.fuel)
        return checkpoint

    @property
    def resumed(self) -> bool:
        """It went on from a checkpoint."""
        return self.checkpoint is not None and self.checkpoint.loaded is not None

    def snapshot(self, destination: Path, max_bytes: int, max_files: int) -> None:
        """Copy the output folder as it is now; from another thread, while the guest runs."""
        partial = destination.with_name(destination.name + ".partial")
        self._tree.copy_now(self._outputs, partial, max_bytes=max_bytes, max_files=max_files)
        partial.rename(destination)

    def run(self) -> None:
        """Run to the end; how it ended is the exception that leaves, `GuestExit` being the usual one."""
        with self._module.answered_by(self._find):
            exports = self._module.instantiate(self._store).exports(self._store)
            self._memory = exports["memory"]
            self._place = MemoryPlace(self._store, self._memory)
            code = exports[ENTRY[self._launch]](self._store)
        raise GuestExit(code & 0xFFFF_FFFF if isinstance(code, int) else 0)

    def interrupt(self, why: Stop) -> None:
        """Stop the guest from another thread, because its time is over."""
        self._interrupted_by = why
        self._engine.increment_epoch()

    @property
    def interrupted_by(self) -> Stop:
        """Whose time was over."""
        return self._interrupted_by

    @property
    def program(self) -> str:
        """What the engine runs, for people: "interpreter" or "program"."""
        return "program" if self._launch in (Launch.MODULE, Launch.COMPONENT) else "interpreter"

    def fuel_used(self) -> int:
        """Fuel spent so far; 0 where nothing is metered."""
        return self._limits.fuel - self._meter.left() if self._meter is not None else 0

    def memory_bytes(self) -> int:
        """Size of the guest's memory, which never shrinks."""
        return 0 if self._memory is None else int(self._memory.data_len(self._store))

    def finish(self, *, keep_output: bool) -> None:
        """Close files, and hand the output over if the guest ended by itself."""
        self._handles.close_all()
        self.stdout.close()
        self.stderr.close()
        if keep_output:
            self._tree.hand_over(self._outputs, self._output_folder)

    def check_memory(self) -> None:
        """Prove that the machine could have given the guest all the memory of its limit.

        A guest that was refused memory by the machine, not by its limit, would differ from the same job elsewhere.

        Raises:
            HostTrouble: the machine refuses.
        """
        missing = (self._limits.memory_bytes - self.memory_bytes()) // _WASM_PAGE
        if self._memory is None or missing <= 0:
            return
        try:
            self._memory.grow(self._store, missing)
        except wasmtime.WasmtimeError as error:
            raise HostTrouble(f"this machine has not {self._limits.memory_bytes} bytes of memory for a job") from error

    def _find(self, module: str, name: str) -> Answer:
        if (module, name) == _DOOR:
            return lambda *_: _DOOR_IS_SHUT
        if module != WASI_MODULE or name not in WASI_SIGNATURES:
            raise HostTrouble(f"the program asks for {module}.{name}, which does not exist here")
        calls = self._calls if hasattr(self._calls, name) else self._file_calls
        return self._answer(getattr(calls, name), succeeded=0 if WASI_SIGNATURES[name][1] else None)

    def _answer(self, call: Callable[..., None], *, succeeded: int | None) -> Answer:
        def answer(*arguments: int) -> int | None:
            # The memory moves and grows only while the guest runs, so not within a call.
            self._location = None
            self._charge(CALL_FUEL)
            try:
                call(*arguments)
            except GuestError as error:
                return int(error.errno)
            return succeeded

        return answer

    def _charge(self, cost: int) -> None:
        if self._meter is not None:
            self._meter.charge(cost)

    def _locate_memory(self) -> tuple[int, int]:
        if self._location is None:
            self._location = self._place.now() if self._place is not None else (0, 0)
        return self._location


def run_guest(job: HostJob, loaded: LoadedProgram, attach: Callable[[Guest], None] = lambda guest: None) -> Outcome:
    """Run a job in this process and thread; the process should exist for it alone. Never raises for what a job does.

    ``attach`` is given the guest before it starts.
    """
    started, spent = time.monotonic(), time.process_time()
    try:
        check_allocation(job.limits)
        guest = guest_class(job.launch)(job, loaded)
    except (HostTrouble, HostFailure) as error:
        return Outcome(Stop.HOST, 0, b"", b"", 0, time.monotonic() - started, 0, str(error))
    except OutputLimitReached as reached:
        # Only what a checkpoint brought along can be too much before the first step; it is computed anew.
        return Outcome(Stop.OUTPUT, 0, b"", b"", 0, time.monotonic() - started, 0, reached.what, resumed=True)
    attach(guest)
    ended = threading.Event()
    cpu_s = None if job.engine_class is EngineClass.DETERMINISTIC else job.limits.cpu_s or job.limits.wall_s
    threading.Thread(target=_keep_time, args=(guest, job.limits.wall_s, cpu_s, ended), daemon=True).start()
    stop, code, detail = _end_of(guest)
    ended.set()
    fuel_used, memory_bytes = guest.fuel_used(), guest.memory_bytes()
    try:
        guest.finish(keep_output=stop is Stop.EXITED)
        guest.check_memory()
    except HostTrouble as error:
        stop, code, detail = Stop.HOST, 0, str(error)
    wall_s = time.monotonic() - started
    return Outcome(
        stop,
        code,
        guest.stdout.contents(),
        guest.stderr.contents(),
        fuel_used,
        wall_s,
        memory_bytes,
        detail,
        resumed=guest.resumed,
        cpu_s=time.process_time() - spent,
    )


def guest_class(launch: Launch) -> type[Guest]:
    """What runs programs of that kind. To be called once before files are locked: it may be imported by this."""
    if launch is not Launch.COMPONENT:
        return Guest
    # Costly to import, and most jobs have no use for it.
    from fairgrid.runtime.wasm.component_guest import ComponentGuest

    return ComponentGuest


def _keep_time(guest: Guest, wall_s: float, cpu_s: float | None, ended: threading.Event) -> None:
    """Interrupt when the guest ran for ``wall_s`` or used ``cpu_s`` of processor time, if that is limited.

    Time in which the whole process was stopped does not count.
    """
    left, spent = wall_s, time.process_time()
    while left > 0:
        began = time.monotonic()
        if ended.wait(min(left, _TICK_S)):
            return
        # A tick that took much longer means that the process stood still; the parent's own limit is exact.
        left -= min(time.monotonic() - began, 2 * _TICK_S)
        if cpu_s is not None and time.process_time() - spent > cpu_s:
            guest.interrupt(Stop.CPU)
            return
    guest.interrupt(Stop.WALL_CLOCK)


def _end_of(guest: Guest) -> tuple[Stop, int, str]:
    """Run the guest; returns why it stopped, its exit code and a detail."""
    try:
        guest.run()
    except GuestExit as end:
        if end.code == MEMORY_EXIT and guest.program == "interpreter":
            return Stop.MEMORY, 0, ""
        return Stop.EXITED, end.code & 0xFF, ""
    except FuelExhausted:
        return Stop.FUEL, 0, ""
    except OutputLimitReached as reached:
        return Stop.OUTPUT, 0, reached.what
    except Interrupted:
        return guest.interrupted_by, 0, ""
    except MemoryRefused:
        return Stop.MEMORY, 0, ""
    except GuestTrapped as trapped:
        guest.stderr.add(f"\n[fairgrid: the {guest.program} trapped: {trapped.why}]\n".encode())
        return Stop.EXITED, TRAP_EXIT, trapped.why
    except wasmtime.Trap as trap:
        return _end_of_trap(guest, trap)
    except wasmtime.WasmtimeError as error:
        if "exceeds memory limits" in str(error):
            return Stop.MEMORY, 0, ""
        return Stop.HOST, 0, str(error)
    except Exception as error:
        # A fault of ours inside a system call must never become a result that other machines do not have.
        return Stop.HOST, 0, f"{type(error).__name__}: {error}"
    return Stop.HOST, 0, "the guest returned without an exit code"


def _end_of_trap(guest: Guest, trap: wasmtime.Trap) -> tuple[Stop, int, str]:
    code = trap.trap_code
    if code is wasmtime.TrapCode.OUT_OF_FUEL:
        return Stop.FUEL, 0, ""
    if code is wasmtime.TrapCode.INTERRUPT:
        return guest.interrupted_by, 0, ""
    if code is wasmtime.TrapCode.STACK_OVERFLOW or code is None:
        # How deep the machine's stack goes depends on the processor family: no result.
        return Stop.HOST, 0, f"the {guest.program}'s own stack overflowed or it failed: {trap.message}"
    hint = "" if guest.program == "program" else "; too deep recursion is the usual cause"
    guest.stderr.add(f"\n[fairgrid: the {guest.program} trapped: {code.name}{hint}]\n".encode())
    return Stop.EXITED, TRAP_EXIT, code.name


def check_allocation(limits: Limits) -> None:
    """Refuse at once if the machine would not promise the job's memory.

    Raises:
        HostTrouble: it would not.
    """
    try:
        mmap.mmap(-1, max(limits.memory_bytes, _WASM_PAGE)).close()
    except OSError as error:
        raise HostTrouble(f"this machine has not {limits.memory_bytes} bytes of memory for a job") from error
