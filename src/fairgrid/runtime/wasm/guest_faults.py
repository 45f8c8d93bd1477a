"""How a call of a guest can fail, and how its whole run can end before its time."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Errno", "GuestError", "GuestTrapped", "HostTrouble", "OutputLimitReached"]


class Errno(IntEnum):
    """The error numbers of WASI preview 1 that this file system returns."""

    SUCCESS = 0
    BADF = 8
    BUSY = 10
    EXIST = 20
    FAULT = 21
    ILSEQ = 25
    INVAL = 28
    ISDIR = 31
    MFILE = 33
    NAMETOOLONG = 37
    NOENT = 44
    NOSYS = 52
    NOTDIR = 54
    NOTEMPTY = 55
    NOTSOCK = 57
    NOTSUP = 58
    PERM = 63
    ROFS = 69
    SPIPE = 70
    NOTCAPABLE = 76


class GuestError(Exception):
    """An error that the guest gets as the return value of its call."""

    def __init__(self, errno: Errno) -> None:
        self.errno = errno
        super().__init__(errno.name)


class GuestTrapped(Exception):
    """A component did what it must not; ``why`` is the same text on every machine."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


class OutputLimitReached(Exception):
    """The guest wrote more than it may; ``what`` is ``bytes`` or ``files``. Two machines stop at the same call."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(what)


class HostTrouble(Exception):
    """This machine failed below the guest (disk full, I/O error): the run says nothing about the job."""
