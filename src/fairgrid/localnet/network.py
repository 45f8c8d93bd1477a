"""A whole network on one machine: chain, contracts, market, storage, pool and workers, each a process of its own.

    async with LocalNetwork(Path("net")) as local:
        ...  # local.network says where everything is

Everything lies under one directory; what was started is told from strangers by pid and start time, so `start` may be
called on a directory that runs, that was stopped, or whose machine crashed: it starts what is missing.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.deploy import Deployment, deploy
from fairgrid.chain.network import Network, load_network, save_network
from fairgrid.errors import ServiceError, UsageError
from fairgrid.localnet.accounts import APP_OWNER, POOL_OWNER, fund_accounts, fund_gas, open_accounts
from fairgrid.localnet.anvil import LOCAL_CHAIN_ID, AnvilOptions, ensure_anvil, start_anvil
from fairgrid.localnet.assets import Terms, publish_orders, register_app, register_workerpool, upload_content
from fairgrid.localnet.bytecode import compile_once
from fairgrid.localnet.folder import NetworkFolder, ProcessBook, free_port, url_answers
from fairgrid.localnet.processes import (
    Guardian,
    ProcessFailed,
    ProcessSpec,
    RunningProcess,
    end_processes,
    start_process,
)
from fairgrid.market.client import MarketClient
from fairgrid.pool.client import pool_urls
from fairgrid.runtime.catalogue import CATALOGUE
from fairgrid.runtime.wasm.interpreters import default_runtime_id, install_interpreter
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.keys import KeySigner

__all__ = ["ANVIL", "DEFAULT_WORKERS", "LocalNetwork", "LocalNetworkOptions", "WorkerSpec", "honest_workers"]

ANVIL, STORAGE, MARKET, POOL = "anvil", "storage", "market", "pool"
SERVICES = (STORAGE, MARKET, POOL)
DEFAULT_WORKERS = 8
"""Eight honest owners reach trust 256, hence a confidence of 0.99 (decision 1)."""
_READY = r"^ready (http\S+)"
_PORT_TAKEN = "Cannot listen"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker of its own owner."""

    name: str
    misbehave: str | None = None
    """What ``fairgrid worker start --misbehave`` takes; None for an honest one."""
    slots: int = 1
    arguments: tuple[str, ...] = ()
    """What else ``fairgrid worker start`` is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalNetworkOptions:
    """How a local network behaves."""

    block_time: int = 1
    """Seconds between the chain's blocks; transactions are mined at once beside them (decision 52)."""
    terms: Terms = field(default_factory=Terms)
    pool_policy: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the pool's policy file; in lists, a worker's name stands for its address."""
    levels: tuple[str, ...] = ()
    """Isolation levels that the workers offer; empty: what their own policies say, ``wasm`` alone at first."""
    pool_database: str = ""
    """Where the pool's state lies, as ``fairgrid pool start --database`` takes it; empty: in its folder."""
    pool_processes: int = 1
    """So many processes of the pool; more than one need a PostgreSQL database. One leads, the others stand by."""
    ready_within_s: float = 90.0
    """How long a service may take to start."""
    detach: bool = False
    """True: the processes outlive this one. False: they end with it, however it ends."""


