"""`fairgrid task certificate`: a small file that proves a task's result to anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairgrid.cli.bags import task_app
from fairgrid.cli.money_desk import MoneyDesk, money_command
from fairgrid.cli.output import console, emit_json, run_async
from fairgrid.errors import UsageError
from fairgrid.protocol.certificate import Certificate
from fairgrid.protocol.hexes import hex32, is_hex32

__all__ = ["make_certificate"]


@money_command(task_app, "certificate")
def make_certificate(
    desk: MoneyDesk,
    deal: Annotated[str, typer.Argument(help="Beginning of a deal or task id of yours, `last`, or any whole deal id.")],
    index: Annotated[
        int | None, typer.Option("--index", min=0, help="Which task of the deal. Default: its first.")
    ] = None,
    files: Annotated[
        list[str] | None, typer.Option("--file", help="Prove only this file of the result; may be given again.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write. Default: <task>.certificate.json")
    ] = None,
) -> None:
    """Write the certificate of a finished task: a small file that proves its result to anybody, offline.

    Example: `fairgrid task certificate last --out total.certificate.json`, then `fairgrid verify` on any machine.
    """
    screen = console()

    async def main() -> Certificate:
        async with desk.client() as client:
            deal_id = hex32(deal) if is_hex32(deal) and await client.chain.view_deal(hex32(deal)) else ""
            deal_id = deal_id or client.journal.find(deal).deal_id
            number = index
            if number is None:
                found = await client.chain.view_deal(deal_id)
                number = found.bot_first if found is not None else 0
            return await client.certificate(deal_id, number, files=files)

    certificate = run_async(main)
    place = out or Path(f"{certificate.task_id[:12]}.certificate.json")
    data = certificate.to_bytes()
    try:
        place.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{place} cannot be written ({error.strerror}). Name another file with --out.") from error
    if desk.as_json:
        emit_json(
            {
                "status": "ok",
                "file": str(place),
                "taskId": certificate.task_id,
                "digest": certificate.digest,
                "files": [file.path for file in certificate.files],
                "bytes": len(data),
                "exitCode": 0,
            }
        )
        return
    screen.print(
        f"{place}: {len(data)} bytes, task {certificate.task_id}. `fairgrid verify {place}` checks it.", markup=False
    )
