"""Runs one cell on the machine that an engine chose: ``python -m fairgrid.runtime.engines.cell FOLDER``.

Ends with status 0 when an outcome was written, whatever it is. SIGTERM, SIGINT and SIGHUP end the job and leave no
outcome.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from pathlib import Path

from fairgrid.errors import FairgridError, HostFailure
from fairgrid.runtime.catalogue import runtime_info
from fairgrid.runtime.engines.cell_files import read_job, write_outcome
from fairgrid.runtime.interface import Outcome, Stop
from fairgrid.runtime.providers import provider_of

__all__ = ["main", "run_cell"]

_ENDED = 143


async def run_cell(folder: Path) -> None:
    """Run the cell's job in the runtime that it names, and write the outcome.

    Raises:
        HostFailure: the folder holds no job.
    """
    runtime_id, job = read_job(folder)
    try:
        outcome = await provider_of(runtime_info(runtime_id)).sandbox().run(job)
    except FairgridError as error:
        outcome = Outcome(Stop.HOST, 0, b"", b"", 0, 0.0, 0, str(error))
    write_outcome(folder, outcome)


async def _until_told(folder: Path) -> int:
    task = asyncio.ensure_future(run_cell(folder))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return _ENDED
    except HostFailure as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def main() -> None:
    """The command."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m fairgrid.runtime.engines.cell FOLDER\n")
        raise SystemExit(2)
    raise SystemExit(asyncio.run(_until_told(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
