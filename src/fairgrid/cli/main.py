"""`fairgrid`: assembles the commands of every room, and loads only the one that is asked for."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from fairgrid import __version__
from fairgrid.cli.output import INTERRUPTED, Interrupted, Unexpected, fail
from fairgrid.errors import FairgridError, UsageError
from fairgrid.seams.logs import log_to_stderr

__all__ = ["COMMANDS", "CommandPlace", "command_line", "main"]


@dataclass(frozen=True, slots=True)
class CommandPlace:
    """Where a command lives: the ``app`` of ``module``; ``group`` True mounts the whole app under the name."""

    module: str
    summary: str
    group: bool = False


COMMANDS = {
    "demo": CommandPlace("demo", "Run a real job on a throw-away local network, with one worker that lies."),
    "up": CommandPlace("network", "Start a local network and keep it running."),
    "down": CommandPlace("network", "Stop a local network."),
    "status": CommandPlace("network", "Show a local network's services, workers and accounts."),
    "network": CommandPlace("networks", "Networks by name, and the one that commands use.", group=True),
    "wallet": CommandPlace("wallets", "Accounts by name: make, import, list, export, remove.", group=True),
    "secret": CommandPlace("secret", "An account's secrets, for its jobs: set, list, remove.", group=True),
    "account": CommandPlace("account", "What an account has on a network, and moving it.", group=True),
    "funds": CommandPlace("deals", "Say where every locked nRLC is, until when, and what frees it."),
    "book": CommandPlace("book", "Show the open orders of a network's market."),
    "order": CommandPlace("orders", "Sign, publish, cancel, list and show orders.", group=True),
    "deal": CommandPlace("deals", "Deals as the chain has them: list, show, claim.", group=True),
    "dataset": CommandPlace("assets", "Register data sets, and show them.", group=True),
    "workerpool": CommandPlace("assets", "Register workerpools, show them, and change their terms.", group=True),
    "run": CommandPlace("run", "Run a Python script on the network and bring back its verified result."),
    "result": CommandPlace("results", "Fetch and verify the result of a deal that was made before."),
    "claim": CommandPlace("results", "Take the money of a deal back when its deadline has passed without a result."),
    "verify": CommandPlace("verify", "Check a certificate: what is proven, by whom, and on what it rests."),
    "story": CommandPlace("pool", "Tell what happened to a task."),
    "simulate": CommandPlace("simulate", "Try a trust policy on a simulated pool."),
    "task": CommandPlace("task", "A task of yours: why it waits, its logs, its files so far, its proof.", group=True),
    "worker": CommandPlace("worker", "Offer this machine to a pool.", group=True),
    "pool": CommandPlace("pool_acts", "Run and administer the scheduler of a workerpool.", group=True),
    "group": CommandPlace("group", "Make a group of accounts for a private pool, and change it.", group=True),
    "market": CommandPlace("services", "Run an order book.", group=True),
    "storage": CommandPlace("services", "Run a content-addressed store.", group=True),
    "app": CommandPlace("app", "Try programs as a worker would run them; are their results the same?", group=True),
    "consumer": CommandPlace("consumer", "Make a contract that orders computations.", group=True),
    "runtime": CommandPlace("runtime", "What jobs run in: list, install.", group=True),
    "contracts": CommandPlace("contracts", "Deploy the contracts to a chain, and verify them there.", group=True),
}


class _LazyGroup(TyperGroup):
    """A group whose commands are imported when they are called, and not to be listed."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with self._named_only():
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        with self._named_only():
            return super().shell_complete(ctx, incomplete)

    @contextmanager
    def _named_only(self) -> Iterator[None]:
        """Commands are asked for their names and summaries meanwhile."""
        self._listing = True
        try:
            yield
        finally:
            self._listing = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        if self._listing:
            return TyperCommand(cmd_name, help=place.summary)
        module = importlib.import_module(f"fairgrid.cli.{place.module}")
        if place.group:
            return typer.main.get_command(getattr(module, f"{cmd_name}_app", None) or module.app)
        loaded: Any = typer.main.get_command(getattr(module, f"{cmd_name}_app", None) or module.app)
        return loaded.get_command(ctx, cmd_name) if hasattr(loaded, "get_command") else loaded


command_line = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"fairgrid {__version__}")
        raise typer.Exit


@command_line.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Fairgrid: anyone's machine runs your program; the result is verified before it is paid for.

    Start with `fairgrid demo`. Then `fairgrid up --detach` and `fairgrid run my_script.py --input data.csv`.
    """


def main(arguments: list[str] | None = None) -> None:
    """The console entry point: exit codes 0 to 5, 70 and 130, whatever happens."""
    given = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in given
    log_to_stderr()
    try:
        # With --json what is wrong with the command line must come back here, to be told on stdout.
        code = command_line(args=given, prog_name="fairgrid", standalone_mode=not as_json)
    except typer.TyperException as error:
        fail(UsageError(error.format_message()), as_json=as_json)
    except KeyboardInterrupt:
        fail(Interrupted("Interrupted."), as_json=as_json)
    except FairgridError as error:
        fail(error, as_json=as_json)
    except Exception as error:
        traceback.print_exc()
        fail(Unexpected(error), as_json=as_json)
    if code == INTERRUPTED:
        fail(Interrupted("Interrupted."), as_json=as_json)
    sys.exit(code if isinstance(code, int) else 0)
