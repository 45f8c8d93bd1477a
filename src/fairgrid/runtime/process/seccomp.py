"""The list of allowed system calls as a program for the kernel (classic BPF), made here without a library."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final

from fairgrid.runtime.process.system_calls import ALLOWED, FILTERED, LAST_KNOWN, REFUSED_AS_UNKNOWN

__all__ = ["ARCHITECTURES", "allow_list"]

ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The kernel's own numbers (AUDIT_ARCH_*) for those that there is a list for."""

_COLUMN: Final = {"x86_64": 0, "aarch64": 1}
_INSTRUCTION: Final = struct.Struct("<HBBI")
_LOAD, _EQUAL, _AT_LEAST, _ABOVE, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x25, 0x45, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_X32_BIT: Final = 0x40000000

_NEW_NAMESPACES: Final = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""
_FAMILIES: Final = (1, 2, 10)
"""AF_UNIX, AF_INET, AF_INET6: in the job's own, empty network unless it was given one."""
_INTERNET: Final = (2, 10)
_IOCTLS: Final = (
    *(0x5401, 0x5402, 0x5403, 0x5404),  # TCGETS, TCSETS, TCSETSW, TCSETSF
    *(0x540F, 0x5410, 0x5411, 0x5413),  # TIOCGPGRP, TIOCSPGRP, TIOCOUTQ, TIOCGWINSZ
    *(0x541B, 0x5421, 0x5429),  # FIONREAD, FIONBIO, TIOCGSID
    *(0x5450, 0x5451, 0x5452),  # FIONCLEX, FIOCLEX, FIOASYNC
)
_PERSONALITIES: Final = (0, 0xFFFFFFFF)
_FILE_TYPES, _FIFO, _REGULAR = 0xF000, 0x1000, 0x8000

_Step = tuple[int, int, int, int]


@cache
def allow_list(architecture: str, *, own_network: bool = True) -> bytes:
    """The program for ``architecture`` (a key of `ARCHITECTURES`), as ``bwrap --seccomp`` reads it.

    A call of another architecture ends the process. ``own_network`` False: the job shares a network, where sockets of
    the Unix family could reach programs of the machine by abstract names, so they are refused.

    Raises:
        KeyError: there is no list for that architecture.
    """
    column = _COLUMN[architecture]
    steps: list[_Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, ARCHITECTURES[architecture]),
        _answer(_KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if architecture == "x86_64":
        steps += [(_AT_LEAST, 0, 1, _X32_BIT), _answer(_ERRNO | errno.ENOSYS)]
    for name, numbers in FILTERED.items():
        number = numbers[column]
        if number is not None:
            block = _by_arguments(name, _FAMILIES if own_network else _INTERNET)
            steps += [(_EQUAL, 0, len(block), number), *block]
    for name_numbers in REFUSED_AS_UNKNOWN.values():
        number = name_numbers[column]
        if number is not None:
            steps += [(_EQUAL, 0, 1, number), _answer(_ERRNO | errno.ENOSYS)]
    for low, high in _ranges(number for row in ALLOWED.values() if (number := row[column]) is not None):
        steps += [(_AT_LEAST, 0, 2, low), (_ABOVE, 1, 0, high), _answer(_ALLOW)]
    steps += [(_ABOVE, 0, 1, LAST_KNOWN), _answer(_ERRNO | errno.ENOSYS), _answer(_ERRNO | errno.EPERM)]
    return b"".join(_INSTRUCTION.pack(*step) for step in steps)


def _by_arguments(name: str, families: Sequence[int]) -> list[_Step]:
    match name:
        case "clone":
            return [
                _argument(0),
                (_ANY_BIT, 0, 1, _NEW_NAMESPACES),
                _answer(_ERRNO | errno.EPERM),
                _answer(_ALLOW),
            ]
        case "socket":
            return _one_of(0, families, errno.EAFNOSUPPORT)
        case "ioctl":
            return _one_of(1, _IOCTLS, errno.ENOTTY)
        case "personality":
            return _one_of(0, _PERSONALITIES, errno.EPERM)
        case _:
            mode = 1 if name == "mknod" else 2
            wanted = _one_of(mode, (_FIFO, _REGULAR, 0), errno.EPERM)
            return [wanted[0], (_AND, 0, 0, _FILE_TYPES), *wanted[1:]]


def _one_of(index: int, values: Sequence[int], error: int) -> list[_Step]:
    """Allow the call if its argument (the lower 32 bits, which are all that the kernel looks at) is one of these."""
    checks: list[_Step] = [(_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [_argument(index), *checks, _answer(_ERRNO | error), _answer(_ALLOW)]


def _argument(index: int) -> _Step:
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index)


def _answer(value: int) -> _Step:
    return (_RETURN, 0, 0, value)


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges
