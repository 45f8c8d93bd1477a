"""The process between a worker and QEMU: ``python -I -m fairgrid.runtime.vm.launch LIMITS REPORT COMMAND…``.

It sets the operating system's limits, dies with its parent and takes QEMU with it, and writes what QEMU used to the
file REPORT as JSON when it ended. LIMITS is JSON: names of `resource` without ``RLIMIT_``, and numbers.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """The command."""
    limits, report, command = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3:]
    _die_with_parent()
    child = os.fork()
    if child == 0:
        _die_with_parent()
        for name, value in limits.items():
            kind = getattr(resource, f"RLIMIT_{name}")
            _, hard = resource.getrlimit(kind)
            allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (allowed, allowed))
        try:
            os.execv(command[0], command)
        except OSError as error:
            sys.stderr.write(f"{command[0]}: {error.strerror}\n")
            os._exit(127)
    # The ends of the job's logs that this process inherited would keep their readers waiting.
    os.closerange(3, 64)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
    _, status, used = os.wait4(child, 0)
    with open(report, "w", encoding="ascii") as file:
        # Kilobytes, as Linux counts them.
        json.dump({"cpu_s": used.ru_utime + used.ru_stime, "peak_bytes": used.ru_maxrss * 1024}, file)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
