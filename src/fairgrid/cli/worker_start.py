"""`fairgrid worker start`: the process that works, until it is told to end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairgrid.cli.log_options import LogFormat, LogFormatOption, LogLevel, LogLevelOption
from fairgrid.cli.output import console
from fairgrid.cli.shared_options import WORKER_FOLDER, WorkerFolderOption, read_address
from fairgrid.errors import ServiceUnavailable, UsageError

if TYPE_CHECKING:
    from fairgrid.chain.network import Network
    from fairgrid.worker.agent import AgentOptions, WorkerAgent
    from fairgrid.worker.setup.pilot import Pilot

__all__ = ["start_worker"]

_RETRY_S = 2.0
_REMOTE_CONFIRMATIONS = 6


class Lie(StrEnum):
    """How a worker misbehaves, for demonstrations."""

    FLIP_BYTE = "flip-byte"
    UPLOAD_OTHER = "upload-other"
    NO_REVEAL = "no-reveal"


@dataclass(frozen=True, slots=True)
class _Teller:
    """Says on stdout when the worker is enrolled, on stderr why it is not."""

    def ready(self, url: str) -> None:
        typer.echo(f"ready {url}")

    def waiting(self, reason: str) -> None:
        console().print(f"Waiting: {reason}", style="yellow", markup=False)


def start_worker(
    network: Annotated[
        Path | None,
        typer.Option(
            metavar="NETWORK",
            help="The network you trust: its name, file, or folder. Default: the one that this worker keeps, or that "
            "of `fairgrid up`.",
        ),
    ] = None,
    directory: WorkerFolderOption = WORKER_FOLDER,
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
    until: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="End by itself then: 90m, 4h, 18:30 or a whole time. Default: before the Slurm, PBS or HTCondor "
            "allocation ends in which it was started; never outside of one.",
        ),
    ] = None,
    tasks: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Compute N tasks, finish what hangs on them, and end. Default: no such end."
        ),
    ] = None,
    idle_exit: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="End when there was no task for so long: 10m, 2h. Default: wait for ever."),
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
    from fairgrid.worker.setup.idle import parse_idle
    from fairgrid.worker.setup.pilot import ask_slurm, find_pilot

    idle_s = parse_idle(idle_exit) if idle_exit is not None else None
    configure_logging("worker", level=log_level.value, style=log_format.value)
    start_tracing("worker")
    directory = directory.expanduser()
    loaded = _trusted_network(directory, network, pool, accept=accept_network)
    if owner_account is not None:
        _check_account(directory, read_address(owner_account))
    if rpc is not None:
        loaded = replace(loaded, rpc=rpc)
    if workerpool is not None:
        loaded = replace(loaded, pool_address=read_address(workerpool))
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
        tasks=tasks,
    )
    pilot = find_pilot(os.environ, until=until, now=time.time(), ask=ask_slurm)
    asyncio.run(_work(loaded, directory, pool, options, _metrics_place(metrics), pilot, idle_s))


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
    from fairgrid.runtime.wasm.interpreters import default_runtime_id, find_runtime
    from fairgrid.wallet.keystore import open_or_create_key
    from fairgrid.worker.onchain.ownership import OWNER_NAME, load_ownership
    from fairgrid.worker.setup.needs import Need, needs_on_chain

    key = await asyncio.to_thread(lambda: open_or_create_key(directory).address)
    needs: list[Need] = []
    try:
        find_runtime(default_runtime_id())
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
    network: Network,
    directory: Path,
    pool: str | None,
    options: AgentOptions,
    metrics: tuple[str, int] | None,
    pilot: Pilot | None = None,
    idle_s: float | None = None,
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
        if pilot is not None:
            ends = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(pilot.ends_at))
            console().print(f"Ends by itself before {ends} ({pilot.known_from})", markup=False)
            stack.callback(asyncio.create_task(_set_later(stop, pilot.drains_at - time.time())).cancel)
        running: list[WorkerAgent] = []
        if idle_s is not None:
            stack.callback(asyncio.create_task(_stop_when_idle(stop, idle_s, running)).cancel)
        if metrics is not None:
            page = MetricsPage(meter.registry, token=metrics_token())
            url = await stack.enter_async_context(serving(page, host=metrics[0], port=metrics[1]))
            console().print(f"Metrics at {url}/metrics", markup=False)
        while not stop.is_set():
            try:
                async with open_agent(network, directory, announcer=teller, options=options, pool_url=pool) as agent:
                    running[:] = [agent]
                    with meter.measuring(agent):
                        await _until(agent, stop, at_once, pilot)
                return
            except ServiceUnavailable as error:
                if str(error) != said:
                    said = str(error)
                    teller.waiting(said)
                await asyncio.wait((stopped,), timeout=_RETRY_S)


async def _set_later(event: asyncio.Event, seconds: float) -> None:
    await asyncio.sleep(max(seconds, 0.0))
    event.set()


async def _stop_when_idle(stop: asyncio.Event, idle_s: float, running: Sequence[WorkerAgent]) -> None:
    """Set ``stop`` once no agent of ``running`` held a task for ``idle_s`` seconds."""
    from fairgrid.seams.clock import SystemClock
    from fairgrid.worker.setup.idle import wait_until_idle

    await wait_until_idle(idle_s, lambda: any(agent.held_phases for agent in running), clock=SystemClock())
    console().print(f"Ends by itself: there was no task for {idle_s:g} s", markup=False)
    stop.set()


async def _until(agent: WorkerAgent, stop: asyncio.Event, at_once: asyncio.Event, pilot: Pilot | None = None) -> None:
    """Run ``agent`` until ``stop``, and a while longer if it has something to finish and is not asked again.

    A ``pilot`` whose end is near has all the time until then.
    """

    async def forward() -> None:
        await stop.wait()
        now = time.time()
        near = pilot is not None and now >= pilot.drains_at - 1.0
        agent.end(within_s=pilot.patience_s(now) if pilot is not None and near else None)
        await at_once.wait()
        agent.end()

    forwarding = asyncio.create_task(forward())
    try:
        await agent.run()
    finally:
        forwarding.cancel()
