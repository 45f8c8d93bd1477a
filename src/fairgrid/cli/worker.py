"""`fairgrid worker`: offer this machine to a pool."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fairgrid.cli.output import console, emit_json, rlc, run_async
from fairgrid.cli.worker_owner import WORKER_FOLDER, Folder, Json, add_to, ask_running
from fairgrid.errors import ServiceUnavailable, UsageError

if TYPE_CHECKING:
    from fairgrid.chain.network import Network
    from fairgrid.worker.agent import AgentOptions, WorkerAgent
    from fairgrid.worker.store import WorkerStore

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
    network: Annotated[Path, typer.Option(metavar="FILE", help="The network file you trust: chain, hub, services.")],
    directory: Folder = WORKER_FOLDER,
    pool: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Another address of the pool's service; it must serve the same workerpool."),
    ] = None,
    slots: Annotated[int, typer.Option(min=1, max=1024, help="Tasks computed at once.")] = 1,
    confirmations: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Blocks to wait before a reveal. Default: 0 on a local chain, 6 on others."
        ),
    ] = None,
    misbehave: Annotated[
        Lie | None, typer.Option(help="Lie on purpose: for demonstrations on a local chain (31337) only.")
    ] = None,
) -> None:
    """Work for the network's pool until SIGTERM or Ctrl-C.

    Prints `ready URL` on stdout each time it is enrolled at the pool; says on stderr what it waits for, and keeps
    trying. What it promised survives a crash: start it again in the same folder and it goes on, reveals included.
    """
    from fairgrid.chain.network import load_network
    from fairgrid.seams.service import configure_logging
    from fairgrid.worker.agent import AgentOptions
    from fairgrid.worker.misbehave import LOCAL_CHAIN_ID, Misbehaviour

    configure_logging("worker")
    directory = directory.expanduser()
    loaded = load_network(network)
    local = loaded.chain_id == LOCAL_CHAIN_ID
    depth = confirmations if confirmations is not None else (0 if local else _REMOTE_CONFIRMATIONS)
    options = AgentOptions(
        slots=slots,
        confirmations=depth,
        poll_s=0.5 if local else 5.0,
        receipt_poll_s=0.2 if local else 2.0,
        misbehaviour=Misbehaviour(misbehave.value) if misbehave is not None else None,
    )
    asyncio.run(_work(loaded, directory, pool, options))


async def _work(network: Network, directory: Path, pool: str | None, options: AgentOptions) -> None:
    from fairgrid.worker.open import open_agent

    teller = _Teller()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    stopped = asyncio.create_task(stop.wait())
    said = ""
    try:
        while not stop.is_set():
            try:
                async with open_agent(network, directory, announcer=teller, options=options, pool_url=pool) as agent:
                    await _until(agent, stop)
                return
            except ServiceUnavailable as error:
                if str(error) != said:
                    said = str(error)
                    teller.waiting(said)
                await asyncio.wait((stopped,), timeout=_RETRY_S)
    finally:
        stopped.cancel()


async def _until(agent: WorkerAgent, stop: asyncio.Event) -> None:
    """Run ``agent`` until ``stop``."""

    async def forward() -> None:
        await stop.wait()
        agent.stop()

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
    from fairgrid.worker.open import DATABASE_NAME, NETWORK_NAME

    if not (directory / KEYSTORE_NAME).exists():
        raise UsageError(f"There is no worker in {directory}. Make one with `fairgrid worker init --dir {directory}`.")
    address = open_or_create_key(directory).address
    document: dict[str, Any] = {
        "status": "ok",
        "address": address,
        "chain": None,
        "chainMessage": "",
        "earned": 0,
        "held": [],
        "finished": [],
        "running": await ask_running(directory, "status"),
    }
    if (directory / DATABASE_NAME).exists():
        from fairgrid.worker.store import WorkerStore

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
                "gasWei": await chain.balance_wei(address),
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


add_to(app)
