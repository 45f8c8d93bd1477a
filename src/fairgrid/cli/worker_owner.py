"""`fairgrid worker` for the owner of the machine: pause, resume, drain, why, policy, earnings."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from fairgrid.cli.output import console, emit_json, rlc, run_async
from fairgrid.cli.shared_options import WORKER_FOLDER, JsonOption, WorkerFolderOption, kept_network
from fairgrid.cli.worker_debts import debts_of, show_debts
from fairgrid.errors import ServiceUnavailable, UsageError

__all__ = ["add_to", "ask_running", "existing_worker"]


def add_to(app: typer.Typer) -> None:
    """Add this module's commands to `fairgrid worker`."""
    for name, command in (
        ("pause", pause_worker),
        ("resume", resume_worker),
        ("drain", drain_worker),
        ("why", show_why),
        ("policy", show_policy),
        ("earnings", show_earnings),
        ("install-service", install_service),
    ):
        app.command(name)(command)


async def ask_running(folder: Path, command: str, **arguments: Any) -> dict[str, Any] | None:
    """What the running worker answers; None when none runs there.

    Raises:
        UsageError: it refuses.
    """
    from fairgrid.worker.owner.control import ask

    try:
        return await ask(folder, command, **arguments)
    except ServiceUnavailable:
        return None


