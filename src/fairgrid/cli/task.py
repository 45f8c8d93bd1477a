"""`fairgrid task`: watch a running task of trust 1, fetch the files that it has written so far; prove one of a bag."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairgrid.cli.bags import task_app as app
from fairgrid.cli.certificate import make_certificate
from fairgrid.cli.money_desk import MoneyDesk, money_command
from fairgrid.cli.output import console, emit_json, run_async
from fairgrid.cli.task_why import show_logs, tell_task_story, tell_why
from fairgrid.client.live import LiveLines, bar, follow_live
from fairgrid.client.results import prepare_out
from fairgrid.errors import VerificationError
from fairgrid.pool.client import LiveOutput, LiveProgress
from fairgrid.protocol.archive import extract_archive

__all__ = ["app", "make_certificate", "show_logs", "tell_task_story", "tell_why"]

_MAX_FILES = 10_000

_Task = Annotated[str, typer.Argument(help="Beginning of a deal or task id, or `last`.")]


@money_command(app, "live")
def watch_task(desk: MoneyDesk, task: _Task) -> None:
    """Show what a running task prints, and its progress, until it has ended. Unverified: from one worker.

    Only for tasks of trust 1: of others nothing may be known before their workers agreed. With --json all of it comes
    at the end. Example: `fairgrid task live last`.
    """
    screen = console(quiet=desk.as_json)
    said: dict[str, list[str]] = {"stdout": [], "stderr": []}

    def tell(stream: str, line: str) -> None:
        said[stream].append(line)
        if not desk.as_json:
            typer.echo(line, err=stream == "stderr")

    lines = LiveLines(tell)

    def show(event: LiveOutput | LiveProgress) -> None:
        if isinstance(event, LiveOutput):
            lines.take(event)
        else:
            screen.print(bar(event), markup=False, highlight=False)

    async def main() -> str:
        async with desk.client() as client:
            task_id = client.journal.find(task).task_ids[0]
            await follow_live(client, task_id, show)
            lines.end()
            return task_id

    task_id = run_async(main)
    if desk.as_json:
        texts = {stream: "".join(f"{line}\n" for line in told) for stream, told in said.items()}
        emit_json({"status": "ok", "taskId": task_id, "verified": False, **texts})


@money_command(app, "partial")
def fetch_partial(
    desk: MoneyDesk,
    task: _Task,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the files. Default: partial/<deal>.")] = None,
) -> None:
    """Fetch the files that a running task has written so far. Unverified: from one worker, and not finished.

    Only for tasks of trust 1, at most every 10 s, at most 64 MiB. Example: `fairgrid task partial last`.
    """
    screen = console()

    async def main() -> tuple[Path, str, str, list[str]]:
        async with desk.client() as client:
            record = client.journal.find(task)
            folder = out or Path("partial") / record.deal_id[:12]
            prepare_out(folder)
            view = await client.partial(record.task_ids[0])
            archive = folder.with_name(f".{folder.name}.partial.zip")
            try:
                await client.storage.fetch(view.cid, archive, max_bytes=view.size)
                entries = extract_archive(archive, folder, max_bytes=view.size, max_files=_MAX_FILES)
            except VerificationError as error:
                raise VerificationError(f"The worker's partial result cannot be used: {error}") from error
            finally:
                archive.unlink(missing_ok=True)
            return folder, view.worker, view.cid, [entry.path for entry in entries]

    folder, worker, cid, files = run_async(main)
    if desk.as_json:
        emit_json(
            {
                "status": "partial",
                "verified": False,
                "outDir": str(folder),
                "files": files,
                "worker": worker,
                "cid": cid,
                "exitCode": 0,
            }
        )
        return
    screen.print(f"Unverified, partial, from worker {worker}: {len(files)} file(s) in {folder}", markup=False)