def honest_workers(count: int) -> tuple[WorkerSpec, ...]:
    """``worker-1`` to ``worker-<count>``."""
    return tuple(WorkerSpec(f"worker-{number}") for number in range(1, count + 1))


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
        names = [worker.name for worker in self.workers]
        if len(set(names)) != len(names) or not all(_is_plain(name) for name in names):
            raise UsageError(f"Workers need different names of letters, digits and -, not {', '.join(names)}.")
        self.folder = NetworkFolder(directory.absolute())
        self.accounts: dict[str, KeySigner] = {}
        """Keys by role (``deployer``, ``app-owner``, ``pool-owner``, ``requester``) and by worker's name."""
        self.apps: tuple[str, ...] = ()
        """Address of the app that runs any Python script."""
        self._book = ProcessBook(self.folder.processes)
        self._running: dict[str, RunningProcess] = {}
        self._guardian: Guardian | None = None
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
            if not self.options.detach and self._guardian is None:
                self._guardian = Guardian()
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
                await self._end(name for name in self._book.names() if name != ANVIL)
            await self._start_services()
            if self.options.detach:
                for process in self._running.values():
                    process.detach()
            return self._network

    async def _start_chain(self, binary: Path) -> str:
        old = self._old_network()
        if old is not None and self._book.runs(ANVIL):
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
            anvil = await start_anvil(options, binary=binary, guardian=self._guardian, started=self._note)
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
            await self._end(name for name in self._book.names() if name != ANVIL)
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
        return self._planned_network(rpc, deployment, workerpool)

    async def _register_apps(self, chain: JsonRpcChain) -> tuple[str, ...]:
        """The generic app of every runtime; one after the other, because they have one owner."""
        return tuple([await register_app(chain, self.accounts[APP_OWNER], info) for info in CATALOGUE.values()])

    def _planned_network(self, rpc: str, deployment: Deployment, workerpool: str) -> Network:
        """With the addresses that services will have: those they had, where their ports are free."""
        old = self._old_network()
        urls: dict[str, str] = {}
        for service in SERVICES:
            before = None if old is None else getattr(old, service)
            if before is not None and self._book.runs(service):
                urls[service] = before
            else:
                port = free_port(pool_urls(before)[0] if before else None, pick=True, taken=[*urls.values()])
                urls[service] = f"http://127.0.0.1:{port}"
        processes = list(pool_urls(urls[POOL]))
        while len(processes) < self.options.pool_processes:
            port = free_port(None, pick=True, taken=[urls[MARKET], urls[STORAGE], *processes])
            processes.append(f"http://127.0.0.1:{port}")
        urls[POOL] = ",".join(processes)
        return Network(
            name="local",
            chain_id=LOCAL_CHAIN_ID,
            rpc=rpc,
            hub=deployment.hub,
            hub_code_hash=deployment.hub_code_hash,
            rlc=deployment.rlc,
            market=urls[MARKET],
            storage=urls[STORAGE],
            pool=urls[POOL],
            pool_address=workerpool,
        )

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
                await self._end(name for name in self._book.names() if name != ANVIL)
                port = free_port(None, pick=True)
                self._network = Network(**{**asdict(self.network), error.name: f"http://127.0.0.1:{port}"})
                save_network(self._network, self.folder.network)
        raise ServiceError("Ports that were free are taken again and again by other programs. Try `fairgrid up` again.")

    async def _run_all(self) -> None:
        starts = [self._run(name, self._service_command(name)) for name in (*SERVICES, *self.standing_by)]
        starts += [self._run(worker.name, self._worker_command(worker)) for worker in self.workers]
        tasks = [asyncio.create_task(start) for start in [*starts, self._offer()]]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _offer(self) -> None:
        """Upload the interpreter and publish the orders, as soon as storage and market answer."""
        network = self.network

        async def upload() -> None:
            await url_answers(network.storage, within_s=self.options.ready_within_s)
            async with StorageClient(network.storage) as storage:
                for info in CATALOGUE.values():
                    await upload_content(storage, info)

        async def publish() -> None:
            await url_answers(network.market, within_s=self.options.ready_within_s)
            async with (
                await JsonRpcChain.connect(network) as chain,
                MarketClient(network.market, network.chain_id, hub=network.hub) as market,
            ):
                await publish_orders(
                    market,
                    chain,
                    self.options.terms,
                    apps=self.apps,
                    app_owner=self.accounts[APP_OWNER],
                    workerpool=network.pool_address,
                    pool_owner=self.accounts[POOL_OWNER],
                )

        await asyncio.gather(upload(), publish())

    async def _run(self, name: str, command: Sequence[str]) -> None:
        if self._book.runs(name):
            return
        spec = ProcessSpec(
            name,
            (sys.executable, "-m", "fairgrid", *command),
            self.folder.log(name),
            ready=_READY,
            timeout_s=self.options.ready_within_s,
        )
        await start_process(spec, guardian=self._guardian, started=self._note)

    def _note(self, process: RunningProcess) -> None:
        """Remember it at once: what is written down can be ended by anybody who finds the directory."""
        self._running[process.spec.name] = process
        self._book.add(process.record)

    @property
    def standing_by(self) -> tuple[str, ...]:
        """Names of the pool's further processes: ``pool-2`` and so on."""
        return tuple(f"{POOL}-{number}" for number in range(2, self.options.pool_processes + 1))

    def _service_command(self, name: str) -> list[str]:
        service, _, number = name.partition("-")
        url = pool_urls(getattr(self.network, service))[int(number or 1) - 1]
        command = [service, "start", "--dir", str(self.folder.service(service)), "--port", url.rpartition(":")[2]]
        if service != STORAGE:
            command += ["--network", str(self.folder.network)]
        if service == POOL:
            command += ["--policy", str(self.folder.pool_policy)]
            if self.options.pool_database:
                command += ["--database", self.options.pool_database]
        return command

    def _worker_command(self, worker: WorkerSpec) -> list[str]:
        command = ["worker", "start", "--network", str(self.folder.network), "--slots", str(worker.slots)]
        command += ["--dir", str(self.folder.worker(worker.name))]
        command += worker.arguments
        return [*command, "--misbehave", worker.misbehave] if worker.misbehave else command

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
        for record in self._book.records():
            if record.name == name:
                record.signal(kill=True)

    async def restart(self, name: str) -> None:
        """End one process if it runs, and start it again with the same folder and the same address.

        Raises:
            UsageError: there is no process of that name.
            ProcessFailed: it does not start.
        """
        if name not in (ANVIL, *SERVICES, *self.standing_by, *(worker.name for worker in self.workers)):
            raise UsageError(f"This network has no process {name}.")
        await self._end([name])
        if name == ANVIL:
            await self._start_chain(await asyncio.to_thread(ensure_anvil))
        elif name in (*SERVICES, *self.standing_by):
            await self._run(name, self._service_command(name))
        else:
            await self._run(name, self._worker_command(next(w for w in self.workers if w.name == name)))

    def names(self) -> list[str]:
        """Processes that were started in this directory and not stopped in order, whether they run or not."""
        return self._book.names()

    def started(self) -> bool:
        """True unless the network was stopped in order, by us or from outside."""
        return bool(self._book.names())

    def ended(self) -> dict[str, int | None]:
        """Processes that were started and run no more, with their exit codes where they are ours to know.

        A child of ours has ended when it can be waited for: the system shows a killed one as gone a moment before.
        """
        ended: dict[str, int | None] = {}
        for record in self._book.records():
            child = self._running.get(record.name)
            if child is None:
                if not record.running():
                    ended[record.name] = None
            elif (code := child.exit_code()) is not None:
                ended[record.name] = code
        return ended

    # --- stopping -----------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """End everything that was started in this directory, by whomever; the chain last, and it saves its state.

        Raises:
            ServiceError: a process does not end, even killed.
        """
        names = self._book.names()
        for stage in (
            [name for name in names if name not in (ANVIL, *SERVICES, *self.standing_by)],
            [name for name in names if name in (MARKET, POOL, *self.standing_by)],
            [name for name in names if name == STORAGE],
            [name for name in names if name == ANVIL],
        ):
            await self._end(stage)
        if self._guardian is not None:
            await asyncio.to_thread(self._guardian.close)
            self._guardian = None

    async def _end(self, names: Iterable[str]) -> None:
        chosen = set(names)
        records = [record for record in self._book.records() if record.name in chosen]
        await end_processes(records, grace_s=20.0 if chosen == {ANVIL} else 8.0)
        for record in records:
            process = self._running.pop(record.name, None)
            if process is not None:
                await process.stop()  # its first thread may have ended before the others; and the system forgets it
            self._book.remove(record)


def _is_plain(name: str) -> bool:
    own = name == ANVIL or name.partition("-")[0] in SERVICES
    return bool(name) and name.replace("-", "").isalnum() and not own
