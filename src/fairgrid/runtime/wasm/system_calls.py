"""The system calls that a process needs which runs one WebAssembly module, by their numbers on x86-64.

Files by path (`openat` and the like) are among them: which files, Landlock decides. Sockets, new processes, signals to
others, debugging, mounts, keys, io_uring and BPF are not.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ALLOWED_X86_64", "CLONE_X86_64", "TO_OLD_WAY_X86_64"]

CLONE_X86_64: Final = 56
"""Allowed for threads only."""
TO_OLD_WAY_X86_64: Final = 435
"""``clone3``: answered as if the kernel did not know it."""

_NAMES: Final = {
    # reading and writing what is open
    "read": 0,
    "write": 1,
    "close": 3,
    "fstat": 5,
    "poll": 7,
    "lseek": 8,
    "pread64": 17,
    "pwrite64": 18,
    "readv": 19,
    "writev": 20,
    "select": 23,
    "dup": 32,
    "sendfile": 40,
    "fcntl": 72,
    "fsync": 74,
    "fdatasync": 75,
    "ftruncate": 77,
    "fchmod": 91,
    "pselect6": 270,
    "ppoll": 271,
    "fallocate": 285,
    "preadv": 295,
    "pwritev": 296,
    "copy_file_range": 326,
    "preadv2": 327,
    "pwritev2": 328,
    # files by path, behind Landlock
    "stat": 4,
    "open": 2,
    "lstat": 6,
    "access": 21,
    "getcwd": 79,
    "rename": 82,
    "mkdir": 83,
    "rmdir": 84,
    "link": 86,
    "unlink": 87,
    "readlink": 89,
    "chmod": 90,
    "getdents64": 217,
    "openat": 257,
    "mkdirat": 258,
    "newfstatat": 262,
    "unlinkat": 263,
    "renameat": 264,
    "linkat": 265,
    "readlinkat": 267,
    "fchmodat": 268,
    "faccessat": 269,
    "utimensat": 280,
    "renameat2": 316,
    "statx": 332,
    "faccessat2": 439,
    # memory
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "mremap": 25,
    "mincore": 27,
    "madvise": 28,
    "membarrier": 324,
    "memfd_create": 319,
    # threads, and signals of this process itself
    "rt_sigaction": 13,
    "rt_sigprocmask": 14,
    "rt_sigreturn": 15,
    "sched_yield": 24,
    "sigaltstack": 131,
    "gettid": 186,
    "futex": 202,
    "sched_getaffinity": 204,
    "set_tid_address": 218,
    "restart_syscall": 219,
    "exit_group": 231,
    "set_robust_list": 273,
    "get_robust_list": 274,
    "rseq": 334,
    "exit": 60,
    # time, randomness, what it is
    "nanosleep": 35,
    "getpid": 39,
    "gettimeofday": 96,
    "getrlimit": 97,
    "getrusage": 98,
    "sysinfo": 99,
    "times": 100,
    "getuid": 102,
    "getgid": 104,
    "geteuid": 107,
    "getegid": 108,
    "getppid": 110,
    "time": 201,
    "clock_gettime": 228,
    "clock_getres": 229,
    "clock_nanosleep": 230,
    "getrandom": 318,
    "uname": 63,
}

ALLOWED_X86_64: Final = frozenset(_NAMES.values())
