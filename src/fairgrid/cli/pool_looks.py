"""`fairgrid pool status | workers | tasks | story | why | bans | acts`: what an operator asks of a pool."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fairgrid.cli.output import console, rlc
from fairgrid.cli.pool import pool_app
from fairgrid.cli.pool_desk import (
    LimitOption,
    OffsetOption,
    PoolDesk,
    operator_command,
    show_table,
)
from fairgrid.cli.times import clock_time, duration
from fairgrid.errors import FairgridError, UsageError
from fairgrid.protocol.hexes import is_hex32

if TYPE_CHECKING:
    from fairgrid.pool.administration.operator_client import OperatorClient
    from fairgrid.pool.administration.operator_views import PoolStatus, StoryView, WhyTask, WhyWorker

__all__ = ["pool_app"]

_WEI_PER_COIN = 10**18


@operator_command(pool_app, "status")
def status(
    desk: PoolDesk,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew until Ctrl-C; with --json a line each.")] = False,
    every_s: Annotated[float, typer.Option("--every", min=0.5, help="Seconds between two looks.")] = 2.0,
) -> None:
    """Show the pool in numbers, and what to look at. Example: `fairgrid pool status --dir pool --watch`.

    Exit code 0 also when there are alerts; with --json they are in `alerts`.
    """

    async def look(client: OperatorClient) -> PoolStatus:
        return await client.status()

    async def keep_looking(client: OperatorClient) -> None:
        with Live(console=console(), auto_refresh=False) as live:
            while True:
                try:
                    seen: Any = await client.status()
                    if desk.as_json:
                        sys.stdout.write(json.dumps(seen.model_dump(mode="json", by_alias=True)) + "\n")
                        sys.stdout.flush()
                    else:
                        live.update(_status_page(seen), refresh=True)
                except FairgridError as error:
                    if desk.as_json:
                        raise
                    live.update(Text(str(error), style="bold red"), refresh=True)
                await asyncio.sleep(every_s)

    if watch:
        desk.ask(keep_looking)
        return
    answer = desk.ask(look)
    desk.show(answer, lambda: console().print(_status_page(answer)))


@operator_command(pool_app, "workers")
def workers(
    desk: PoolDesk,
    state: Annotated[
        str, typer.Option(help="ready, busy, joining, drained, quarantined, out_of_quota, banned, away.")
    ] = "",
    owner: Annotated[str, typer.Option(metavar="ADDRESS", help="Only this owner's.")] = "",
    label: Annotated[str, typer.Option(help="Only those with this label.")] = "",
    sort: Annotated[
        str, typer.Option(help="worker, owner, state, running, faults, valid, score, deposit or heard.")
    ] = "worker",
    limit: LimitOption = 100,
    offset: OffsetOption = 0,
) -> None:
    """List workers: state, machine, record, what they compute. Example: `fairgrid pool workers --sort faults`."""
    query: dict[str, str | int] = {
        "state": state,
        "owner": owner,
        "label": label,
        "sort": sort,
        "limit": limit,
        "offset": offset,
    }
    answer = desk.ask(lambda client: client.workers(**query))
    columns = (
        "worker",
        "owner",
        "state",
        "heard",
        "running",
        "slots",
        "machine",
        "labels",
        "record",
        "sponsored",
        "quota",
        "reason",
    )
    rows = [
        (
            row.worker,
            row.owner,
            row.state,
            "" if row.last_heard_s is None else duration(row.last_heard_s),
            row.running,
            f"{row.free_slots}/{row.slots} free",
            _machine(row),
            row.labels,
            f"{row.valid} valid, {row.faults} faults, {row.disproved} wrong",
            _sponsored(int(row.given_nrlc), int(row.repaid_nrlc)),
            "" if row.quota_left is None else f"{row.quota_left} left",
            row.reason,
        )
        for row in answer.workers
    ]
    desk.show_table(answer, columns, rows, title=f"{answer.count} worker(s)")


@operator_command(pool_app, "tasks")
def tasks(
    desk: PoolDesk,
    phase: Annotated[str, typer.Option(help="Only those in this phase, such as sealing.")] = "",
    deal: Annotated[str, typer.Option(metavar="ID", help="Only this deal's.")] = "",
    requester: Annotated[str, typer.Option(metavar="ADDRESS", help="Only this requester's.")] = "",
    app: Annotated[str, typer.Option(metavar="ADDRESS", help="Only of this app.")] = "",
    worker: Annotated[str, typer.Option(metavar="ADDRESS", help="Only those that this worker had a part in.")] = "",
    limit: LimitOption = 100,
    offset: OffsetOption = 0,
) -> None:
    """List tasks that have begun, newest first. Example: `fairgrid pool tasks --phase sealing --limit 20`.

    For a worker, a requester or an app the newest 100,000 tasks or deals are looked through.
    """
    query: dict[str, str | int] = {
        "phase": phase,
        "deal": deal,
        "requester": requester,
        "app": app,
        "worker": worker,
        "limit": limit,
        "offset": offset,
    }
    answer = desk.ask(lambda client: client.tasks(**query))
    columns = ("task", "index", "phase", "trust", "since", "changed", "requester", "app")
    rows = [
        (
            row.task_id,
            row.index,
            row.phase,
            row.trust,
            clock_time(row.created_at),
            clock_time(row.updated_at),
            row.requester,
            row.app,
        )
        for row in answer.tasks
    ]
    desk.show_table(answer, columns, rows)
    if answer.next is not None and not desk.as_json:
        console().print(f"There are more: --offset {answer.next}", markup=False)


@operator_command(pool_app, "story")
def story(
    desk: PoolDesk,
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task's id.")],
) -> None:
    """Tell what happened to a task, its transactions included. Example: `fairgrid pool story 0x… --dir pool`."""
    _must_be_task(task)

    async def ask(client: OperatorClient) -> StoryView:
        return await client.story(task)

    answer = desk.ask(ask)
    rows = [(clock_time(event.at), event.kind, event.text, event.worker) for event in answer.events]
    desk.show_table(answer, ("at", "kind", "what", "worker"), rows, title=f"{answer.task_id}  {answer.phase}")


@operator_command(pool_app, "why")
def why(
    desk: PoolDesk,
    subject: Annotated[str, typer.Argument(metavar="TASK|WORKER", help="A task's id, or a worker's address.")],
) -> None:
    """Say why a task does not go on, or a worker gets no work: each rule with its number.

    Example: `fairgrid pool why 0x… --dir pool`.
    """

    async def ask(client: OperatorClient) -> WhyTask | WhyWorker:
        return await (client.why_task(subject) if is_hex32(subject) else client.why_worker(subject))

    answer = desk.ask(ask)
    desk.show(answer, lambda: _show_why(answer))


@operator_command(pool_app, "bans")
def bans(desk: PoolDesk) -> None:
    """List who is banned, why and since when. Example: `fairgrid pool bans --dir pool`."""
    answer = desk.ask(lambda client: client.bans())
    rows = [(clock_time(ban.at), ban.worker, ban.owner, ban.reason, ban.task_id) for ban in answer.bans]
    desk.show_table(answer, ("since", "worker", "owner", "reason", "task"), rows)


@operator_command(pool_app, "acts")
def acts(
    desk: PoolDesk,
    subject: Annotated[str, typer.Option(help="Only about this address, `pool`, or key of the policy.")] = "",
    limit: LimitOption = 100,
    offset: OffsetOption = 0,
) -> None:
    """List what operators did, newest first: who, when, what, why. Example: `fairgrid pool acts --limit 20`."""
    query: dict[str, str | int] = {"subject": subject, "limit": limit, "offset": offset}
    answer = desk.ask(lambda client: client.acts(**query))
    rows = [(clock_time(act.at), act.who, act.act, act.subject, act.detail) for act in answer.acts]
    desk.show_table(answer, ("at", "who", "act", "subject", "detail"), rows)


def _show_why(answer: Any) -> None:
    rows = [("yes" if rule.allowed else "NO", rule.rule, rule.text) for rule in answer.rules]
    waits_for = getattr(answer, "waits_for", None)
    title = (
        f"{answer.phase}; waits for {waits_for}" if hasattr(answer, "phase") else f"{answer.waiting_tasks} task(s) wait"
    )
    show_table(("holds", "rule", "number"), rows, title=title)
    kept = getattr(answer, "kept_away", {})
    if kept:
        show_table(("workers", "kept away by"), [(count, rule) for rule, count in kept.items()])


def _must_be_task(task: str) -> None:
    if not is_hex32(task):
        raise UsageError(f"{task!r} is no task id: give 0x and 64 hexadecimal digits, as `fairgrid pool tasks` does.")


def _sponsored(given: int, repaid: int) -> str:
    if not given:
        return ""
    return f"repaid {rlc(repaid)}" if repaid >= given else f"owes {rlc(given - repaid)} of {rlc(given)}"


def _machine(row: Any) -> str:
    memory = f"{row.memory_bytes / 2**30:.0f} GiB" if row.memory_bytes else ""
    parts = (" ".join(row.levels), f"{row.cpus} CPU" if row.cpus else "", memory, " ".join(row.gpus), row.system)
    return ", ".join(filter(None, parts))


def _status_page(seen: PoolStatus) -> Group:
    gas = seen.gas
    coins = "not looked yet" if gas.balance_wei is None else f"{int(gas.balance_wei) / _WEI_PER_COIN:.4f} coins"
    runway = "" if gas.transactions_left is None else f", about {gas.transactions_left} transactions"
    days = "" if gas.days_left is None else f", {gas.days_left:,.1f} days as of the last day's"
    standby = [f"{process.address} ({process.version}{'' if process.fit else ', not fit'})" for process in seen.standby]
    drained = f"NO: {seen.draining.reason} ({seen.draining.who})" if seen.draining else "yes"
    oldest = duration(seen.oldest_wait_s)
    waiting = f"{seen.waiting_for_workers} for workers, {seen.not_begun} not begun; the oldest {oldest}"
    table = Table(show_header=False, title=f"Pool {seen.workerpool}", title_justify="left")
    for name, shown in (
        ("begins new tasks", drained),
        ("leads", f"{seen.leader or 'this process'}, epoch {seen.epoch}, fairgrid {seen.version}"),
        ("stands by", ", ".join(standby) or "nobody"),
        (
            "chain",
            f"block {seen.chain.block}, {duration(seen.chain.lag_s)} old; answered {seen.chain.silence_s:g} s ago"
            + (f"; {seen.chain.to_read} block(s) still to be read" if seen.chain.to_read else ""),
        ),
        ("workers", _counts(seen.workers) or "none"),
        ("owners, slots", f"{seen.owners} owner(s); {seen.free_slots} of {seen.slots} slot(s) free"),
        ("tasks", _counts(seen.tasks) or "none"),
        ("waiting", waiting),
        ("transactions", f"{seen.transactions_under_way} under way; {gas.transactions_last_day} in the last day"),
        ("coins for gas", f"{gas.address}: {coins}{runway}{days}"),
        ("bans", str(seen.bans)),
    ):
        table.add_row(name, shown)
    lines = [
        Text(
            f"{alert.severity.upper()} {alert.name}: {alert.text} {alert.remedy}",
            style="bold red" if alert.severity == "critical" else "yellow",
        )
        for alert in seen.alerts
    ]
    return Group(table, *(lines or [Text("No alerts.", style="green")]))


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
