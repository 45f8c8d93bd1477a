"""Whether a machine without a result ended because its kernel failed at its start, before the image ran anything.

That says something of the emulated hardware and of this busy host, nothing of the job: another machine may boot the
same image. What the image itself causes (a root that is not there, an init that ends, memory that is too little) is the
job's own, however early.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["early_panic"]

_PANIC: Final = re.compile(r"Kernel panic - not syncing: ([^\r\n]{0,200})")
_RUNNING: Final = re.compile(r"PID: (\d+) Comm: (\S+)")
_KILLED_INIT: Final = "Attempted to kill init"
_OF_THE_IMAGE: Final = (
    "VFS:",
    "No working init",
    "No init found",
    "Requested init",
    "Out of memory",
    "System is deadlocked on memory",
    "sysrq triggered crash",
)
_INIT_BEGAN: Final = re.compile(r"Run \S+ as init process")
_KERNELS_OWN: Final = "swapper"
"""What the kernel's own first threads are called: number 1 until it becomes the image's init, and number 0 always."""


def early_panic(console: bytes) -> str | None:
    """The kernel's own reason if ``console`` says that it panicked before it started the image's init; else None.

    Only for a machine that neither printed nor wrote anything on the job's own lines and disks. An image that prints
    such words itself gets no result and is paid by nobody: it harms its own requester.
    """
    text = console.decode("ascii", errors="replace")
    panic = _PANIC.search(text)
    if panic is None or _INIT_BEGAN.search(text, 0, panic.start()):
        return None
    reason = panic[1].strip()
    if reason.startswith(_OF_THE_IMAGE):
        return None
    # The one behind the panic, or, where that came of a fault, the one in the fault's own words before it.
    running = _RUNNING.findall(text)
    if running:
        number, name = running[-1]
        return reason if int(number) in (0, 1) and name.startswith(_KERNELS_OWN) else None
    return None if reason.startswith(_KILLED_INIT) else reason
