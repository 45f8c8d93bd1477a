"""`fairgrid worker`: offer this machine to a pool."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fairgrid.cli.backups import add_worker_backups
from fairgrid.cli.log_options import LogFormat, LogFormatOption, LogLevel, LogLevelOption
from fairgrid.cli.output import console, emit_json, rlc, run_async
from fairgrid.cli.worker_doctor import doctor
from fairgrid.cli.worker_enrol import enrol_worker
from fairgrid.cli.worker_owner import WORKER_FOLDER, Folder, Json, add_to, ask_running
from fairgrid.errors import ServiceUnavailable, UsageError

if TYPE_CHECKING:
    from fairgrid.chain.network import Network
    from fairgrid.worker.agent import AgentOptions, WorkerAgent
    from fairgrid.worker.records.store import WorkerStore

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Offer this machine to a pool.")

_RETRY_S = 2.0
_REMOTE_CONFIRMATIONS = 6


class Lie(StrEnum):
    """How a worker misbehaves, for demonstrations."""

    FLIP_BYTE = "flip-byte"
    UPLOAD_OTHER = "upload-other"
    NO_REVEAL = "no-reveal"


@app.command("init")
def init_worker(directory: Folder = WORKER_FOLDER, as_json: Json = False) -> None:
    """Make the worker's key, or show the one that is there, and what it needs before it can work."""
    from fairgrid.wallet.keystore import KEYSTORE_NAME, open_or_create_key

    directory = directory.expanduser()
    signer = open_or_create_key(directory)
    needs = [
        "coins of the chain, to pay the gas of contribute and reveal",
        "RLC deposited in the hub for this address (deposit, or depositFor by somebody else): each task locks a stake",
        "the runtime: fairgrid runtime install",
    ]
    if as_json:
        keystore = str(directory / KEYSTORE_NAME)
        emit_json({"status": "ok", "address": signer.address, "keystore": keystore, "needs": needs})
        return
    screen = console()
    screen.print(f"Worker {signer.address}", style="bold", markup=False)
    screen.print("It needs, before it can earn:", markup=False)
    for need in needs:
        screen.print(f"  - {need}", markup=False)
    screen.print(f"Back up {directory}: whoever can read it holds the key.", markup=False)


@dataclass(frozen=True, slots=True)
class _Teller:
    """Says on stdout when the worker is enrolled, on stderr why it is not."""

    def ready(self, url: str) -> None:
        typer.echo(f"ready {url}")

    def waiting(self, reason: str) -> None:
        console().print(f"Waiting: {reason}", style="yellow", markup=False)


