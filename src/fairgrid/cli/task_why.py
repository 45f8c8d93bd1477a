"""`fairgrid task why`, `logs` and `story`: what a requester wants to know of a task that runs, or does not."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from fairgrid.cli.bags import task_app as app
from fairgrid.cli.money_desk import MoneyDesk, money_command
from fairgrid.cli.output import console, emit_json, rlc, run_async
from fairgrid.cli.pool import tell_story
from fairgrid.client.client import Client
from fairgrid.client.follow import Ending
from fairgrid.client.journal import DealRecord
from fairgrid.client.live import LiveLines, bar, follow_live
from fairgrid.client.progress import ignore_progress
from fairgrid.client.results import collect_result
from fairgrid.client.why import Why, explain, gather
from fairgrid.errors import ServiceError, ServiceRefused, UsageError
from fairgrid.pool.client import LiveOutput, LiveProgress
from fairgrid.protocol.terminal import sanitise_terminal
from fairgrid.protocol.views import TaskStatus

__all__ = ["show_logs", "tell_task_story", "tell_why"]

_QUIET_S = 2.0
_LOGS = ("stdout.txt", "stderr.txt")

TaskArgument = Annotated[str, typer.Argument(help="Beginning of a deal or task id, or `last`.")]
IndexOption = Annotated[int | None, typer.Option("--index", min=0, help="Which task of a bag. Default: the first.")]


@money_command(app, "why")
def tell_why(
    desk: MoneyDesk,
    task: TaskArgument = "last",
    index: IndexOption = None,
) -> None:
    """Say why a task has no result yet, what happens next and when, and how the money comes back.

    The chain is believed, the pool only asked. Example:

    fairgrid task why last
    """

    async def main() -> tuple[DealRecord, str, int, Why]:
        async with desk.client() as client:
            record = client.journal.find(task)
            facts = await gather(client, record, index=index)
            return record, facts.task_id, facts.now, explain(facts)

    record, task_id, now, why = run_async(main)
    if desk.as_json:
        emit_json(_row(record, task_id, now, why))
        return
    screen = console()
    screen.print(f"{record.job_name}, task {task_id}", markup=False, style="dim")
    screen.print(why.summary, markup=False, style="bold")
    for reason in why.reasons:
        screen.print(f"  {reason}", markup=False)
    for step in why.next:
        screen.print(f"  {_when(step.at, now)}{step.text}", markup=False)
    screen.print(f"Money: {_in_rlc(why.money, why.locked_nrlc)}", markup=False)
    screen.print(f"Next: `{why.command}`", markup=False)


@money_command(app, "story")
def tell_task_story(
    desk: MoneyDesk,
    task: TaskArgument = "last",
) -> None:
    """Tell what happened to a task of yours, in order, as its pool saw it; `fairgrid story` does it for anybody's.

    fairgrid task story last
    """

    async def main() -> str:
        async with desk.client() as client:
            record = client.journal.find(task)
            return record.deal_id if record.is_bag else record.task_ids[0]

    tell_story(run_async(main), desk.network, desk.as_json)


@money_command(app, "logs")
def show_logs(
    desk: MoneyDesk,
    task: TaskArgument = "last",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the task has ended.")] = False,
    index: IndexOption = None,
) -> None:
    """Show what a task printed: stdout on stdout, stderr on stderr.

    Of a task that is done it is the verified text of its result. Of one that runs it is what its worker says,
    unverified, and only at trust 1: of others nothing may be known before their workers agreed. Example:

    fairgrid task logs -f last
    """
    if follow and desk.as_json:
        raise UsageError("--json gives one object, and -f goes on: leave one of them out.")

    async def main() -> dict[str, Any]:
        async with desk.client() as client:
            return await _Logs(client, show=not desk.as_json).told(client.journal.find(task), index, follow=follow)

    document = run_async(main)
    if desk.as_json:
        emit_json({"status": "ok", **document})


class _Logs:
    """Tells what a task printed, and remembers what it told."""

    def __init__(self, client: Client, *, show: bool) -> None:
        self._client = client
        self._show = show
        self._said: dict[str, list[str]] = {name: [] for name in _LOGS}

    async def told(self, record: DealRecord, index: int | None, *, follow: bool) -> dict[str, Any]:
        """Show everything; stdout, stderr, and whether they are verified."""
        if record.batch:
            raise UsageError(
                f"Deal {record.deal_id} is settled in runs: its tasks' logs are in the results, "
                f"`fairgrid result {record.deal_id[:12]}`."
            )
        facts = await gather(self._client, record, index=index)
        if facts.task is None:
            raise UsageError(f"Deal {record.deal_id} is not on chain yet. `fairgrid task why` says more.")
        if facts.task.status is TaskStatus.COMPLETED:
            return await self._verified(facts.task_id, shown=False)
        if record.trust > 1:
            if not follow:
                raise UsageError(
                    f"The trust of task {facts.task_id} is {record.trust}: nothing of it is shown before its workers "
                    f"agreed. `fairgrid task logs -f` waits for that."
                )
        else:
            await self._live(facts.task_id, follow=follow)
        if not follow:
            return self._document(facts.task_id, verified=False)
        return await self._end(record, facts.task_id)

    async def _live(self, task_id: str, *, follow: bool) -> None:
        lines = LiveLines(self._line)
        heard = asyncio.Event()
        screen = console(quiet=not self._show)

        def take(event: LiveOutput | LiveProgress) -> None:
            heard.set()
            if isinstance(event, LiveOutput):
                lines.take(event)
            else:
                screen.print(bar(event), markup=False, highlight=False)

        following = asyncio.ensure_future(follow_live(self._client, task_id, take))
        following.add_done_callback(lambda _: heard.set())
        try:
            while not following.done():
                heard.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(heard.wait(), _QUIET_S)
                if not follow and not heard.is_set():
                    break
            if following.done():
                following.result()
        except ServiceRefused as refused:
            raise UsageError(f"The pool shows nothing of task {task_id}: {refused}") from refused
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            lines.end()
        if not follow and not any(self._said.values()):
            screen.print("It has printed nothing yet.", markup=False)

    async def _end(self, record: DealRecord, task_id: str) -> dict[str, Any]:
        if record.tasks > 1:
            raise UsageError("-f follows a deal of one task. `fairgrid task logs --index N` shows one of a bag.")
        ending = await self._client.follow(record, on_progress=ignore_progress)
        if ending is Ending.COMPLETED:
            return await self._verified(task_id, shown=any(self._said.values()))
        raise ServiceError(
            f"Task {task_id} ended without a result. `fairgrid task why {record.deal_id[:12]}` tells about the money."
        )

    async def _verified(self, task_id: str, *, shown: bool) -> dict[str, Any]:
        """The text of the result; shown if it is not what was shown already."""
        with tempfile.TemporaryDirectory(prefix="fairgrid-logs-") as folder:
            task = await self._client.chain.view_task(task_id)
            result = await collect_result(
                self._client.storage, task, task_id, Path(folder), key=self._client.private.result_key
            )
            texts = {name: result.log(name) for name in _LOGS}
        same = shown and all("\n".join(self._said[name]) == texts[name].rstrip("\n") for name in _LOGS)
        if shown:
            note = (
                "The result holds the same text: this is what the workers agreed on."
                if same
                else "The result holds another text than the worker told; the verified one follows."
            )
            console(quiet=not self._show).print(note, markup=False)
        self._said = {name: [] for name in _LOGS}
        for name, text in texts.items():
            for line in text.splitlines():
                if same:
                    self._said[name].append(line)
                else:
                    self._line(name.removesuffix(".txt"), line)
        return self._document(task_id, verified=True)

    def _line(self, stream: str, line: str) -> None:
        self._said[f"{stream}.txt"].append(line)
        if self._show:
            typer.echo(sanitise_terminal(line), err=stream == "stderr")

    def _document(self, task_id: str, *, verified: bool) -> dict[str, Any]:
        stdout, stderr = ("".join(f"{line}\n" for line in self._said[name]) for name in _LOGS)
        return {"taskId": task_id, "verified": verified, "stdout": stdout, "stderr": stderr}


def _when(at: int, now: int) -> str:
    if at == 0:
        return ""
    clock = datetime.fromtimestamp(at).strftime("%d %b %H:%M:%S")
    return f"{clock} (in {_span(at - now)}): " if at > now else f"{clock} (passed): "


def _span(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _in_rlc(text: str, nrlc: int) -> str:
    """People read RLC: the one amount in the text."""
    return text.replace(f"{nrlc} nRLC", rlc(nrlc)) if nrlc else text


def _row(record: DealRecord, task_id: str, now: int, why: Why) -> dict[str, Any]:
    return {
        "status": "ok",
        "dealId": record.deal_id,
        "taskId": task_id,
        "state": why.state,
        "summary": why.summary,
        "reasons": list(why.reasons),
        "next": [
            {"at": step.at or None, "inSeconds": step.at - now if step.at else None, "text": step.text}
            for step in why.next
        ],
        "lockedNrlc": why.locked_nrlc,
        "money": why.money,
        "command": why.command,
    }
