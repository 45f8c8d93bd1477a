"""What Ray and Dask call on a node: runs one cell in a process of its own, and ends it when nobody wants it."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines.interface import GRACE_S, Cell, cell_command
from fairgrid.runtime.engines.node import gpu_lines
from fairgrid.runtime.engines.options import EngineOptions
from fairgrid.runtime.engines.parcel import pack_answer, pack_cell, unpack_cell
from fairgrid.runtime.gpus import GpuShelf, devices_in, devices_of_process

__all__ = ["RemoteAnswer", "RemoteCell", "remote_cell", "run_there"]

_LOOK_S: Final = 0.1
_END_S: Final = 10.0
_TAIL: Final = 600


@dataclass(frozen=True, slots=True)
class RemoteCell:
    """A cell as it travels."""

    name: str
    python: str
    """Empty: that of the node's own worker."""
    folder: str
    """Empty when the files travel as ``parcel``."""
    parcel: bytes
    wall_s: float
    """After so many seconds, and `GRACE_S`, the node ends it."""
    max_bytes: int
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class RemoteAnswer:
    """What comes back."""

    node: str
    ran_s: float
    failure: str = ""
    parcel: bytes = b""


def remote_cell(cell: Cell, options: EngineOptions) -> RemoteCell:
    """Make a cell ready to travel. Blocking.

    Raises:
        HostFailure: its files are larger than the owner lets travel.
    """
    limit = options.max_carried_bytes
    parcel = b"" if options.shared_folder else pack_cell(cell.folder, max_bytes=limit)
    folder = str(cell.folder) if options.shared_folder else ""
    # The node adds the grace itself, also one whose Fairgrid is older than the allowance for a compiler.
    wall_s = cell.wall_s + cell.compile_s
    return RemoteCell(cell.name, options.python, folder, parcel, wall_s, limit, cell.gpus)


def run_there(
    cell: RemoteCell, unwanted: Callable[[], bool] = lambda: False, *, own_gpus: bool = False
) -> RemoteAnswer:
    """Run a cell to its end on this node. ``unwanted`` is asked ten times a second whether it is to be ended.

    ``own_gpus``: the engine does not say which graphics processors of the node are the cell's; they are found here.
    """
    began = time.monotonic()
    try:
        if cell.gpus and own_gpus:
            from fairgrid.protocol.needs import GpuNeed

            devices = devices_of_process(os.environ, devices_in(gpu_lines()))
            with GpuShelf().lease_blocking(devices, GpuNeed(cell.gpus), unwanted=unwanted) as numbers:
                return _ran(cell, unwanted, began, {"CUDA_VISIBLE_DEVICES": ",".join(map(str, numbers))})
        return _ran(cell, unwanted, began, {})
    except (HostFailure, OSError) as error:
        return RemoteAnswer(platform.node(), time.monotonic() - began, str(error))


def _ran(cell: RemoteCell, unwanted: Callable[[], bool], began: float, variables: Mapping[str, str]) -> RemoteAnswer:
    if cell.folder:
        _run(cell, Path(cell.folder), unwanted, variables)
        return RemoteAnswer(platform.node(), time.monotonic() - began)
    with tempfile.TemporaryDirectory(prefix="fairgrid-cell-") as root:
        _run(cell, unpack_cell(cell.parcel, Path(root)), unwanted, variables)
        parcel = pack_answer(Path(root), max_bytes=cell.max_bytes)
    return RemoteAnswer(platform.node(), time.monotonic() - began, parcel=parcel)


def _run(cell: RemoteCell, folder: Path, unwanted: Callable[[], bool], variables: Mapping[str, str]) -> None:
    ends_at = time.monotonic() + cell.wall_s + GRACE_S
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*cell_command(cell.python or sys.executable, folder), "--tied"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
            env=os.environ | variables,
        )
        try:
            while process.poll() is None:
                if unwanted():
                    raise HostFailure(f"The cell {cell.name} was ended: nobody wants it any more.")
                if time.monotonic() > ends_at:
                    raise HostFailure(f"The cell {cell.name} was ended after {cell.wall_s + GRACE_S:.0f} s.")
                time.sleep(_LOOK_S)
        finally:
            _end(process)
        if process.returncode != 0:
            said.seek(0)
            text = said.read()[-_TAIL:].decode(errors="replace").strip()
            raise HostFailure(f"The cell {cell.name} ended with status {process.returncode}: {text}")


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
