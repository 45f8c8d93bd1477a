"""What a process that touches a stranger's code gives up before it does: files, system calls, network, new processes.

Everything here is the operating system's second wall behind the engine's own. Where a kernel lacks one of the locks the
others still hold; `locks_here` says which there are.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import signal
import struct
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from fairgrid.runtime.wasm.system_calls import CALLS

__all__ = ["call_filter", "die_with_parent", "limit_resources", "lock_calls", "lock_files", "locks_here"]

_PR_SET_PDEATHSIG: Final = 1
_PR_GET_SECCOMP: Final = 21
_PR_SET_NO_NEW_PRIVS: Final = 38

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
_READ: Final = 1 << 2 | 1 << 3
"""Read files, list folders."""
_WRITE: Final = _READ | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 13 | 1 << 14
"""Besides: write, remove and make files and folders, rename between folders, truncate."""
_FILE_ONLY: Final = 1 << 1 | 1 << 2 | 1 << 14
_ACCESS_BITS: Final = {2: 14, 3: 15, 4: 15, 5: 16}
"""Rights of files that a version of Landlock knows; later ones know as many as the last here."""
_FIRST_THAT_RENAMES: Final = 2
"""Version 1 forbids to move a file from one folder to another, which handing the output over is."""
_SCOPES: Final = 0b11
"""No abstract sockets and no signals to processes outside (version 6)."""

_SECCOMP_SET_MODE_FILTER: Final = 1
_SECCOMP_FILTER_FLAG_TSYNC: Final = 1
_X32_BIT: Final = 0x40000000
_CLONE_THREAD: Final = 0x00010000
_RET_ALLOW, _RET_KILL_PROCESS, _RET_ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38


def die_with_parent() -> None:
    """On Linux the kernel kills this process with the thread that started it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def limit_resources(limits: Mapping[str, int]) -> None:
    """Set limits of the operating system (names as in the module `resource`), never above those in force."""
    if os.name != "posix":
        return
    import resource

    for name, value in limits.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        _, hard = resource.getrlimit(kind)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (allowed, allowed))


def locks_here() -> tuple[str, ...]:
    """The locks that this kernel offers, for people."""
    found = ["resource limits"] if os.name == "posix" else []
    version = _landlock_version()
    if version >= _FIRST_THAT_RENAMES:
        found.append(f"Landlock {version}")
    if _has_seccomp():
        found.append("seccomp")
    return tuple(found)


def lock_files(*, read: Iterable[Path] = (), write: Iterable[Path] = ()) -> bool:
    """From now on this thread, and those it starts, reach no file but those below the given paths. False: no Landlock.

    What is open stays open. Paths that do not exist are left out. There is no TCP either, where the kernel can forbid
    it.
    """
    version = _landlock_version()
    if version < _FIRST_THAT_RENAMES:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    handled = (1 << _ACCESS_BITS.get(version, 16)) - 1
    network = 0b11 if version >= 4 else 0
    scopes = _SCOPES if version >= 6 else 0
    attributes = struct.pack("=QQQ", handled, network, scopes)[: 24 if version >= 6 else 16 if version >= 4 else 8]
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        for paths, rights in ((read, _READ), (write, _WRITE)):
            for path in paths:
                _allow(libc, ruleset, path, rights & handled)
        _forbid_new_privileges(libc)
        return bool(libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def lock_calls() -> bool:
    """From now on no thread of this process makes a system call that running a module does not need: no sockets, no
    new processes, no debugging, no mounts. False where there is no seccomp, or no list for this processor family."""
    if not _has_seccomp():
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    _forbid_new_privileges(libc)
    program = call_filter(platform.machine())
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
    flags = _SECCOMP_FILTER_FLAG_TSYNC
    return bool(libc.syscall(CALLS[platform.machine()].seccomp, _SECCOMP_SET_MODE_FILTER, flags, header) == 0)


def _has_seccomp() -> bool:
    if sys.platform != "linux" or platform.machine() not in CALLS or sys.maxsize < 1 << 32:
        return False
    # Asked of the kernel and not read from /proc: files may be locked already.
    return int(ctypes.CDLL(None, use_errno=True).prctl(_PR_GET_SECCOMP, 0, 0, 0, 0)) >= 0


def _landlock_version() -> int:
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    return max(int(libc.syscall(_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION)), 0)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not path.is_dir():
            rights &= _FILE_ONLY
        rule = struct.pack("=Qi", rights, descriptor)
        libc.syscall(_LANDLOCK_ADD, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)


def _forbid_new_privileges(libc: ctypes.CDLL) -> None:
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


@functools.cache
def call_filter(machine: str) -> bytes:
    """The list of allowed calls as a BPF program for a processor family; anything else is EPERM, another calling
    convention kills.

    Raises:
        KeyError: there is no list for it.
    """
    calls = CALLS[machine]
    program = [
        _load(4),
        _jump_if_equal(calls.architecture, 1, 0),
        _return(_RET_KILL_PROCESS),
        _load(0),
        # Numbers of the other convention of x86-64; no other family has any so high.
        _jump_if_at_least(_X32_BIT, 0, 1),
        _return(_RET_KILL_PROCESS),
        # A thread may be made, a process may not: the flags of the old call can be looked at.
        _jump_if_equal(calls.clone, 0, 4),
        _load(16),
        _jump_if_set(_CLONE_THREAD, 0, 1),
        _return(_RET_ALLOW),
        _return(_RET_ERRNO | _EPERM),
        # The new call's flags cannot: the library falls back to the old one.
        _jump_if_equal(calls.to_old_way, 0, 1),
        _return(_RET_ERRNO | _ENOSYS),
    ]
    for number in sorted(calls.allowed):
        program += [_jump_if_equal(number, 0, 1), _return(_RET_ALLOW)]
    return b"".join([*program, _return(_RET_ERRNO | _EPERM)])


def _load(offset: int) -> bytes:
    return struct.pack("=HBBI", 0x20, 0, 0, offset)


def _jump_if_equal(value: int, then: int, otherwise: int) -> bytes:
    return struct.pack("=HBBI", 0x15, then, otherwise, value)


def _jump_if_at_least(value: int, then: int, otherwise: int) -> bytes:
    return struct.pack("=HBBI", 0x35, then, otherwise, value)


def _jump_if_set(value: int, then: int, otherwise: int) -> bytes:
    return struct.pack("=HBBI", 0x45, then, otherwise, value)


def _return(value: int) -> bytes:
    return struct.pack("=HBBI", 0x06, 0, 0, value)
