"""The list of system calls: its program is interpreted here as the kernel does it."""

from __future__ import annotations

import errno
import struct

import pytest

from fairgrid.runtime.process.seccomp import ARCHITECTURES, allow_list
from fairgrid.runtime.process.system_calls import ALLOWED, FILTERED, LAST_KNOWN, REFUSED_AS_UNKNOWN

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


def answer(program: bytes, number: int, *arguments: int, architecture: int) -> int:
    """What the kernel would do about a call."""
    words = list(arguments) + [0] * (6 - len(arguments))
    data = struct.pack("<iIQ6Q", number, architecture, 0, *words)
    steps = [struct.unpack_from("<HBBI", program, place) for place in range(0, len(program), 8)]
    accumulator, place = 0, 0
    while True:
        code, yes, no, value = steps[place]
        place += 1
        if code == 0x20:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif code == 0x54:
            accumulator &= value
        elif code == 0x06:
            return int(value)
        else:
            holds = {
                0x15: accumulator == value,
                0x25: accumulator > value,
                0x35: accumulator >= value,
                0x45: bool(accumulator & value),
            }[code]
            place += yes if holds else no


@pytest.fixture(params=sorted(ARCHITECTURES))
def machine(request: pytest.FixtureRequest) -> tuple[int, int, bytes]:
    """Column of the table, the kernel's number of the architecture, the program."""
    name = str(request.param)
    return ("x86_64", "aarch64").index(name), ARCHITECTURES[name], allow_list(name)


def test_every_call_is_answered_as_the_table_says(machine: tuple[int, int, bytes]) -> None:
    column, architecture, program = machine
    allowed = {numbers[column] for numbers in ALLOWED.values()}
    filtered = {numbers[column] for numbers in FILTERED.values()}
    unknown = {numbers[column] for numbers in REFUSED_AS_UNKNOWN.values()}
    for number in range(600):
        if number in filtered:
            continue
        given = answer(program, number, architecture=architecture)
        if number in unknown or number > LAST_KNOWN:
            assert given == _ERRNO | errno.ENOSYS, number
        elif number in allowed:
            assert given == _ALLOW, number
        else:
            assert given == _ERRNO | errno.EPERM, number


def test_a_call_of_another_architecture_ends_the_process(machine: tuple[int, int, bytes]) -> None:
    _, architecture, program = machine
    for other in set(ARCHITECTURES.values()) - {architecture} | {0x40000003}:
        assert answer(program, 0, architecture=other) == _KILL


def test_calls_by_the_x32_numbers_are_unknown() -> None:
    program = allow_list("x86_64")
    assert answer(program, 0x40000000, architecture=ARCHITECTURES["x86_64"]) == _ERRNO | errno.ENOSYS


def number_of(name: str, column: int) -> int:
    number = FILTERED[name][column]
    assert number is not None
    return number


def test_processes_and_threads_may_be_made_and_namespaces_not(machine: tuple[int, int, bytes]) -> None:
    column, architecture, program = machine
    clone = number_of("clone", column)
    thread = 0x3D0F00
    assert answer(program, clone, thread, architecture=architecture) == _ALLOW
    assert answer(program, clone, 17, architecture=architecture) == _ALLOW
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert answer(program, clone, thread | flag, architecture=architecture) == _ERRNO | errno.EPERM


def test_sockets_are_of_the_unix_and_internet_families_only(machine: tuple[int, int, bytes]) -> None:
    column, architecture, program = machine
    name = {value: key for key, value in ARCHITECTURES.items()}[architecture]
    call = number_of("socket", column)
    for family in range(50):
        good = family in (1, 2, 10)
        given = answer(program, call, family, architecture=architecture)
        assert given == (_ALLOW if good else _ERRNO | errno.EAFNOSUPPORT), family
    shared = allow_list(name, own_network=False)
    assert answer(shared, call, 1, architecture=architecture) == _ERRNO | errno.EAFNOSUPPORT
    assert answer(shared, call, 2, architecture=architecture) == _ALLOW


def test_pipes_with_a_name_may_be_made_and_devices_not(machine: tuple[int, int, bytes]) -> None:
    column, architecture, program = machine
    call = number_of("mknodat", column)
    assert answer(program, call, 0, 0, 0o010644, architecture=architecture) == _ALLOW
    for kind in (0o020666, 0o060666, 0o140666):
        assert answer(program, call, 0, 0, kind, architecture=architecture) == _ERRNO | errno.EPERM


def test_a_terminal_may_be_asked_for_its_size_and_not_be_typed_into(machine: tuple[int, int, bytes]) -> None:
    column, architecture, program = machine
    call = number_of("ioctl", column)
    assert answer(program, call, 0, 0x5413, architecture=architecture) == _ALLOW
    assert answer(program, call, 0, 0x5412, architecture=architecture) == _ERRNO | errno.ENOTTY


def test_dangerous_calls_are_in_no_list() -> None:
    dangerous = (
        "ptrace mount umount2 pivot_root chroot unshare setns keyctl add_key request_key bpf perf_event_open "
        "kexec_load init_module finit_module delete_module userfaultfd io_uring_setup open_by_handle_at "
        "process_vm_readv process_vm_writev pidfd_getfd reboot swapon swapoff "
        "setxattr fsopen open_tree move_mount memfd_secret "
        "clock_settime settimeofday sethostname syslog acct quotactl iopl ioperm fanotify_init shmget msgget semget"
    ).split()
    assert not {*dangerous} & {*ALLOWED, *FILTERED}
