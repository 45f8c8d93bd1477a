"""The guardian's process: reads ``PID START NAME`` lines; at the end of its input it ends these processes.

The line ``release`` means that they may go on. See `fairgrid.localnet.processes.Guardian`.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from fairgrid.localnet.processes import ProcessRecord, end_processes

__all__ = ["main"]


def main() -> None:
    """Watch stdin until it closes."""
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)
    records: list[ProcessRecord] = []
    for line in sys.stdin:
        if line.strip() == "release":
            return
        pid, started, name = line.split(maxsplit=2)
        records.append(ProcessRecord(name.strip(), int(pid), float(started)))
    # The last one started leans on the first ones: let it end while these still answer.
    asyncio.run(end_processes(records[::-1]))


if __name__ == "__main__":
    main()
