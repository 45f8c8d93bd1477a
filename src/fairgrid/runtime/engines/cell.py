"""Runs one cell on the machine that an engine chose: ``python -m fairgrid.runtime.engines.cell FOLDER [--tied]``.

Ends with status 0 when an outcome was written, whatever it is. SIGTERM, SIGINT and SIGHUP end the job and leave no
outcome; so does the end of standard input when it is ``--tied`` to who started it.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fairgrid.errors import FairgridError, HostFailure
from fairgrid.runtime.catalogue import CATALOGUE, runtime_info
from fairgrid.runtime.container.settings import ContainerSettings
from fairgrid.runtime.engines.cell_files import (
    Place,
    Tried,
    read_containers,
    read_job,
    read_place,
    read_trial,
    write_outcome,
    write_place,
    write_tried,
)
from fairgrid.runtime.engines.node import gpu_lines, node_facts
from fairgrid.runtime.gpus import devices_in, gpus_given
from fairgrid.runtime.interface import Outcome, SandboxJob, Stop
from fairgrid.runtime.levels import Probe
from fairgrid.runtime.providers import probe_all, provider_of

__all__ = ["main", "run_cell"]

_ENDED = 143


async def run_cell(folder: Path) -> None:
    """Run the cell's job in the runtime that it names, or its trial, and write what came of it.

    A cell runs once: an engine that starts it again after it lost the node would have two write into one folder.

    Raises:
        HostFailure: the folder holds neither, or the cell was begun before.
    """
    begun = read_place(folder)
    if begun is not None:
        raise HostFailure(
            f"The cell was begun before, on {begun.node}, which was lost. It can be run again as another."
        )
    trial = read_trial(folder)
    if trial is not None:
        write_place(folder, Place(platform.node()))
        write_tried(folder, await _tried(trial, read_containers(folder)))
        return
    runtime_id, job = read_job(folder)
    write_place(folder, Place(platform.node()))
    began = time.monotonic()
    try:
        sandbox = provider_of(runtime_info(runtime_id), read_containers(folder)).sandbox()
        try:
            outcome = await sandbox.run(await _with_gpus_of_here(job))
        finally:
            await sandbox.close()
    except FairgridError as error:
        outcome = Outcome(Stop.HOST, 0, b"", b"", 0, 0.0, 0, str(error))
    write_place(folder, Place(platform.node(), time.monotonic() - began))
    write_outcome(folder, outcome)


async def _tried(runtime_ids: tuple[str, ...], containers: ContainerSettings) -> Tried:
    here = [CATALOGUE[name] for name in runtime_ids if name in CATALOGUE]
    probes = {name: probe for name, (_, probe) in (await probe_all(here, containers=containers)).items()}
    for name in runtime_ids:
        remedy = "Install the worker's version of Fairgrid on the nodes."
        probes.setdefault(name, Probe(False, detail="the Fairgrid of this node does not know it", remedy=remedy))
    # Only a trial asks, and each cell would load it.
    from fairgrid.runtime.container.gpus import machine_fault

    node = await asyncio.to_thread(node_facts)
    fault = await machine_fault(containers) if node.gpus else None
    return Tried(node, probes, fault or "")


async def _with_gpus_of_here(job: SandboxJob) -> SandboxJob:
    """The numbers of the graphics processors that the engine gave this cell, in place of the worker's.

    Raises:
        HostFailure: it gave other than it was asked for.
    """
    if not job.gpus:
        return job
    given = gpus_given(os.environ, ())
    if given is None:
        given = gpus_given(os.environ, devices_in(await asyncio.to_thread(gpu_lines)))
    if given is None or len(given) != len(job.gpus):
        raise HostFailure(
            f"The cell asked for {len(job.gpus)} graphics processor(s), and on {platform.node()} the engine gave "
            f"{'none that can be told' if given is None else len(given)}. Are its GPUs configured?"
        )
    return replace(job, gpus=given)


async def _until_told(folder: Path, *, tied: bool) -> int:
    task = asyncio.ensure_future(run_cell(folder))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, task.cancel)
    if tied:
        threading.Thread(target=_cancel_at_end_of_input, args=(loop, task), daemon=True).start()
    try:
        await task
    except asyncio.CancelledError:
        return _ENDED
    except (HostFailure, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _cancel_at_end_of_input(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(task.cancel)


def main() -> None:
    """The command."""
    arguments = sys.argv[1:]
    tied = arguments[1:] == ["--tied"]
    if not arguments or (len(arguments) > 1 and not tied):
        sys.stderr.write("usage: python -m fairgrid.runtime.engines.cell FOLDER [--tied]\n")
        raise SystemExit(2)
    raise SystemExit(asyncio.run(_until_told(Path(arguments[0]), tied=tied)))


if __name__ == "__main__":
    main()
