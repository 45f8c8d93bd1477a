"""A whole network on one machine: chain, contracts, market, storage, pool and workers, each a process of its own.

    async with LocalNetwork(Path("net")) as local:
        ...  # local.network says where everything is

Everything lies under one directory; what was started is told from strangers by pid and start time, so `start` may be
called on a directory that runs, that was stopped, or whose machine crashed: it starts what is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.deploy import deploy
from fairgrid.chain.network import Network, load_network, save_network
from fairgrid.errors import ServiceError, UsageError
from fairgrid.localnet.accounts import APP_OWNER, POOL_OWNER, fund_accounts, fund_gas, open_accounts
from fairgrid.localnet.anvil import LOCAL_CHAIN_ID, AnvilOptions, ensure_anvil, start_anvil
from fairgrid.localnet.assets import offer, register_app, register_workerpool
from fairgrid.localnet.bytecode import compile_once
from fairgrid.localnet.crew import Crew
from fairgrid.localnet.folder import NetworkFolder, free_port
from fairgrid.localnet.options import (
    ANVIL,
    DEFAULT_WORKERS,
    MARKET,
    POOL,
    SERVICES,
    STORAGE,
    LocalNetworkOptions,
    WorkerSpec,
    check_names,
    honest_workers,
)
from fairgrid.localnet.plan import moved_network, planned_network, service_command, worker_command
from fairgrid.localnet.processes import ProcessFailed
from fairgrid.runtime.catalogue import CATALOGUE
from fairgrid.runtime.wasm.interpreters import default_runtime_id, install_interpreter
from fairgrid.wallet.keys import KeySigner

__all__ = ["LocalNetwork"]

_PORT_TAKEN = "Cannot listen"

Progress = Callable[[str], None]


class LocalNetwork:
    """One network in one directory. An async context manager: `start` on entering, `stop` on leaving."""

    def __init__(
        self,
        directory: Path,
        *,
        workers: Sequence[WorkerSpec] | None = None,
        options: LocalNetworkOptions | None = None,
        progress: Progress | None = None,
    ) -> None:
        """``workers`` None: eight honest ones. ``progress`` takes sentences for the user.

        Raises:
            UsageError: two workers have the same name, or one has a name that is no plain file name.
        """
        self.options = options or LocalNetworkOptions()
        self.workers = tuple(workers) if workers is not None else honest_workers(DEFAULT_WORKERS)
        check_names(self.workers)
        self.folder = NetworkFolder(directory.absolute())
        self.accounts: dict[str, KeySigner] = {}
        """Keys by role (``deployer``, ``app-owner``, ``pool-owner``, ``requester``) and by worker's name."""
        self.apps: tuple[str, ...] = ()
        """Address of the app that runs any Python script."""
        self._crew = Crew(self.folder)
        self._tell: Progress = progress or (lambda sentence: None)
        self._network: Network | None = None

    @property
    def network(self) -> Network:
        """Where everything is.

        Raises:
            UsageError: nothing was started in this directory yet.
        """
        return self._network if self._network is not None else load_network(self.folder.network)

    async def __aenter__(self) -> LocalNetwork:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # --- starting -----------------------------------------------------------------------------------------------

    async def start(self) -> Network:
        """Start what does not run yet; returns when every worker is enrolled at the pool.

        Raises:
            UsageError: another program is starting or stopping this network now.
            ProcessFailed: a process did not start; the message ends with the last lines of its log.
            HostFailure: anvil or the interpreter cannot be fetched.
        """
        self.folder.create()
        with self.folder.exclusive():
            if not self.options.detach:
                self._crew.guard()
            binary, _ = await asyncio.gather(
                asyncio.to_thread(ensure_anvil, self._tell),
                asyncio.to_thread(install_interpreter, default_runtime_id(), self._tell_installing),
            )
            compiling = asyncio.create_task(asyncio.to_thread(compile_once))
            rpc = await self._start_chain(binary)
            old = self._old_network()
            self._network = await self._set_up_chain(rpc)
            save_network(self._network, self.folder.network)
            await compiling
            if self._network != old:  # whoever still runs has read another file
                await self._crew.end_all_but(ANVIL)
            await self._start_services()
            if self.options.detach:
                self._crew.detach()
            return self._network

    async def _start_chain(self, binary: Path) -> str:
        old = self._old_network()
        if old is not None and self._crew.runs(ANVIL):
            return old.rpc
        self._tell("Starting the chain")
        state = self.folder.chain_state
        options = AnvilOptions(
            port=free_port(old.rpc if old is not None else None),
            block_time=self.options.block_time,
            state=state,
            state_interval=60,
            log=self.folder.log(ANVIL),
            extra=("--prune-history", "512"),
        )
        try:
            anvil = await start_anvil(options, binary=binary, guardian=self._crew.guardian, started=self._crew.note)
        except ProcessFailed as error:
            if state.exists() and "state" in str(error).lower():
                raise ServiceError(
                    f"{error}\nThe chain's state {state} may be damaged. `fairgrid down --delete` "
                    f"removes this network, `fairgrid up` makes a new one."
                ) from error
            raise
        return anvil.rpc_url

    async def _set_up_chain(self, rpc: str) -> Network:
        """Contracts, accounts and assets; what is there stays. Gives the network file's content."""
        self._tell("Deploying the contracts")
        deployment = await deploy(rpc)
        if not deployment.already_deployed:
            # A chain that was begun anew: what services remember of the old one is not true of it.
            await self._crew.end_all_but(ANVIL)
            self.folder.forget_services()
        worker_folders = {worker.name: self.folder.worker(worker.name) for worker in self.workers}
        pool_folder = self.folder.service(POOL)
        self.accounts = await asyncio.to_thread(open_accounts, self.folder.path, pool_folder, worker_folders)
        self._write_pool_policy()
        if self.options.levels:
            for worker in self.workers:
                await asyncio.to_thread(self.folder.write_levels, worker.name, self.options.levels)
        async with JsonRpcChain(rpc, chain_id=LOCAL_CHAIN_ID, hub=deployment.hub, rlc=deployment.rlc) as chain:
            self._tell("Filling the accounts, registering app and workerpool")
            await fund_gas(chain, self.accounts)
            _, self.apps, workerpool = await asyncio.gather(
                fund_accounts(chain, self.accounts),
                self._register_apps(chain),
                register_workerpool(chain, self.accounts[POOL_OWNER], self.options.terms),
            )
        return planned_network(
            rpc,
            deployment,
            workerpool,
            old=self._old_network(),
            runs=self._crew.runs,
            pool_processes=self.options.pool_processes,
        )

    async def _register_apps(self, chain: JsonRpcChain) -> tuple[str, ...]:
        """The generic app of every runtime; one after the other, because they have one owner."""
        return tuple([await register_app(chain, self.accounts[APP_OWNER], info) for info in CATALOGUE.values()])

    async def _start_services(self) -> None:
        """All at once: each of them waits for those it needs."""
        self._tell(f"Starting market, storage, pool and {len(self.workers)} worker(s)")
        for _ in range(3):
            try:
                await self._run_all()
                return
            except ProcessFailed as error:
                if _PORT_TAKEN not in str(error) or error.name not in SERVICES:
                    raise
                # Somebody took the port since it was found free. Whoever read the network file must read it again.
                await self._crew.end_all_but(ANVIL)
                self._network = moved_network(self.network, error.name)
                save_network(self._network, self.folder.network)
        raise ServiceError("Ports that were free are taken again and again by other programs. Try `fairgrid up` again.")

    async def _run_all(self) -> None:
        names = (*SERVICES, *self.options.standing_by, *(worker.name for worker in self.workers))
        tasks = [asyncio.create_task(start) for start in (*map(self._run, names), self._offer())]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _offer(self) -> None:
        await offer(
            self.network,
            self.options.terms,
            apps=self.apps,
            app_owner=self.accounts[APP_OWNER],
            pool_owner=self.accounts[POOL_OWNER],
            within_s=self.options.ready_within_s,
        )

    async def _run(self, name: str) -> None:
        worker = next((worker for worker in self.workers if worker.name == name), None)
        if worker is not None:
            command = worker_command(worker, self.folder)
        else:
            command = service_command(name, self.network, self.folder, self.options)
        await self._crew.run(name, command, ready_within_s=self.options.ready_within_s)

    def _write_pool_policy(self) -> None:
        addresses = {name: signer.address for name, signer in self.accounts.items()}
        self.folder.write_pool_policy(self.options.pool_policy, addresses)

    def _old_network(self) -> Network | None:
        try:
            return load_network(self.folder.network)
        except UsageError:
            return None

    def _tell_installing(self, sentence: str) -> None:
        if not sentence.endswith("is installed"):
            self._tell(sentence)

    # --- one process --------------------------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """End one process as a crash would. `restart` starts it again."""
        self._crew.kill(name)

    async def restart(self, name: str) -> None:
        """End one process if it runs, and start it again with the same folder and the same address.

        Raises:
            UsageError: there is no process of that name.
            ProcessFailed: it does not start.
        """
        if name not in (ANVIL, *SERVICES, *self.options.standing_by, *(worker.name for worker in self.workers)):
            raise UsageError(f"This network has no process {name}.")
        await self._crew.end([name])
        if name == ANVIL:
            await self._start_chain(await asyncio.to_thread(ensure_anvil))
        else:
            await self._run(name)

    def names(self) -> list[str]:
        """Processes that were started in this directory and not stopped in order, whether they run or not."""
        return self._crew.names()

    def started(self) -> bool:
        """True unless the network was stopped in order, by us or from outside."""
        return bool(self._crew.names())

    def ended(self) -> dict[str, int | None]:
        """Processes that were started and run no more, with their exit codes where they are ours to know.

        A child of ours has ended when it can be waited for: the system shows a killed one as gone a moment before.
        """
        return self._crew.ended()

    # --- stopping -----------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """End everything that was started in this directory, by whomever; the chain last, and it saves its state.

        Raises:
            ServiceError: a process does not end, even killed.
        """
        names = self._crew.names()
        standing_by = self.options.standing_by
        for stage in (
            [name for name in names if name not in (ANVIL, *SERVICES, *standing_by)],
            [name for name in names if name in (MARKET, POOL, *standing_by)],
            [name for name in names if name == STORAGE],
            [name for name in names if name == ANVIL],
        ):
            await self._crew.end(stage)
        await self._crew.dismiss()
