"""Cells as tasks of an existing Dask cluster. A node ends a cell whose task was cancelled, or whose client is gone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Final

from fairgrid.errors import HostFailure, UsageError
from fairgrid.runtime.engines.interface import Cell, CellUse, Engine
from fairgrid.runtime.engines.options import EngineOptions
from fairgrid.runtime.engines.parcel import unpack_answer
from fairgrid.runtime.engines.remote_cell import RemoteAnswer, RemoteCell, remote_cell, run_there

try:
    import distributed
except ImportError as error:
    raise UsageError("The engine dask needs its package: pip install 'fairgrid[dask]'") from error

__all__ = ["DaskEngine", "make_engine"]

_CONNECT_S: Final = 20.0
_GPU_RESOURCE: Final = "GPU"
_WANTED: Final = frozenset({"executing", "long-running", "ready", "waiting", "constrained", "resumed"})


class DaskEngine:
    """Implements `Engine` on the cluster at ``options.address``."""

    def __init__(self, options: EngineOptions, *, prefix: str) -> None:
        self._options = options
        self._prefix = prefix
        self._client: Any = None
        self._lock = asyncio.Lock()
        settings = dict(line.split("=", 1) for line in options.submit)
        self._priority = int(settings.pop("priority", "0"))
        self._resources = {name.removeprefix("resources."): float(amount) for name, amount in settings.items()}

    @property
    def name(self) -> str:
        """What people call it."""
        return "dask"

    async def run(self, cell: Cell) -> CellUse:
        """Have the cell run; see `Engine`."""
        if cell.cpus > 1:
            raise HostFailure(
                f"The job asks for {cell.cpus} processors; a Dask cluster gives each cell one thread and no more."
            )
        asked = time.monotonic()
        client = await self._connected()
        travels = await asyncio.to_thread(remote_cell, cell, self._options)
        future = client.submit(
            _run_on_dask,
            travels,
            key=cell.name,
            pure=False,
            retries=0,
            priority=self._priority,
            resources=self._resources | ({_GPU_RESOURCE: float(cell.gpus)} if cell.gpus else {}) or None,
        )
        try:
            limit = self._options.max_queue_minutes
            async with asyncio.timeout(limit * 60.0 + cell.limit_s if limit is not None else None):
                answer: RemoteAnswer = await future.result()
        except TimeoutError:
            raise HostFailure(f"The cell (dask {cell.name}) waited longer than {limit} minutes.") from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise HostFailure(
                f"The cell (dask {cell.name}) was cancelled by the cluster. It can be run again."
            ) from None
        except Exception as error:
            raise HostFailure(
                f"The cell (dask {cell.name}) was lost: {type(error).__name__}: {error}. It can be run again."
            ) from error
        finally:
            with contextlib.suppress(Exception):
                await asyncio.shield(future.cancel(force=True, reason="the worker does not want it any more"))
            future.release()
        if answer.failure:
            raise HostFailure(f"On {answer.node}: {answer.failure}")
        if answer.parcel:
            await asyncio.to_thread(unpack_answer, answer.parcel, cell.folder)
        return CellUse(cell.name, answer.node, max(time.monotonic() - asked - answer.ran_s, 0.0), answer.ran_s)

    async def sweep(self) -> int:
        """None: nodes end the cells of a client that is gone. Raises `HostFailure` when the cluster does not answer."""
        await self._connected()
        return 0

    async def close(self) -> None:
        """Leave the cluster; see `Engine`."""
        if self._client is not None:
            client, self._client = self._client, None
            with contextlib.suppress(Exception):
                await client.close()

    async def _connected(self) -> Any:
        async with self._lock:
            if self._client is None:
                try:
                    self._client = await distributed.Client(
                        self._options.address,
                        asynchronous=True,
                        name=self._prefix,
                        timeout=_CONNECT_S,
                        set_as_default=False,
                    )
                except Exception as error:
                    raise HostFailure(
                        f"The Dask cluster at {self._options.address} cannot be joined: {error}. Is its scheduler "
                        f"up, and of the version of the worker's?"
                    ) from error
            return self._client


def _run_on_dask(cell: RemoteCell) -> RemoteAnswer:
    """On the node, in a thread of its Dask worker."""
    worker = distributed.get_worker()

    def unwanted() -> bool:
        task = worker.state.tasks.get(cell.name)
        return task is None or task.state not in _WANTED

    # Dask counts graphics processors and does not say which: they are given out among the node's cells here.
    return run_there(cell, unwanted, own_gpus=True)


def make_engine(options: EngineOptions, *, prefix: str) -> Engine:
    """The engine; see `fairgrid.runtime.engines.opening`."""
    return DaskEngine(options, prefix=prefix)
