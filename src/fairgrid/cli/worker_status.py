"""`fairgrid worker status`: what a worker holds and earned, and how it stands on chain."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from fairgrid.cli.output import console, emit_json, rlc, run_async
from fairgrid.cli.shared_options import WORKER_FOLDER, JsonOption, WorkerFolderOption
from fairgrid.cli.worker_debts import debts_of, show_debts
from fairgrid.cli.worker_owner import ask_running, existing_worker
from fairgrid.errors import ServiceUnavailable

if TYPE_CHECKING:
    from fairgrid.worker.records.store import WorkerStore

__all__ = ["show_status"]


def show_status(directory: WorkerFolderOption = WORKER_FOLDER, as_json: JsonOption = False) -> None:
    """Show what the worker holds, what it earned, and its stake and score on chain.

    Example: `fairgrid worker status`.
    """
    document = run_async(lambda: _status(existing_worker(directory)))
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
    show_debts(screen, document)
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
    from fairgrid.wallet.keystore import open_or_create_key
    from fairgrid.worker.onchain.ownership import OWNER_NAME, load_ownership
    from fairgrid.worker.setup.opening import DATABASE_NAME, NETWORK_NAME

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
        "debts": [],
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
    document["debts"] = debts_of(store, worker=document["address"], key=document["key"])
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
