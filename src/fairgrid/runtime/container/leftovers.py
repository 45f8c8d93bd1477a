"""Removes what a worker that was killed left: its containers, and their cgroups. Others' are never touched."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import structlog

from fairgrid.errors import HostFailure
from fairgrid.runtime.cgroups.around import sweep_groups
from fairgrid.runtime.cgroups.names import is_left_over
from fairgrid.runtime.container.engines import Engine

__all__ = ["remove_container", "sweep"]

_log = structlog.get_logger(__name__)


async def sweep(engine: Engine) -> int:
    """Remove what processes that are gone left; how many containers that were."""
    said = await engine.call("ps", "--all", "--format", "{{.Names}}")
    left = [name for name in said.stdout.decode().split() if is_left_over(name)]
    for name in left:
        await remove_container(engine, name)
        _log.info("a container that was left over is removed", container=name)
    if engine.owns_groups and engine.group_parent is None:
        await asyncio.to_thread(sweep_groups)
    for pattern in ("load-*.tar", "pull-*"):
        for path in engine.folder.glob(pattern):
            if _is_old(path):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return len(left)


async def remove_container(engine: Engine, name: str) -> bool:
    """Kill and remove it, whatever state it is in; False if the engine could not."""
    with contextlib.suppress(HostFailure):
        said = await engine.call("rm", "--force", "--volumes", name)
        text = said.stderr.lower()
        return said.status == 0 or b"no such container" in text or b"no container with" in text
    return False


def _is_old(path: Path) -> bool:
    """True for what no load or copy can still be writing."""
    import time

    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime > 3600
    return False
