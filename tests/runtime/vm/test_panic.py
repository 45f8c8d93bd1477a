"""Which ends of a machine are the host's, told from its console: words of a real kernel, cut short, or in its form."""

from __future__ import annotations

import pytest

from fairgrid.runtime.vm.panic import early_panic

TIMER = b"""\
[    0.012034] ..MP-BIOS bug: 8254 timer not connected to IO-APIC\r
[    0.061232] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug and send a report.\r
[    0.061232] CPU: 0 PID: 0 Comm: swapper/0 Not tainted 6.1.0-56-cloud-amd64 #1  Debian 6.1.192-2\r
"""
OOPS = b"""\
[    2.283195] BUG: kernel NULL pointer dereference, address: 000000000000001c\r
[    2.283195] CPU: 0 PID: 1 Comm: swapper/0 Not tainted 6.1.0-56-cloud-amd64 #1  Debian 6.1.192-2\r
[    2.283195] note: swapper/0[1] exited with irqs disabled\r
[    2.392457] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009\r
"""
NO_ROOT = b"""\
[   20.362506] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r
[   20.364664] CPU: 0 PID: 1 Comm: swapper/0 Not tainted 6.1.0-56-cloud-amd64 #1  Debian 6.1.192-2\r
"""
INIT_ENDED = b"""\
/init: .: line 19: can't open '/job/environment': No such file or directory\r
[    6.138758] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000200\r
[    6.139507] CPU: 0 PID: 1 Comm: init Not tainted 6.1.0-56-cloud-amd64 #1  Debian 6.1.192-2\r
"""
CRASH = b"""\
[    7.001122] sysrq: Trigger a crash\r
[    7.001122] Kernel panic - not syncing: sysrq triggered crash\r
[    7.002001] CPU: 0 PID: 1 Comm: init Not tainted 6.1.0-56-cloud-amd64 #1  Debian 6.1.192-2\r
"""
NO_MEMORY = b"""\
[    1.1] Kernel panic - not syncing: System is deadlocked on memory\r
[    1.1] CPU: 0 PID: 1 Comm: swapper/0 Not tainted 6.1.0-56-cloud-amd64\r
"""
LATE = b"""\
[    1.1] Run /init as init process\r
[    9.9] Kernel panic - not syncing: Fatal exception in interrupt\r
[    9.9] CPU: 0 PID: 0 Comm: swapper/0 Not tainted 6.1.0-56-cloud-amd64\r
"""
IN_THE_JOB = b"""\
[    9.9] CPU: 0 PID: 77 Comm: main Tainted: G      D            6.1.0-56-cloud-amd64\r
[    9.9] Kernel panic - not syncing: Fatal exception\r
"""


@pytest.mark.parametrize(
    ("console", "reason"),
    [
        (TIMER, "IO-APIC + timer doesn't work!  Boot with apic=debug and send a report."),
        (OOPS, "Attempted to kill init! exitcode=0x00000009"),
        (b"noise\xff\x00" + TIMER[: TIMER.index(b" and send")], "IO-APIC + timer doesn't work!  Boot with apic=debug"),
    ],
)
def test_a_kernel_that_panics_before_it_starts_the_image_is_the_hosts_failure(console: bytes, reason: str) -> None:
    assert str(early_panic(console)).startswith(reason)


@pytest.mark.parametrize("console", [b"", b"dying\n", NO_ROOT, INIT_ENDED, CRASH, NO_MEMORY, LATE, IN_THE_JOB])
def test_what_the_image_or_its_job_causes_is_the_jobs_own(console: bytes) -> None:
    assert early_panic(console) is None


def test_without_a_word_of_who_ran_only_the_end_of_init_is_held_against_the_job() -> None:
    said = b"Kernel panic - not syncing: "
    assert early_panic(said + b"Timer not ticking\n") == "Timer not ticking"
    assert early_panic(said + b"Attempted to kill init! exitcode=0x0000000b\n") is None
