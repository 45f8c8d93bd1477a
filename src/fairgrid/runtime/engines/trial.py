"""Tries an engine: one cell that tries the runtimes on the node that it comes to."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.container.settings import DEFAULT_SETTINGS, ContainerSettings
from fairgrid.runtime.engines.cell_files import Tried, read_tried, write_containers, write_trial
from fairgrid.runtime.engines.interface import Cell, Engine
from fairgrid.runtime.removal import remove_tree

__all__ = ["TRIAL_S", "tried_on"]

TRIAL_S: Final = 300.0
"""How long a trial may take, queue included, before the engine counts as one that does not work."""
_MEMORY_BYTES: Final = 512 << 20


async def tried_on(
    engine: Engine,
    runtime_ids: Sequence[str],
    folder: Path,
    *,
    prefix: str = "fairgrid",
    within_s: float = TRIAL_S,
    containers: ContainerSettings = DEFAULT_SETTINGS,
    gpus: int = 0,
) -> Tried:
    """What works on a node of ``engine``; ``folder`` must be one that the nodes see.

    With ``gpus`` above 0 the cell asks for so many graphics processors, so it comes to a node that has them.

    Raises:
        HostFailure: the engine did not run the trial, or not within ``within_s``.
    """
    token = secrets.token_hex(3)
    cell = Cell(f"{prefix}-trial-{token}", (folder / f"trial-{token}").resolve(), within_s, _MEMORY_BYTES, gpus=gpus)
    await asyncio.to_thread(write_trial, cell.folder, runtime_ids)
    await asyncio.to_thread(write_containers, cell.folder, containers)
    try:
        async with asyncio.timeout(within_s):
            use = await engine.run(cell)
        tried = await asyncio.to_thread(read_tried, cell.folder)
    except TimeoutError:
        raise HostFailure(
            f"The engine {engine.name} did not run a trial within {within_s:.0f} s. Is its queue full, or are its "
            f"nodes down? Ask it with its own commands; docs/engines.md says which."
        ) from None
    finally:
        await asyncio.to_thread(remove_tree, cell.folder)
    if tried is None:
        raise HostFailure(
            f"The trial ran on {use.node or engine.name} and its findings are not here: do the nodes see {folder}?"
        )
    return tried
