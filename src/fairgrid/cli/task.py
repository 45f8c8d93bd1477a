"""`fairgrid task`: watch a running task of trust 1, fetch the files that it has written so far; prove one of a bag."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairgrid.cli.bags import task_app as app
from fairgrid.cli.certificate import make_certificate
from fairgrid.cli.connecting import client_of
from fairgrid.cli.output import console, emit_json, run_async
from fairgrid.cli.shared_options import JsonOption, KeyFolderOption, PlaceOption
from fairgrid.cli.task_why import show_logs, tell_task_story, tell_why
from fairgrid.client.live import LiveLines, bar, follow_live
from fairgrid.client.results import prepare_out
from fairgrid.errors import VerificationError
from fairgrid.pool.client import LiveOutput, LiveProgress
from fairgrid.protocol.archive import extract_archive

__all__ = ["app", "make_certificate", "show_logs", "tell_task_story", "tell_why"]

_MAX_FILES = 10_000

_Task = Annotated[str, typer.Argument(help="Beginning of a deal or task id, or `last`.")]


@app.command("live")
def watch_task(task: _Task, directory: PlaceOption = None, key_folder: KeyFolderOption = None) -> None:
    """Show what a running task prints, and its progress, until it has ended. Unverified: from one worker.

    Only for tasks of trust 1: of others nothing may be known before their workers agreed.
    """
    screen = console()
    lines = LiveLines(lambda stream, line: typer.echo(line, err=stream == "stderr"))

    def show(event: LiveOutput | LiveProgress) -> None:
        if isinstance(event, LiveOutput):
            lines.take(event)
        else:
            screen.print(bar(event), markup=False, highlight=False)

    async def main() -> None:
        async with client_of(directory, key_folder) as client:
            await follow_live(client, client.journal.find(task).task_ids[0], show)
            lines.end()

    run_async(main)


@app.command("partial")
def fetch_partial(
    task: _Task,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the files. Default: partial/<deal>.")] = None,
    directory: PlaceOption = None,
    key_folder: KeyFolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the files that a running task has written so far. Unverified: from one worker, and not finished.

    Only for tasks of trust 1, at most every 10 s, at most 64 MiB.
    """
    screen = console()

    async def main() -> tuple[Path, str, str, list[str]]:
        async with client_of(directory, key_folder) as client:
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
    if as_json:
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
