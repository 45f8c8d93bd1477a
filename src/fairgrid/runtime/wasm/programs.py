"""Strangers' modules in compiled form: made here, in a locked-down process, and kept in a folder of this user alone.

A compiled form is native code. It is never taken from anybody: its name is a hash of the module's bytes, the engine's
version and configuration, so a job can only ever meet what this machine made of that very module. One module is
compiled at a time on a machine, so that what strangers make it spend is bounded however many of them come at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import stat
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from fairgrid.errors import FairgridError, HostFailure
from fairgrid.runtime.children import end_child, start_child
from fairgrid.runtime.wasm.compiler import COMPONENT, REFUSED
from fairgrid.runtime.wasm.engine import EngineClass, engine_key
from fairgrid.runtime.wasm.module_format import MAX_MODULE_BYTES
from fairgrid.runtime.wasm.native_code import check_native_code

__all__ = ["COMPILE_WALL_S", "CompiledPrograms", "ProgramRefused"]


COMPILE_WALL_S: Final = 300.0
"""So long one compilation may take."""
_KEPT_BYTES: Final = 4 << 30
"""Room for compiled programs; the ones that were not used for longest go first."""
_REMEMBERED_S: Final = 3600.0
"""So long a module that was too much for the compiler is not tried again."""
_REFUSALS: Final = 256
"""So many modules that are no programs are remembered while this process runs."""
_POLL_S: Final = 0.1
_COMPILER_TURN: Final = "compiler.turn"
_SMALL_BYTES: Final = 1 << 18
_MAX_WORDS: Final = 1000
_THREADS: Final = 4
"""Of one compilation: each holds a function's intermediate form."""


def _say_nothing(text: str) -> None:
    pass


class ProgramRefused(FairgridError):
    """The module can run on no machine; ``why`` is the same text everywhere."""

    exit_code = 2

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"This program cannot run: {why}.")