def pause_worker(
    directory: WorkerFolderOption = WORKER_FOLDER,
    minutes: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Go on by itself after so many minutes. Default: never.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Take no new tasks and let running ones stand still, until `resume`; a restart does not lift it.

    Example: `fairgrid worker pause --minutes 60`.
    """
    from fairgrid.worker.owner.owner_watch import Pause, pause

    folder = existing_worker(directory)
    now = time.time()
    until = now + minutes * 60 if minutes is not None else 0.0
    answer = run_async(lambda: ask_running(folder, "pause", until=until))
    if answer is None:
        pause(folder, Pause(now, until))
    _say(answer, "Paused.", "Paused; no worker runs there now, the next one starts paused.", as_json)


def resume_worker(directory: WorkerFolderOption = WORKER_FOLDER, as_json: JsonOption = False) -> None:
    """Lift a pause.

    Example: `fairgrid worker resume`.
    """
    from fairgrid.worker.owner.owner_watch import unpause

    folder = existing_worker(directory)
    answer = run_async(lambda: ask_running(folder, "resume"))
    if answer is None:
        unpause(folder)
    _say(answer, "Resumed.", "Resumed; no worker runs there now.", as_json)


def drain_worker(directory: WorkerFolderOption = WORKER_FOLDER, as_json: JsonOption = False) -> None:
    """Let the running worker take nothing new, finish what it holds, and end with exit code 0.

    Example: `fairgrid worker drain`.
    """
    from fairgrid.worker.owner.control import ask

    folder = existing_worker(directory)
    answer = run_async(lambda: ask(folder, "drain"))
    _say(answer, "It ends when it holds nothing more.", "", as_json)


def show_why(directory: WorkerFolderOption = WORKER_FOLDER, as_json: JsonOption = False) -> None:
    """Say why the running worker gets no work: each rule of its owner and of its pool, with its numbers.

    Example: `fairgrid worker why`.
    """
    from fairgrid.worker.owner.control import ask

    folder = existing_worker(directory)
    answer = run_async(lambda: ask(folder, "why"))
    if as_json:
        emit_json({"status": "ok", **answer})
        return
    screen = console()
    slots, held = answer["freeSlots"], len(answer["held"])
    screen.print(f"Worker {answer['worker']} at {answer['pool']}", style="bold", markup=False)
    where = "enrolled" if answer["enrolled"] else f"not enrolled: {answer['waitsFor']}"
    screen.print(f"It is {where}; it holds {held} task(s), {slots} slot(s) are free.", markup=False)
    for problem in (answer["policyProblem"], answer["clockWarning"]):
        if problem:
            screen.print(problem, style="yellow", markup=False)
    for whose, rules in (("The owner's rules", answer["ownerRules"]), ("The pool's rules", answer["poolRules"])):
        if rules is None:
            screen.print(f"The pool did not say: {answer['poolMessage']}", style="yellow", markup=False)
            continue
        table = Table("", "rule", "now", title=whose, title_justify="left")
        for rule in rules:
            table.add_row("ok" if rule["allowed"] else "NO", rule["rule"], rule["text"])
        screen.print(table if rules else f"{whose}: none is set.")


def show_policy(directory: WorkerFolderOption = WORKER_FOLDER, as_json: JsonOption = False) -> None:
    """Show the owner's policy as it counts now, and what is wrong with the file if something is.

    Example: `fairgrid worker policy`.
    """
    from dataclasses import asdict

    from fairgrid.worker.owner.policy import WorkerPolicy
    from fairgrid.worker.owner.policy_file import load_policy
    from fairgrid.worker.setup.opening import POLICY_NAME

    folder = existing_worker(directory)
    answer = run_async(lambda: ask_running(folder, "policy"))
    if answer is None:
        answer = {"path": str(folder / POLICY_NAME), "problem": "", "policy": asdict(load_policy(folder / POLICY_NAME))}
    if as_json:
        emit_json({"status": "ok", **answer})
        return
    screen = console()
    screen.print(str(answer["path"]), style="bold", markup=False)
    if answer["problem"]:
        screen.print(answer["problem"], style="yellow", markup=False)
    table = Table("key", "value", "default")
    for name, default in asdict(WorkerPolicy()).items():
        value = answer["policy"].get(name)
        changed = value != (list(default) if isinstance(default, tuple) and isinstance(value, list) else default)
        table.add_row(name, _shown(value), "" if changed else "default", style="bold" if changed else "")
    screen.print(table)


def show_earnings(
    directory: WorkerFolderOption = WORKER_FOLDER,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated lines on stdout, one a day and pool.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what the worker earned, by day and pool, and hold the sum against its account on chain.

    Example: `fairgrid worker earnings --csv`.
    """
    from fairgrid.worker.owner.earnings import csv_of, sparkline

    if as_csv and as_json:
        raise UsageError("Choose one of --csv and --json.")
    folder = existing_worker(directory)
    days, document = run_async(lambda: _earnings(folder))
    if as_csv:
        sys.stdout.write(csv_of(days))
        return
    if as_json:
        emit_json(document)
        return
    screen = console()
    screen.print(f"Earned {rlc(document['earned'])}", style="bold", markup=False)
    screen.print(f"last 30 days: [{sparkline(days, last=date.today())}]", markup=False)
    table = Table("day", "workerpool", "tasks", "paid", "unpaid", "earned")
    for line in days[-60:]:
        table.add_row(
            line.day.isoformat(), line.workerpool, str(line.tasks), str(line.paid), str(line.unpaid), rlc(line.earned)
        )
    screen.print(table if days else "No task has ended yet.")
    show_debts(screen, document)
    for cells in document["cells"]:
        screen.print(
            f"Cells on {cells['engine']}: {cells['cells']} on {cells['nodes']} node(s), "
            f"{cells['cpuSeconds'] / 3600:.2f} processor hours, waited {cells['queuedSeconds'] / cells['cells']:.1f} s "
            f"on average.",
            markup=False,
        )
    chain = document["chain"]
    if chain is None:
        screen.print(document["chainMessage"], style="yellow", markup=False)
        return
    screen.print(
        f"Account on chain: {rlc(chain['stake'])} free, {rlc(chain['locked'])} locked. Less what was earned that "
        f"leaves {rlc(chain['unexplained'])}: deposits and stakes lent, less what was repaid, withdrawn or lost.",
        markup=False,
    )


def install_service(
    directory: WorkerFolderOption = WORKER_FOLDER,
    network: Annotated[
        Path | None, typer.Option(metavar="NETWORK", help="As for `start`; not needed once the worker was started.")
    ] = None,
    pool: Annotated[str | None, typer.Option(metavar="URL", help="As for `start`.")] = None,
    slots: Annotated[int, typer.Option(min=1, max=1024, help="Tasks computed at once.")] = 1,
    only_print: Annotated[bool, typer.Option("--print", help="Show the file and write nothing.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the file; says how to stop the service.")] = False,
) -> None:
    """Write a service of your own (systemd user unit, launchd agent on macOS) that starts the worker at login.

    Example: `fairgrid worker install-service --print`.
    """
    from fairgrid.worker.owner.policy_file import load_policy
    from fairgrid.worker.setup.opening import NETWORK_NAME, POLICY_NAME
    from fairgrid.worker.setup.service_unit import plan_service

    folder = directory.expanduser().absolute()
    arguments = ["--slots", str(slots)]
    if network is not None:
        arguments += ["--network", kept_network(network)]
    if pool is not None:
        arguments += ["--pool", pool]
    patience_s = load_policy(folder / POLICY_NAME).stop_within_s
    plan = plan_service(folder, tuple(arguments), stop_within_s=patience_s)
    screen = console()
    if only_print:
        sys.stdout.write(plan.text)
        return
    if remove:
        if not plan.path.exists():
            raise UsageError(f"There is no service at {plan.path}.")
        plan.path.unlink()
        screen.print(f"Removed {plan.path}. To stop it now:", markup=False)
        for command in plan.disable:
            screen.print(f"  {command}", markup=False)
        return
    if network is None and not (folder / NETWORK_NAME).exists():
        raise UsageError(
            "A service cannot ask you which network to trust. Start the worker once by hand, or give --network."
        )
    plan.path.parent.mkdir(parents=True, exist_ok=True)
    plan.path.write_text(plan.text)
    screen.print(f"Wrote {plan.path}. To start it now and at every login:", markup=False)
    for command in plan.enable:
        screen.print(f"  {command}", markup=False)
    screen.print(plan.hint, markup=False)


async def _earnings(folder: Path) -> tuple[tuple[Any, ...], dict[str, Any]]:
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.chain.network import load_network
    from fairgrid.wallet.keystore import open_or_create_key
    from fairgrid.worker.owner.earnings import Ledger, days_of
    from fairgrid.worker.records.cells import CellSum, sum_of_cells
    from fairgrid.worker.records.store import WorkerStore
    from fairgrid.worker.setup.opening import DATABASE_NAME, NETWORK_NAME

    days: tuple[Any, ...] = ()
    sums: tuple[CellSum, ...] = ()
    debts: list[dict[str, Any]] = []
    earned = 0
    if (folder / DATABASE_NAME).exists():
        store = await asyncio.to_thread(WorkerStore.open, folder / DATABASE_NAME)
        try:
            history = await asyncio.to_thread(store.finished, limit=None)
            earned = await asyncio.to_thread(store.earned)
            account = await asyncio.to_thread(store.bound, "worker")
            sums = await asyncio.to_thread(sum_of_cells, store)
            key = await asyncio.to_thread(lambda: open_or_create_key(folder).address)
            debts = await asyncio.to_thread(lambda: debts_of(store, worker=account or key, key=key))
        finally:
            store.close()
        days = days_of(history)
    else:
        account = ""
    document: dict[str, Any] = {
        "status": "ok",
        "worker": account or open_or_create_key(folder).address,
        "earned": earned,
        "debts": debts,
        "cells": [
            {
                "engine": line.engine,
                "cells": line.cells,
                "nodes": line.nodes,
                "cpuSeconds": round(line.cpu_s, 3),
                "queuedSeconds": round(line.queued_s, 3),
            }
            for line in sums
        ],
        "days": [
            {
                "day": line.day.isoformat(),
                "workerpool": line.workerpool,
                "tasks": line.tasks,
                "paid": line.paid,
                "unpaid": line.unpaid,
                "earned": line.earned,
            }
            for line in days
        ],
        "chain": None,
        "chainMessage": "",
    }
    if not (folder / NETWORK_NAME).exists():
        document["chainMessage"] = "It has not been started yet, so its network is not known."
        return days, document
    try:
        async with await JsonRpcChain.connect(load_network(folder / NETWORK_NAME)) as chain:
            view = await chain.view_account(document["worker"])
    except ServiceUnavailable as error:
        document["chainMessage"] = str(error)
        return days, document
    ledger = Ledger(earned, view.stake, view.locked)
    document["chain"] = {"stake": ledger.stake, "locked": ledger.locked, "unexplained": ledger.unexplained}
    return days, document


def existing_worker(directory: Path) -> Path:
    """The folder of a worker that was made before.

    Raises:
        UsageError: there is none.
    """
    from fairgrid.wallet.keystore import KEYSTORE_NAME

    folder = directory.expanduser()
    if not (folder / KEYSTORE_NAME).exists():
        raise UsageError(f"There is no worker in {folder}. Make one with `fairgrid worker init --dir {folder}`.")
    return folder


def _say(answer: dict[str, Any] | None, running: str, alone: str, as_json: bool) -> None:
    if as_json:
        emit_json({"status": "ok", "running": answer is not None, **(answer or {})})
        return
    console().print(running if answer is not None else alone, markup=False)
    if answer is not None and answer.get("reason"):
        console().print(answer["reason"], style="yellow", markup=False)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
