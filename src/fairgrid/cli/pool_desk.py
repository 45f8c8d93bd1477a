"""What the operator's commands share: their options, whom they ask in whose name, and how answers are shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import BaseModel
from rich.table import Table

from fairgrid.cli.output import console, emit_json, run_async
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.pool.administration.operator_client import OperatorClient

__all__ = [
    "As",
    "Folder",
    "Json",
    "Limit",
    "NetworkFile",
    "Offset",
    "Reason",
    "Url",
    "Worker",
    "asked",
    "clock_time",
    "duration",
    "show_json",
    "show_table",
]

_Answer = TypeVar("_Answer")

Folder = Annotated[
    Path, typer.Option("--dir", envvar="FAIRGRID_POOL_DIR", metavar="D", help="Folder of the pool: key, processes.")
]
As = Annotated[
    Path | None,
    typer.Option("--as", metavar="FOLDER", help="Sign with the key in this folder. Default: the owner's, in --dir."),
]
Url = Annotated[
    list[str] | None, typer.Option("--url", metavar="URL", help="Where the pool answers. Default: what --dir knows.")
]
NetworkFile = Annotated[
    Path | None, typer.Option("--network", metavar="FILE", help="The network file, for a pool that never ran in --dir.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Limit = Annotated[int, typer.Option(min=1, max=1_000, help="How many to show.")]
Offset = Annotated[int, typer.Option(min=0, help="How many to leave out first.")]
Worker = Annotated[str, typer.Argument(metavar="WORKER", help="A worker's address.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept with who did it and when.")]


def asked(
    ask: Callable[[OperatorClient], Awaitable[_Answer]],
    directory: Path,
    urls: Sequence[str] | None,
    key: Path | None,
    network: Path | None,
) -> _Answer:
    """What ``ask`` gets of the pool.

    Raises:
        UsageError: nothing says where the pool is, or there is no key.
        FairgridError: whatever the pool answers.
    """
    from fairgrid.chain.network import load_network
    from fairgrid.pool.administration.operator_client import OperatorClient, reaches_of
    from fairgrid.pool.client import pool_urls
    from fairgrid.pool.core.state import PoolIdentity
    from fairgrid.wallet.keystore import KEYSTORE_NAME, open_or_create_key

    where = key or directory
    if not (where / KEYSTORE_NAME).exists():
        raise UsageError(
            f"There is no key at {where / KEYSTORE_NAME}. Name the pool's folder with --dir, or that of an operator's "
            f"key with --as."
        )
    reaches = reaches_of(directory)
    if network is not None:
        named = load_network(network)
        identity = PoolIdentity(named.chain_id, named.hub, named.pool_address)
        places = list(urls or pool_urls(named.pool))
    elif reaches:
        identity = reaches[0].identity
        places = list(urls or [reach.url for reach in reaches if reach.identity == identity])
    else:
        raise UsageError(f"No process of a pool ever ran with {directory}. Start one, or name the --network file.")
    signer = open_or_create_key(where)

    async def main() -> _Answer:
        async with OperatorClient(places, identity, signer) as client:
            return await ask(client)

    return run_async(main)


def show_json(answer: BaseModel) -> None:
    """The answer as the one JSON object of a ``--json`` run, with the keys of the REST API."""
    emit_json({"status": "ok", "answer": answer.model_dump(mode="json", by_alias=True)})


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """A table for people; lists are shown with spaces, None is left out."""
    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")  # Ids are to be copied: nothing of them is left out.
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console().print(table)


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(str(item) for item in value)
    return "" if value is None else str(value).replace("[", r"\[")


def clock_time(at: float) -> str:
    """A local time of seconds since 1970, to the second."""
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M:%S") if at else ""


def duration(seconds: float) -> str:
    """Seconds for people: ``42 s``, ``7 min``, ``5.3 h``, ``2.0 d``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} d"
