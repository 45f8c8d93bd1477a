"""Commands that sign or send: each says first what it would do, and is agreed to; each takes a password from a file.

Which commands these are is read from their code: what they call, and what that calls, within the CLI.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

import pytest
import typer

from fairgrid.cli.money_desk import MoneyDesk, money_command
from tests.cli.tree import commands, options

SIGNING = {
    "carry_out": "shows, asks and sends a plan",
    "transact": "sends a transaction",
    "broadcast": "sends a transaction",
    "sign_typed_data": "signs a document",
    "sign_message": "signs a document",
    "publish": "signs and publishes",
    "unpublish": "withdraws an order",
    "deploy": "creates contracts",
    "run_split": "makes deals",
    "sign": "signs a deal",
    "claim": "takes money back",
    "claim_bag": "takes money back",
    "sign_ownership": "signs a document",
}
"""Names whose use makes a command one that signs."""

FREE = {
    "demo": "plays with play money, on a network of its own that it throws away",
    "secret set": "keeps a secret here; the fixed text that it signs is the seed of a key, and leaves no machine",
    "result": "goes on with a deal that was agreed to; what it may send is the same match, and the claim of its money",
}
"""Commands that sign and ask nothing, and why."""

COMMANDS = commands()


def names_in(code: CodeType) -> Iterator[str]:
    """Every global, attribute or imported name that a function and those inside of it use."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


def functions_of(function: Any, seen: set[FunctionType]) -> Iterator[FunctionType]:
    """The function, what stands in its cells (as a decorator leaves it), and what of the CLI it calls."""
    function = inspect.unwrap(function)
    if not isinstance(function, FunctionType) or function in seen or not function.__module__.startswith("fairgrid.cli"):
        return
    seen.add(function)
    yield function
    for cell in function.__closure__ or ():
        yield from functions_of(cell.cell_contents, seen)
    for name in names_in(function.__code__):
        yield from functions_of(function.__globals__.get(name), seen)


def signs(command: Any) -> set[str]:
    """By which names the command signs."""
    used = {name for function in functions_of(command.callback, set()) for name in names_in(function.__code__)}
    return used & SIGNING.keys()


SIGNERS = {name: command for name, command in COMMANDS.items() if signs(command)}


def test_the_commands_that_are_known_to_sign_are_seen() -> None:
    known = {"run", "claim", "result", "order sign", "order cancel", "account deposit", "deal make", "app publish"}
    known |= {"task materialise", "worker repay", "worker enrol", "group create", "group add", "pool offer"}
    known |= {"pool init", "contracts deploy", "dataset register", "workerpool policy"}
    assert known - SIGNERS.keys() == set()
    assert {"account show", "wallet list", "task why", "funds", "book"} & SIGNERS.keys() == set()


@pytest.mark.parametrize("name", sorted(SIGNERS.keys() - FREE.keys()))
def test_a_command_that_signs_can_be_tried_and_agreed_to_beforehand(name: str) -> None:
    missing = {"--dry-run", "--yes", "--json"} - options(COMMANDS[name])
    assert missing == set(), f"fairgrid {name} signs ({', '.join(signs(COMMANDS[name]))}), without {missing}"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_that_opens_a_keystore_takes_its_password_from_a_file(name: str) -> None:
    found = options(COMMANDS[name])
    if found & {"--wallet", "--keystore"}:
        assert "--password-file" in found, f"fairgrid {name} would ask for a password where nobody sits"


def test_a_command_that_signs_without_being_tried_would_be_noticed() -> None:
    group = typer.Typer()

    @money_command(group, "spend")
    def spend(desk: MoneyDesk) -> None:
        """Spends."""
        _pay(desk)

    @money_command(group, "look")
    def look(desk: MoneyDesk) -> None:
        """Looks."""

    for function in (spend, look, _pay):
        function.__module__ = "fairgrid.cli.test"
    loaded: Any = typer.main.get_command(group)
    assert signs(loaded.get_command(None, "spend")) == {"carry_out"} and not signs(loaded.get_command(None, "look"))
    assert not {"--dry-run", "--yes"} & options(loaded.get_command(None, "spend"))


def _pay(desk: MoneyDesk) -> None:
    desk.carry_out(None)  # type: ignore[arg-type]