class CompiledPrograms:
    """The compiled forms of one engine class in ``folder``, which is made when it is needed."""

    def __init__(self, folder: Path, engine_class: EngineClass, *, components: bool = False) -> None:
        """``components`` says that the programs are components and not core modules."""
        self._folder = folder
        self._class = engine_class
        self._kind = (COMPONENT,) if components else ()
        # What an older version compiled was not held against WASI's types.
        self._checked = "-typed" if components else ""
        self._refused: dict[str, str] = {}

    async def has(self, module: Path) -> bool:
        """Whether nothing of a module's file is left to compile; also when it is too large to be compiled at all."""
        if module.stat().st_size > MAX_MODULE_BYTES:
            return True
        target = await self._target(module)
        return target.exists() or target.stem in self._refused

    async def compiled(self, module: Path, tell: Callable[[str], None] = _say_nothing) -> Path:
        """The compiled form of a module's file; compiles it if no job has used it here before.

        Any number of callers may ask for the same module, also from several processes: it is compiled once.
        Cancelling ends the compilation. ``tell`` hears in words for people when it waits, begins and ends.

        Raises:
            ProgramRefused: it is no program that can run anywhere.
            HostFailure: compiling it takes more time or memory than this machine gives, or the folder is not safe.
        """
        if module.stat().st_size > MAX_MODULE_BYTES:
            raise ProgramRefused(f"it has more than {MAX_MODULE_BYTES} bytes")
        target = await self._target(module)
        self._prepare()
        if target.stem in self._refused:
            raise ProgramRefused(self._refused[target.stem])
        if not _use(target):
            same = "waits: another task compiles the same program here"
            other = "waits: another program is compiled here first"
            async with _turn(target.with_suffix(".lock"), lambda: tell(same)):
                if not _use(target):
                    async with _turn(self._folder / _COMPILER_TURN, lambda: tell(other)):
                        await self._compile(module, target, tell)
                    await asyncio.to_thread(self._make_room, target)
        check_native_code(target)
        return target

    async def _target(self, module: Path) -> Path:
        # A thread for a small one would take longer than its hash.
        small = module.stat().st_size <= _SMALL_BYTES
        digest = _sha256_of(module) if small else await asyncio.to_thread(_sha256_of, module)
        return self._folder / f"{engine_key(digest, self._class)}{self._checked}.cwasm"

    def _prepare(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self._folder.stat()
        except OSError as error:
            raise HostFailure(
                f"Cannot use {self._folder} for compiled programs: {error}. Set FAIRGRID_CACHE."
            ) from error
        if os.name == "posix" and (found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
            raise HostFailure(
                f"Others can write to {self._folder}, where native code lies that would run as you. Remove it, or set "
                f"FAIRGRID_CACHE to a folder of yours."
            )

    async def _compile(self, module: Path, target: Path, tell: Callable[[str], None]) -> None:
        failed = target.with_suffix(".failed")
        reason = await asyncio.to_thread(_fresh_words, failed)
        if reason:
            raise HostFailure(reason)
        started = time.monotonic()
        since = time.strftime("%H:%M:%S", time.gmtime())
        tell(f"compiling its program of {module.stat().st_size / 1e6:.1f} MB, new here, since {since} UTC")
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=target.stem, suffix=".part")
        temporary = Path(name)
        try:
            status, words = await _run_compiler(module, descriptor, self._class, *self._kind)
            if status == REFUSED:
                while len(self._refused) >= _REFUSALS:
                    del self._refused[next(iter(self._refused))]
                self._refused[target.stem] = words
                raise ProgramRefused(words)
            if status != 0:
                reason = (
                    f"Compiling the program ended with status {status} after {time.monotonic() - started:.0f} s: it "
                    f"takes more time or memory than this machine gives to a stranger's module ({words or 'no words'})."
                )
                await asyncio.to_thread(failed.write_text, reason)
                raise HostFailure(reason)
            temporary.chmod(0o400)
            await asyncio.to_thread(os.fsync, descriptor)
            os.replace(temporary, target)
        except OSError as error:
            raise HostFailure(f"Cannot store a compiled program in {self._folder}: {error}. Make room.") from error
        finally:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
        tell(f"compiled its program in {time.monotonic() - started:.1f} s")
        # A third of a cell's start, for the one line of a program that is new here.
        import structlog

        log = structlog.get_logger(__name__)
        log.info("compiled a program", key=target.stem, seconds=round(time.monotonic() - started, 1))

    def _make_room(self, newest: Path) -> None:
        for path in self._folder.glob("*.part"):
            # Of a process that was killed: what it had not finished has no name that a job could meet.
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > 2 * COMPILE_WALL_S:
                    path.unlink()
        found = []
        for path in self._folder.glob("*.cwasm"):
            with contextlib.suppress(FileNotFoundError):
                facts = path.stat()
                found.append((facts.st_mtime_ns, facts.st_size, path))
        left = sum(size for _, size, _ in found) - _KEPT_BYTES
        for _, size, path in sorted(found):
            if left <= 0:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                path.with_suffix(".lock").unlink(missing_ok=True)
                left -= size


async def _run_compiler(module: Path, output: int, engine_class: EngineClass, *kind: str) -> tuple[int, str]:
    with module.open("rb") as source:
        process = await start_child(
            *(sys.executable, "-I", "-B", "-X", "utf8", "-m", "fairgrid.runtime.wasm.compiler", engine_class, *kind),
            stdin=source,
            stdout=output,
            stderr=asyncio.subprocess.PIPE,
            cwd="/" if os.name == "posix" else None,
            env={
                "PATH": os.defpath,
                "LANG": "C.UTF-8",
                "RAYON_NUM_THREADS": str(min(_THREADS, os.cpu_count() or 1)),
            },
        )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(COMPILE_WALL_S):
            words = await process.stderr.read(_MAX_WORDS)
            while await process.stderr.read(65_536):
                pass
            return await process.wait(), words.decode(errors="replace").strip()
    except TimeoutError:
        return -1, f"it was ended after {COMPILE_WALL_S:.0f} s"
    finally:
        await end_child(process)


def _use(path: Path) -> bool:
    """Whether it is there; marks it as used now."""
    try:
        os.utime(path)
    except OSError:
        return path.exists()
    return True


def _fresh_words(path: Path) -> str:
    try:
        if time.time() - path.stat().st_mtime < _REMEMBERED_S:
            return path.read_text()
    except OSError:
        pass
    return ""


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.asynccontextmanager
async def _turn(path: Path, waits: Callable[[], None]) -> AsyncIterator[None]:
    """Hold a lock file among all processes of this machine; ``waits`` is called once if somebody else holds it."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    told = False
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    waits()
                told = True
                await asyncio.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)
