"""The list of system calls of a job's process, for each processor family: interpreted here as the kernel does it."""

from __future__ import annotations

import errno

import pytest

from fairgrid.runtime.process.system_calls import ALLOWED, FILTERED
from fairgrid.runtime.wasm.lockdown import call_filter
from fairgrid.runtime.wasm.system_calls import CALLS
from tests.runtime.process.test_seccomp import answer

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
COLUMNS = {"x86_64": 0, "aarch64": 1}
FAMILIES = sorted(CALLS)


@pytest.mark.parametrize("machine", FAMILIES)
def test_what_is_on_the_list_is_allowed_and_everything_else_is_refused(machine: str) -> None:
    calls, program = CALLS[machine], call_filter(machine)
    for number in range(1000):
        if number in (calls.clone, calls.to_old_way):
            continue
        expected = ALLOW if number in calls.allowed else ERRNO | errno.EPERM
        assert answer(program, number, architecture=calls.architecture) == expected, number


@pytest.mark.parametrize("machine", FAMILIES)
def test_a_thread_may_be_made_and_a_process_may_not(machine: str) -> None:
    calls, program = CALLS[machine], call_filter(machine)
    thread, process = 0x00010000 | 0x100, 17
    assert answer(program, calls.clone, thread, architecture=calls.architecture) == ALLOW
    assert answer(program, calls.clone, process, architecture=calls.architecture) == ERRNO | errno.EPERM
    assert answer(program, calls.to_old_way, thread, architecture=calls.architecture) == ERRNO | errno.ENOSYS


@pytest.mark.parametrize("machine", FAMILIES)
def test_a_call_of_another_family_ends_the_process(machine: str) -> None:
    program = call_filter(machine)
    for other in {calls.architecture for calls in CALLS.values()} - {CALLS[machine].architecture} | {0x40000003}:
        assert answer(program, 0, architecture=other) == KILL


@pytest.mark.parametrize("machine", FAMILIES)
def test_nothing_that_reaches_other_processes_the_network_or_the_kernel_is_on_the_list(machine: str) -> None:
    column = COLUMNS[machine]
    names = (
        "connect",
        "bind",
        "sendto",
        "execve",
        "kill",
        "tkill",
        "tgkill",
        "socketpair",
        "setuid",
        "ioctl",
        "socket",
    )
    numbers = {(ALLOWED | FILTERED)[name][column] for name in names if name in ALLOWED | FILTERED}
    assert len(numbers) >= 8 and not numbers & CALLS[machine].allowed


def test_both_tables_of_this_project_give_a_call_the_same_number() -> None:
    """Two lists were written by hand; a slip in one of them would show."""
    for machine, column in COLUMNS.items():
        known = {numbers[column] for numbers in (*ALLOWED.values(), *FILTERED.values())}
        memfd_create = {"x86_64": 319, "aarch64": 279}[machine]
        assert CALLS[machine].allowed - known == {memfd_create}


def test_a_family_without_a_list_has_none() -> None:
    with pytest.raises(KeyError):
        call_filter("riscv64")