@app.command("start")
def start_worker(
    network: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The network file you trust: chain, hub, services. Default: the one that this worker keeps, or that "
            "of `fairgrid up`.",
        ),
    ] = None,
    directory: Folder = WORKER_FOLDER,
    pool: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Address of the pool's service; it must serve the network's workerpool."),
    ] = None,
    owner_account: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="The role account that this worker must work for; `fairgrid worker enrol` made its owner.json.",
        ),
    ] = None,
    accept_network: Annotated[
        bool,
        typer.Option("--accept-network", help="Trust what the pool says of its network at the first start."),
    ] = False,
    rpc: Annotated[str | None, typer.Option(metavar="URL", help="Another node of the network's chain.")] = None,
    workerpool: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Serve another workerpool than the network file's.")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, max=1024, help="Tasks computed at once.")] = 1,
    confirmations: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Blocks to wait before a reveal. Default: 0 on a local chain, 6 on others."
        ),
    ] = None,
    sponsor: Annotated[
        bool,
        typer.Option(
            "--sponsor",
            help="Ask the pool for coins and a stake to begin with, and agree that they are earned back first.",
        ),
    ] = False,
    misbehave: Annotated[
        Lie | None, typer.Option(help="Lie on purpose: for demonstrations on a local chain (31337) only.")
    ] = None,
    benchmark: Annotated[
        bool | None,
        typer.Option(
            "--benchmark/--no-benchmark",
            help="Measure this machine for the pool, a few seconds once a week. Default: not on a local chain.",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve /metrics for Prometheus there, e.g. 127.0.0.1:9464. Default: nothing is listened to.",
        ),
    ] = None,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Work for a pool until SIGTERM or Ctrl-C: `fairgrid worker start --pool URL` is all that a newcomer types.

    The first start makes the key, and shows hub, chain and code hash that the pool names: they are kept once you accept
    them, and another hub or chain is refused from then on. What is missing (coins, deposit, runtime) is shown in one
    screen.

    Prints `ready URL` on stdout each time it is enrolled at the pool; says on stderr what it waits for, and keeps
    trying. What it promised survives a crash: start it again in the same folder and it goes on, reveals included.
    """
    from fairgrid.seams.logs import configure_logging
    from fairgrid.seams.tracing import start_tracing
    from fairgrid.worker.agent import AgentOptions
    from fairgrid.worker.computing.misbehave import LOCAL_CHAIN_ID, Misbehaviour

    configure_logging("worker", level=log_level.value, style=log_format.value)
    start_tracing("worker")
    directory = directory.expanduser()
    loaded = _trusted_network(directory, network, pool, accept=accept_network)
    if owner_account is not None:
        _check_account(directory, _address(owner_account))
    if rpc is not None:
        loaded = replace(loaded, rpc=rpc)
    if workerpool is not None:
        loaded = replace(loaded, pool_address=_address(workerpool))
    local = loaded.chain_id == LOCAL_CHAIN_ID
    depth = confirmations if confirmations is not None else (0 if local else _REMOTE_CONFIRMATIONS)
    options = AgentOptions(
        slots=slots,
        confirmations=depth,
        poll_s=0.5 if local else 5.0,
        receipt_poll_s=0.2 if local else 2.0,
        misbehaviour=Misbehaviour(misbehave.value) if misbehave is not None else None,
        benchmark=benchmark if benchmark is not None else (sponsor or not local),
        sponsor=sponsor,
    )
    asyncio.run(_work(loaded, directory, pool, options, _metrics_place(metrics)))


def _trusted_network(directory: Path, given: Path | None, pool: str | None, *, accept: bool) -> Network:
    from fairgrid.localnet.paths import default_directory
    from fairgrid.worker.setup.joining import described_by, fetch_description, find_network, pin
    from fairgrid.worker.setup.opening import NETWORK_NAME

    pinned = directory / NETWORK_NAME
    found = find_network(given, pinned, default_directory() / NETWORK_NAME, pool=pool)
    if found is not None:
        return found
    if pool is None:
        raise UsageError(
            "No network is known here. Join a pool with --pool URL, give a network file with --network, or start a "
            "local network with `fairgrid up`."
        )
    described = asyncio.run(fetch_description(pool))
    screen = console()
    screen.print(f"{pool} says of its network:", style="bold", markup=False)
    for name, value in described_by(described, pool):
        screen.print(f"  {name:14} {value}", markup=False)
    screen.print(
        "Compare hub and code hash with what the pool's operator or its users publish. This worker will trust them "
        "from now on, and refuse others.",
        markup=False,
    )
    if not accept and not (sys.stdin.isatty() and typer.confirm("Trust this network?", err=True)):
        raise UsageError("The network was not accepted; nothing was made. --accept-network accepts it.")
    return pin(described, pinned, pool=pool)


def _address(text: str) -> str:
    from fairgrid.errors import OrderError
    from fairgrid.protocol.hexes import checksum

    try:
        return checksum(text)
    except OrderError as error:
        raise UsageError(f"{text!r} is no address: {error}") from error


def _check_account(directory: Path, account: str) -> None:
    from fairgrid.worker.onchain.ownership import OWNER_NAME, load_ownership

    path = directory / OWNER_NAME
    if not path.exists():
        raise UsageError(
            f"There is no {path}. Let the owner run `fairgrid worker enrol`, and copy the file that it writes there."
        )
    named = load_ownership(path).worker
    if named != account:
        raise UsageError(f"{path} enrols {named}, not {account}. Copy the right file there.")


async def _show_needs(network: Network, directory: Path) -> None:
    """One screen of what is missing; nothing when all is there, or the chain cannot be asked now."""
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.errors import HostFailure
    from fairgrid.runtime.wasm.interpreters import RUNTIMES, find_runtime
    from fairgrid.wallet.keystore import open_or_create_key
    from fairgrid.worker.onchain.ownership import OWNER_NAME, load_ownership
    from fairgrid.worker.setup.needs import Need, needs_on_chain

    key = await asyncio.to_thread(lambda: open_or_create_key(directory).address)
    needs: list[Need] = []
    try:
        for runtime_id in RUNTIMES:
            find_runtime(runtime_id)
    except HostFailure as error:
        needs.append(Need("runtime", False, "it is not installed", str(error)))
    try:
        async with await JsonRpcChain.connect(network) as chain:
            owner_file = directory / OWNER_NAME
            worker = load_ownership(owner_file).worker if owner_file.exists() else key
            needs += await needs_on_chain(chain, key=key, worker=worker, workerpool=network.pool_address)
    except ServiceUnavailable:
        return
    if all(need.is_there for need in needs):
        return
    screen = console()
    screen.print(f"Worker {key} lacks something:", style="bold", markup=False)
    for need in needs:
        screen.print(f"  {'ok' if need.is_there else 'NO'} {need.name:8} {need.has}", markup=False)
        if need.remedy:
            screen.print(f"     {need.remedy}", style="yellow", markup=False)


def _metrics_place(text: str | None) -> tuple[str, int] | None:
    """Where to serve metrics; None: nowhere."""
    from fairgrid.seams.metrics import is_loopback, metrics_token

    if text is None:
        return None
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"--metrics takes HOST:PORT, for example 127.0.0.1:9464, not {text!r}.")
    if not is_loopback(host) and not metrics_token():
        raise UsageError(
            f"--metrics {text} could be read from other machines. Set FAIRGRID_METRICS_TOKEN to a token that a reader "
            f"must send, or listen on 127.0.0.1."
        )
    return host, int(port)


async def _work(
    network: Network, directory: Path, pool: str | None, options: AgentOptions, metrics: tuple[str, int] | None
) -> None:
    from fairgrid.seams.metrics import MetricsPage, metrics_token, new_registry
    from fairgrid.seams.service import serving
    from fairgrid.worker.computing.misbehave import allowed
    from fairgrid.worker.observability.meter import WorkerMeter
    from fairgrid.worker.setup.opening import open_agent

    meter = WorkerMeter(new_registry("worker"))

    teller = _Teller()
    stop, at_once = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        (at_once if stop.is_set() else stop).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked)
    stopped = asyncio.create_task(stop.wait())
    said = ""
    allowed(options.misbehaviour, network.chain_id)
    await _show_needs(network, directory)
    async with AsyncExitStack() as stack:
        stack.callback(stopped.cancel)
        if metrics is not None:
            page = MetricsPage(meter.registry, token=metrics_token())
            url = await stack.enter_async_context(serving(page, host=metrics[0], port=metrics[1]))
            console().print(f"Metrics at {url}/metrics", markup=False)
        while not stop.is_set():
            try:
                async with open_agent(network, directory, announcer=teller, options=options, pool_url=pool) as agent:
                    with meter.measuring(agent):
                        await _until(agent, stop, at_once)
                return
            except ServiceUnavailable as error:
                if str(error) != said:
                    said = str(error)
                    teller.waiting(said)
                await asyncio.wait((stopped,), timeout=_RETRY_S)


async def _until(agent: WorkerAgent, stop: asyncio.Event, at_once: asyncio.Event) -> None:
    """Run ``agent`` until ``stop``, and a while longer if it has something to finish and is not asked again."""

    async def forward() -> None:
        await stop.wait()
        agent.end()
        await at_once.wait()
        agent.end()

    forwarding = asyncio.create_task(forward())
    try:
        await agent.run()
    finally:
        forwarding.cancel()


@app.command("status")
def show_status(directory: Folder = WORKER_FOLDER, as_json: Json = False) -> None:
    """Show what the worker holds, what it earned, and its stake and score on chain."""
    document = run_async(lambda: _status(directory.expanduser()))
    if as_json:
        emit_json(document)
        return
    screen = console()
    screen.print(f"Worker {document['address']}", style="bold", markup=False)
    chain = document["chain"]
    if chain is None:
        screen.print(document["chainMessage"], style="yellow", markup=False)
    else:
        screen.print(
            f"Deposit {rlc(chain['stake'])}, locked {rlc(chain['locked'])}, score {chain['score']}, "
            f"gas {chain['gasWei'] / 1e18:.6f} coins of chain {chain['chainId']}",
            markup=False,
        )
    screen.print(f"Earned {rlc(document['earned'])}", markup=False)
    running = document["running"]
    if running is None:
        screen.print("It does not run now.", style="yellow", markup=False)
    else:
        where = "Enrolled at" if running["enrolled"] else f"Not enrolled ({running['waitsFor']}):"
        screen.print(f"{where} {running['pool']}; {running['freeSlots']} slot(s) free", markup=False)
        if running["reason"]:
            screen.print(running["reason"], style="yellow", markup=False)
    table = Table("task", "phase", "last")
    for held in document["held"]:
        table.add_row(held["taskId"], held["phase"], held["story"][-1] if held["story"] else "")
    screen.print(table if document["held"] else "It holds no task.")
    for line in document["finished"][:10]:
        screen.print(f"{line['taskId'][:18]}… {line['phase']}: {line['outcome']}", markup=False)


async def _status(directory: Path) -> dict[str, Any]:
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.chain.network import load_network
    from fairgrid.wallet.keystore import KEYSTORE_NAME, open_or_create_key
    from fairgrid.worker.onchain.ownership import OWNER_NAME, load_ownership
    from fairgrid.worker.setup.opening import DATABASE_NAME, NETWORK_NAME

    if not (directory / KEYSTORE_NAME).exists():
        raise UsageError(f"There is no worker in {directory}. Make one with `fairgrid worker init --dir {directory}`.")
    key = open_or_create_key(directory).address
    owner_file = directory / OWNER_NAME
    address = load_ownership(owner_file).worker if owner_file.exists() else key
    document: dict[str, Any] = {
        "status": "ok",
        "address": address,
        "key": key,
        "chain": None,
        "chainMessage": "",
        "earned": 0,
        "held": [],
        "finished": [],
        "running": await ask_running(directory, "status"),
    }
    if (directory / DATABASE_NAME).exists():
        from fairgrid.worker.records.store import WorkerStore

        store = await asyncio.to_thread(WorkerStore.open, directory / DATABASE_NAME)
        try:
            await asyncio.to_thread(_read, store, document)
        finally:
            store.close()
    if not (directory / NETWORK_NAME).exists():
        document["chainMessage"] = "It has not been started yet, so its network is not known."
        return document
    network = load_network(directory / NETWORK_NAME)
    try:
        async with await JsonRpcChain.connect(network) as chain:
            account = await chain.view_account(address)
            document["chain"] = {
                "chainId": network.chain_id,
                "hub": network.hub,
                "stake": account.stake,
                "locked": account.locked,
                "score": await chain.view_score(address),
                "gasWei": await chain.balance_wei(key),
            }
    except ServiceUnavailable as error:
        document["chainMessage"] = str(error)
    return document


def _read(store: WorkerStore, document: dict[str, Any]) -> None:
    document["earned"] = store.earned()
    document["held"] = [
        {
            "taskId": held.task_id,
            "dealId": held.deal_id,
            "index": held.index,
            "phase": held.phase.value,
            "workerStake": held.worker_stake,
            "story": list(held.story),
        }
        for held in store.load()
    ]
    document["finished"] = [
        {
            "taskId": line.task_id,
            "dealId": line.deal_id,
            "phase": line.phase.value,
            "outcome": line.outcome,
            "earned": line.earned,
            "finishedAt": line.finished_at,
        }
        for line in store.finished()
    ]


app.command("doctor")(doctor)
app.command("enrol")(enrol_worker)
add_to(app)
add_worker_backups(app)
