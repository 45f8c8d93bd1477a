"""What the operator's commands share: whom they ask in whose name, and how answers are shown.

A command is made with `operator_command`; its parameter ``desk`` stands for the options that all of them have.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import BaseModel
from rich.table import Table

from fairgrid.cli.desk_command import DeskOption, desk_command
from fairgrid.cli.output import console, emit_json, run_async
from fairgrid.cli.shared_options import POOL_FOLDER, JsonOption, PoolFolderOption
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.pool.administration.operator_client import OperatorClient

__all__ = [
    "LimitOption",
    "OffsetOption",
    "PoolDesk",
    "ReasonOption",
    "WorkerArgument",
    "operator_command",
    "show_table",
]

_Answer = TypeVar("_Answer")
_Command = TypeVar("_Command", bound=Callable[..., None])

_AsOption = Annotated[
    Path | None,
    typer.Option("--as", metavar="FOLDER", help="Sign with the key in this folder. Default: the owner's, in --dir."),
]
_UrlOption = Annotated[
    list[str] | None, typer.Option("--url", metavar="URL", help="Where the pool answers. Default: what --dir knows.")
]
_NetworkOption = Annotated[
    Path | None,
    typer.Option("--network", metavar="NETWORK", help="Its name or file, for a pool that never ran in --dir."),
]
LimitOption = Annotated[int, typer.Option(min=1, max=1_000, help="How many to show.")]
OffsetOption = Annotated[int, typer.Option(min=0, help="How many to leave out first.")]
WorkerArgument = Annotated[str, typer.Argument(metavar="WORKER", help="A worker's address.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept with who did it and when.")]

_OPTIONS: tuple[DeskOption, ...] = (
    ("directory", PoolFolderOption, POOL_FOLDER),
    ("url", _UrlOption, None),
    ("key", _AsOption, None),
    ("network", _NetworkOption, None),
    ("as_json", JsonOption, False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDesk:
    """Which pool is asked, as whom, and for whom the answer is shown."""

    directory: Path
    url: list[str] | None
    """Where its processes answer; None: what the folder knows."""
    key: Path | None
    """Folder of the operator's key; None: the pool's own."""
    network: Path | None
    as_json: bool

    def ask(self, question: Callable[[OperatorClient], Awaitable[_Answer]]) -> _Answer:
        """What ``question`` gets of the pool.

        Raises:
            UsageError: nothing says where the pool is, or there is no key.
            FairgridError: whatever the pool answers.
        """
        from fairgrid.chain.network import load_network
        from fairgrid.pool.administration.operator_client import OperatorClient, reaches_of
        from fairgrid.pool.client import pool_urls
        from fairgrid.pool.core.identity import PoolIdentity
        from fairgrid.wallet.keystore import KEYSTORE_NAME, open_or_create_key

        where = self.key or self.directory
        if not (where / KEYSTORE_NAME).exists():
            raise UsageError(
                f"There is no key at {where / KEYSTORE_NAME}. Name the pool's folder with --dir, or that of an "
                f"operator's key with --as."
            )
        reaches = reaches_of(self.directory)
        if self.network is not None:
            named = load_network(self.network)
            identity = PoolIdentity(named.chain_id, named.hub, named.pool_address)
            places = list(self.url or pool_urls(named.pool))
        elif reaches:
            identity = reaches[0].identity
            places = list(self.url or [reach.url for reach in reaches if reach.identity == identity])
        else:
            raise UsageError(
                f"No process of a pool ever ran with {self.directory}. Start one, or name the --network file."
            )
        signer = open_or_create_key(where)

        async def main() -> _Answer:
            async with OperatorClient(places, identity, signer) as client:
                return await question(client)

        return run_async(main)

    def show(self, answer: BaseModel, people: Callable[[], None]) -> None:
        """With ``--json`` the answer with the keys of the REST API; otherwise ``people`` prints what people read."""
        if self.as_json:
            emit_json({"status": "ok", "answer": answer.model_dump(mode="json", by_alias=True)})
        else:
            people()

    def say(self, answer: BaseModel, text: str) -> None:
        """`show`, with one line for people."""
        self.show(answer, lambda: console().print(text, markup=False))

    def show_table(
        self, answer: BaseModel, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = ""
    ) -> None:
        """`show`, with one table for people."""
        self.show(answer, lambda: show_table(columns, rows, title=title))


def operator_command(group: typer.Typer, name: str) -> Callable[[_Command], _Command]:
    """Make a function the command ``name`` of ``group``; its parameter ``desk`` becomes the options of `PoolDesk`."""
    return desk_command(group, name, PoolDesk, _OPTIONS)


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
