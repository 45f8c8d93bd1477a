"""`fairgrid pool access`: who may use a pool and work for it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from fairgrid.cli.output import console, emit_json
from fairgrid.cli.shared_options import POOL_FOLDER, JsonOption, PoolDatabaseOption, PoolFolderOption
from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from fairgrid.pool.administration.access import AccessList, AccessStore, Role

__all__ = ["add_pool_access"]

_Value = TypeVar("_Value")

access_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Who may use the pool and work for it. Changes apply within seconds, without a restart.",
)


class RoleChoice(StrEnum):
    """For whom a line of the list counts."""

    WORKER = "worker"
    REQUESTER = "requester"
    BOTH = "both"


_Role = Annotated[RoleChoice, typer.Option("--role", help="In which role: those who use it, or work for it, or both.")]
_Addresses = Annotated[list[str], typer.Argument(metavar="ADDRESS...", help="Accounts, or owners of workers.")]
_Note = Annotated[str, typer.Option("--note", help="A word for yourself, such as a name.")]


def add_pool_access(app: typer.Typer) -> None:
    """Add the commands to `fairgrid pool`."""
    app.add_typer(access_app, name="access")


@access_app.command("list")
def list_access(
    directory: PoolFolderOption = POOL_FOLDER, database: PoolDatabaseOption = None, as_json: JsonOption = False
) -> None:
    """Show who is admitted, and what strangers meet.

    Example: `fairgrid pool access list --dir pool`.
    """
    _show(_with_store(directory, database, lambda store: store.read()), as_json=as_json)


@access_app.command("add")
def add_access(
    addresses: _Addresses,
    role: _Role = RoleChoice.BOTH,
    note: _Note = "",
    directory: PoolFolderOption = POOL_FOLDER,
    database: PoolDatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Admit accounts. An open pool is closed to strangers in this role from the first one on.

    Example: `fairgrid pool access add 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --role requester`.
    """
    _changed(directory, database, lambda store: store.add(addresses, _roles(role), note=note), as_json=as_json)


@access_app.command("group")
def add_group(
    groups: Annotated[list[str], typer.Argument(metavar="GROUP...", help="Groups on chain (`fairgrid group create`).")],
    role: _Role = RoleChoice.BOTH,
    note: _Note = "",
    directory: PoolFolderOption = POOL_FOLDER,
    database: PoolDatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Admit the members of groups, whoever they are at the time: the chain is asked.

    Example: `fairgrid pool access group 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --dir pool`.
    """
    _changed(
        directory, database, lambda store: store.add(groups, _roles(role), is_group=True, note=note), as_json=as_json
    )


@access_app.command("remove")
def remove_access(
    addresses: _Addresses,
    role: _Role = RoleChoice.BOTH,
    directory: PoolFolderOption = POOL_FOLDER,
    database: PoolDatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take accounts or groups off the list. Their workers end what they have begun; the pool stays closed.

    Example: `fairgrid pool access remove 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf --dir pool`.
    """

    def remove(store: AccessStore) -> None:
        if not store.remove(addresses, _roles(role)):
            raise UsageError(f"Nothing was removed: {', '.join(addresses)} is not on the list as {role.value}.")

    _changed(directory, database, remove, as_json=as_json)


@access_app.command("door")
def set_door(
    state: Annotated[str, typer.Argument(metavar="STATE", help="open, closed, or lenient.")],
    role: _Role = RoleChoice.BOTH,
    directory: PoolFolderOption = POOL_FOLDER,
    database: PoolDatabaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what strangers meet: `open` lets everybody in, `closed` nobody but those on the list.

    A stranger's deal that the chain made all the same (by an order without restriction) is not served when closed: he
    is refunded after the final deadline and the pool loses its stake in it. `lenient` serves and earns it.

    Example: `fairgrid pool access door lenient --role worker --dir pool`.
    """
    from fairgrid.pool.administration.access import Door

    try:
        door = Door(state)
    except ValueError:
        raise UsageError(f"There is no state {state!r}: give open, closed or lenient.") from None

    _changed(directory, database, lambda store: store.set_door(_roles(role), door), as_json=as_json)


def _changed(directory: Path, database: str | None, change: Callable[[AccessStore], object], *, as_json: bool) -> None:
    """Change the list, then show it as it is now."""

    def work(store: AccessStore) -> AccessList:
        change(store)
        return store.read()

    _show(_with_store(directory, database, work), as_json=as_json)


def _with_store(directory: Path, database: str | None, work: Callable[[AccessStore], _Value]) -> _Value:
    from fairgrid.pool.administration.access import AccessStore
    from fairgrid.pool.records.store import PoolStore

    if database is None and not directory.is_dir():
        raise UsageError(f"There is no folder {directory}. Name the pool's with --dir.")
    store = PoolStore.open(database or directory / "pool.db")
    try:
        return work(AccessStore(store.engine))
    finally:
        store.close()


def _roles(choice: RoleChoice) -> list[Role]:
    from fairgrid.pool.administration.access import Role

    return list(Role) if choice is RoleChoice.BOTH else [Role(choice.value)]


def _show(current: AccessList, *, as_json: bool) -> None:
    from fairgrid.pool.administration.access import Role

    if as_json:
        emit_json(_document(current))
        return
    screen = console()
    for role in Role:
        screen.print(f"{role.value}s: {current.door(role).value} to strangers", style="bold", markup=False)
        for entry in current.entries:
            if entry.role is role:
                kind = "group " if entry.is_group else ""
                screen.print(f"  {kind}{entry.address}  {entry.note}".rstrip(), markup=False)


def _document(current: AccessList) -> dict[str, Any]:
    from fairgrid.pool.administration.access import Role

    return {
        "status": "ok",
        "doors": {role.value: current.door(role).value for role in Role},
        "entries": [
            {
                "address": entry.address,
                "role": entry.role.value,
                "group": entry.is_group,
                "note": entry.note,
                "at": entry.at,
            }
            for entry in current.entries
        ],
    }
