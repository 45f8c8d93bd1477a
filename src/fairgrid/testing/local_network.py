"""`fairgrid.LocalNetwork`: a whole network of real processes for the time of a block, with or without an event loop."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.network import Network, load_network
from fairgrid.client.client import Client
from fairgrid.errors import ServiceError, UsageError
from fairgrid.executors.asynchronous import AsyncExecutor
from fairgrid.executors.executor import Executor
from fairgrid.executors.places import Trust
from fairgrid.localnet import network as engine
from fairgrid.localnet.accounts import WORKER_PURSE, Purse, fund_address
from fairgrid.localnet.options import LocalNetworkOptions, WorkerSpec, honest_workers
from fairgrid.localnet.paths import default_directory, requester_folder
from fairgrid.localnet.status import network_status
from fairgrid.protocol.hexes import is_address
from fairgrid.seams.loop_thread import LoopThread
from fairgrid.wallet.keystore import open_or_create_key

__all__ = ["LocalNetwork"]

_DEFAULT_WORKERS: Final = 3
_DEFAULT_BUDGET: Final = "100 RLC"
_MOST_WORKERS: Final = 100


class LocalNetwork:
    """Chain, contracts, market, storage, pool and workers, each a real process, for the time of a block.

    ``with`` and ``async with`` do the same. Without ``directory`` everything lies in a temporary folder that is removed
    at the end; a given one is kept, and goes on where it stopped when it is used again. ``workers`` is how many honest
    ones there are, each of an owner of its own, or what each of them is like. ``progress`` takes sentences for people.

    Every process is ended when the block is left, however it is left: an exception, Ctrl-C, a cancelled task. If this
    process is killed, a guardian ends the others.

    Raises:
        UsageError: a number of workers that cannot be, or options that let the processes outlive the block.
    """

    def __init__(
        self,
        directory: Path | str | None = None,
        *,
        workers: int | Sequence[WorkerSpec] = _DEFAULT_WORKERS,
        options: LocalNetworkOptions | None = None,
        progress: engine.Progress | None = None,
    ) -> None:
        if isinstance(workers, int) and not 0 <= workers <= _MOST_WORKERS:
            raise UsageError(f"A local network has 0 to {_MOST_WORKERS} workers, not {workers}.")
        if options is not None and options.detach:
            raise UsageError("A network that outlives its block is no LocalNetwork; `fairgrid up --detach` starts one.")
        self._directory = None if directory is None else Path(directory)
        self._workers = honest_workers(workers) if isinstance(workers, int) else tuple(workers)
        self._options = options
        self._progress = progress
        self._foreign = False
        self._temporary: Path | None = None
        self._engine: engine.LocalNetwork | None = None
        self._loop: LoopThread | None = None

    @classmethod
    def running(cls, directory: Path | str | None = None) -> LocalNetwork:
        """A network that runs already, started by `fairgrid up` or by somebody's block; leaving changes nothing.

        None: the one that `fairgrid up` starts without ``--dir``.

        Raises, on entering:
            UsageError: there is no network in that folder.
            ServiceError: it does not run wholly.
        """
        self = cls(default_directory() if directory is None else directory)
        self._foreign = True
        return self

    # --- what is there ------------------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """Where everything lies: `Executor` and ``FAIRGRID_DIR`` take it.

        Raises:
            UsageError: outside of the block.
        """
        return self._entered.folder.path

    @property
    def network(self) -> Network:
        """Addresses of services and contracts.

        Raises:
            UsageError: outside of the block.
        """
        return load_network(self.folder)

    @property
    def environment(self) -> Mapping[str, str]:
        """This process's environment for a `fairgrid` command that shall find this network."""
        return os.environ | {"FAIRGRID_DIR": str(self.folder)}

    def executor(self, *, budget: str | int = _DEFAULT_BUDGET, trust: Trust | None = None, **options: Any) -> Executor:
        """An `Executor` that pays from the network's own requester. ``trust`` None: two owners agree, where there are.

        Raises:
            FairgridError: as `Executor`.
        """
        return Executor(self.folder, budget=budget, trust=self._trust(trust), **options)

    def async_executor(
        self, *, budget: str | int = _DEFAULT_BUDGET, trust: Trust | None = None, **options: Any
    ) -> AsyncExecutor:
        """The same for programs with an event loop.

        Raises:
            FairgridError: as `AsyncExecutor`.
        """
        return AsyncExecutor(self.folder, budget=budget, trust=self._trust(trust), **options)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A `Client` of the network's own requester, whose account is filled.

        Raises:
            ServiceUnavailable: something does not answer.
        """
        signer = await asyncio.to_thread(open_or_create_key, requester_folder(self.folder))
        journal = self.folder / "deals" / signer.address
        async with Client.connect(self.network, signer, journal_folder=journal) as client:
            yield client

    def names(self) -> list[str]:
        """Its processes: ``anvil``, ``market``, ``storage``, ``pool``, ``worker-1`` and so on."""
        return self._entered.names()

    def log(self, name: str) -> Path:
        """The log of a process."""
        return self._entered.folder.log(name)

    def kill(self, name: str) -> None:
        """End one process as a crash would; `restart` starts it again.

        Raises:
            UsageError: there is no process of that name.
        """
        if name not in self.names():
            raise UsageError(f"This network has no process {name}; it has {', '.join(self.names())}.")
        self._entered.kill(name)

    def restart(self, name: str) -> None:
        """End one process if it runs, and start it again where it was. Returns when it serves.

        Raises:
            UsageError: there is no process of that name, or it is not ours to start.
            ProcessFailed: it does not start.
        """
        if self._foreign:
            raise UsageError("This network was started elsewhere, and is restarted there: `fairgrid up`.")
        network = self._entered
        self._loop_of_ours.wait(network.restart(name))

    def fund(self, address: str, purse: Purse = WORKER_PURSE) -> None:
        """Give an account coins for gas, and RLC in its wallet and in escrow: 100 RLC in escrow, as workers have.

        Raises:
            UsageError: ``address`` is none.
            ServiceUnavailable: the chain does not answer.
        """
        if not is_address(address):
            raise UsageError(f"{address!r} is no address. `fairgrid worker init` and `fairgrid status` show some.")
        network = self.network
        self._loop_of_ours.wait(_fund(network, address, purse))

    # --- the block ----------------------------------------------------------------------------------------------

    def __enter__(self) -> LocalNetwork:
        """Start it; returns when every worker is enrolled.

        Raises:
            UsageError: it was entered already, or another program is starting this network.
            ProcessFailed: a process did not start; the message ends with the last lines of its log.
            HostFailure: anvil or the interpreter cannot be fetched.
        """
        self._refuse_second()
        try:
            self._make()
            self._loop_of_ours.wait(self._begin())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    async def __aenter__(self) -> LocalNetwork:
        """As `__enter__`.

        Raises:
            as `__enter__`.
        """
        self._refuse_second()
        try:
            self._make()
            await asyncio.wrap_future(self._loop_of_ours.start(self._begin()))
        except BaseException:
            await asyncio.to_thread(self._end)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # In a thread: it goes on to its end even if this task is cancelled once more.
        await asyncio.to_thread(self._end)

    def _refuse_second(self) -> None:
        if self._engine is not None:
            raise UsageError("This LocalNetwork was entered already. Make another one for another network.")

    def _make(self) -> None:
        if self._directory is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="fairgrid-"))
        directory = self._directory or self._temporary
        assert directory is not None
        self._engine = engine.LocalNetwork(
            directory, workers=self._workers, options=self._options, progress=self._progress
        )
        self._loop = LoopThread("fairgrid-local-network")

    async def _begin(self) -> None:
        if not self._foreign:
            await self._entered.start()
            return
        status = await network_status(self.folder)
        if not status.healthy:
            raise ServiceError(
                f"The network in {self.folder} does not run wholly. `fairgrid status --dir {self.folder}` tells what "
                f"is missing, `fairgrid up --dir {self.folder}` starts it."
            )

    def _end(self) -> None:
        ending, loop, temporary = self._engine, self._loop, self._temporary
        self._engine = self._loop = self._temporary = None
        try:
            if loop is not None and ending is not None:
                loop.close(None if self._foreign else ending.stop())
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)

    @property
    def _entered(self) -> engine.LocalNetwork:
        if self._engine is None:
            raise UsageError("This network does not run: use it inside of its `with` block.")
        return self._engine

    @property
    def _loop_of_ours(self) -> LoopThread:
        assert self._loop is not None, "the block was entered"
        return self._loop

    def _trust(self, trust: Trust | None) -> Trust:
        """Two newcomers reach a trust of 4, one of 2."""
        if trust is not None:
            return trust
        return "0.75" if len(self._workers) >= 2 else "0.5"


async def _fund(network: Network, address: str, purse: Purse) -> None:
    async with await JsonRpcChain.connect(network) as chain:
        await fund_address(chain, address, purse)
