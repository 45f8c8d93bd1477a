"""The system calls that a process needs which runs one WebAssembly module, by their numbers on x86-64 and
on AArch64, which has no calls by path that do not begin at an open folder.

Files by path (`openat` and the like) are among them: which files, Landlock decides. Sockets, new processes, signals to
others, debugging, mounts, keys, io_uring and BPF are not. The numbers are written apart from those of native programs
on purpose: `tests/runtime/test_call_filter.py` compares the two tables, so that a slip in one of them shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["CALLS", "CallNumbers"]


@dataclass(frozen=True, slots=True)
class CallNumbers:
    """What a filter has to know of one processor family."""

    architecture: int
    """The kernel's own number of it (AUDIT_ARCH_*)."""
    seccomp: int
    """The call that puts a filter on."""
    clone: int
    """Allowed for threads only."""
    to_old_way: int
    """``clone3``: answered as if the kernel did not know it."""
    allowed: frozenset[int]


_NAMES: Final[dict[str, tuple[int, int | None]]] = {
    # reading and writing what is open
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "poll": (7, None),
    "lseek": (8, 62),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "readv": (19, 65),
    "writev": (20, 66),
    "select": (23, None),
    "dup": (32, 23),
    "sendfile": (40, 71),
    "fcntl": (72, 25),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "ftruncate": (77, 46),
    "fchmod": (91, 52),
    "pselect6": (270, 72),
    "ppoll": (271, 73),
    "fallocate": (285, 47),
    "preadv": (295, 69),
    "pwritev": (296, 70),
    "copy_file_range": (326, 285),
    "preadv2": (327, 286),
    "pwritev2": (328, 287),
    # files by path, behind Landlock
    "stat": (4, None),
    "open": (2, None),
    "lstat": (6, None),
    "access": (21, None),
    "getcwd": (79, 17),
    "rename": (82, None),
    "mkdir": (83, None),
    "rmdir": (84, None),
    "link": (86, None),
    "unlink": (87, None),
    "readlink": (89, None),
    "chmod": (90, None),
    "getdents64": (217, 61),
    "openat": (257, 56),
    "mkdirat": (258, 34),
    "newfstatat": (262, 79),
    "unlinkat": (263, 35),
    "renameat": (264, 38),
    "linkat": (265, 37),
    "readlinkat": (267, 78),
    "fchmodat": (268, 53),
    "faccessat": (269, 48),
    "utimensat": (280, 88),
    "renameat2": (316, 276),
    "statx": (332, 291),
    "faccessat2": (439, 439),
    # memory
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "mremap": (25, 216),
    "mincore": (27, 232),
    "madvise": (28, 233),
    "membarrier": (324, 283),
    "memfd_create": (319, 279),
    # threads, and signals of this process itself
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "set_tid_address": (218, 96),
    "restart_syscall": (219, 128),
    "exit_group": (231, 94),
    "set_robust_list": (273, 99),
    "get_robust_list": (274, 100),
    "rseq": (334, 293),
    "exit": (60, 93),
    # time, randomness, what it is
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "gettimeofday": (96, 169),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "getuid": (102, 174),
    "getgid": (104, 176),
    "geteuid": (107, 175),
    "getegid": (108, 177),
    "getppid": (110, 173),
    "time": (201, None),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "getrandom": (318, 278),
    "uname": (63, 160),
}

CALLS: Final = {
    "x86_64": CallNumbers(0xC000003E, 317, 56, 435, frozenset(x86 for x86, _ in _NAMES.values())),
    "aarch64": CallNumbers(0xC00000B7, 277, 220, 435, frozenset(arm for _, arm in _NAMES.values() if arm is not None)),
}
"""By the machine's name, as `platform.machine` says it. There is no list for any other."""
