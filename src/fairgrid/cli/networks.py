"""`fairgrid network`: networks by name in the user's config file, checked before they are believed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fairgrid.cli.completion import network_names
from fairgrid.cli.output import console, emit_json, run_async
from fairgrid.cli.shared_options import JsonOption, YesOption
from fairgrid.errors import FairgridError, ServiceUnavailable, UsageError

if TYPE_CHECKING:
    from fairgrid.chain.network import Network

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Networks by name.")

_ANSWER_S = 10.0


_Name = Annotated[str, typer.Argument(metavar="NAME", help="The network's name here.", autocompletion=network_names)]


@app.callback()
def _networks() -> None:
    """Networks by name: `--network NAME` means them everywhere, and `Executor("NAME")` does.

    `local` is always there: what `fairgrid up` started on this machine.
    """


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="How to call it here.")],
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="The URL of one of its pools, or a network file, or a folder with one."),
    ],
    use: Annotated[bool, typer.Option("--use", help="Make it the network of commands that name none, too.")] = False,
    replace_it: Annotated[bool, typer.Option("--replace", help="Put it in the place of one of that name.")] = False,
    rpc: Annotated[str | None, typer.Option(metavar="URL", help="Another node of its chain, such as your own.")] = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Keep a network under a name, from its pool's description or from a network file.

    Its node is asked whether it is on that chain, and whether the hub there is the code that the description pins; what
    is wrong is said, and nothing is kept. A node that does not answer now is asked again by the first command that uses
    the network. A pool describes itself: compare hub and code hash with what others publish before you agree.

    Example: `fairgrid network add test https://pool.example.org --use`.
    """
    from fairgrid.chain.network_names import RESERVED_NAMES, add_network, use_network
    from fairgrid.seams.config_file import check_name, config_file, read_config

    check_name(name, "network", taken=RESERVED_NAMES)
    if name in read_config().networks and not replace_it:
        raise UsageError(
            f"There is a network {name} already; nothing was changed. `fairgrid network show {name}` shows it, "
            f"--replace puts this one in its place."
        )
    network, from_pool = _described(source)
    network = replace(network, rpc=rpc.rstrip("/")) if rpc is not None else network
    problem = run_async(lambda: _checked(network))
    screen = console()
    screen.print(f"{source} describes this network:", style="bold", markup=False)
    _print(name, network, screen.print)
    if problem is not None:
        screen.print(f"It could not be checked now: {problem}", style="yellow", markup=False)
    if from_pool:
        _agree(yes=yes, as_json=as_json)
    add_network(name, network, replace=replace_it)
    if use:
        use_network(name)
    if as_json:
        checked = {"checked": problem is None, "problem": None if problem is None else str(problem)}
        emit_json({"status": "ok", **_document(name, network, in_use=_in_use() == name), **checked})
        return
    screen.print(f"Kept as {name} in {config_file()}. Use it with --network {name}.", markup=False)


@app.command("list")
def list_networks(as_json: JsonOption = False) -> None:
    """List the networks that are known here; asks nobody. Example: `fairgrid network list`."""
    rows = [_document(name, network, in_use=name == _in_use()) for name, network in _known().items()]
    if as_json:
        emit_json({"status": "ok", "networks": rows})
        return
    table = Table("", "network", "chain", "hub", "pool", box=None, pad_edge=False)
    for row in rows:
        network = row["network"] or {}
        place = (str(network.get("chainId", "")), network.get("hub", "not started"), network.get("pool", ""))
        table.add_row("*" if row["inUse"] else "", row["name"], *place)
    console().print(table)


@app.command("show")
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Default: the one in use.", autocompletion=network_names)
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Show a network, and ask its node and services whether they answer and are the right ones.

    Exit code 4 if one does not answer, 5 if the hub's code is not the pinned one. Example: `fairgrid network show`.
    """
    from fairgrid.chain.network_names import find_network

    place = find_network(name or _in_use())
    answers = run_async(lambda: _ask_all(place.network))
    errors = [error for error in answers.values() if error is not None]
    if as_json:
        states = {service: {"ok": error is None, "problem": str(error or "")} for service, error in answers.items()}
        document = _document(place.name, place.network, in_use=place.name == _in_use())
        emit_json({"status": "error" if errors else "ok", **document, "folder": str(place.folder), "answers": states})
        if errors:
            raise typer.Exit(max(error.exit_code for error in errors))
        return
    screen = console()
    _print(place.name, place.network, screen.print)
    screen.print(f"  {'deals and runs':14} {place.folder}", markup=False, soft_wrap=True)
    for service, error in answers.items():
        screen.print(f"  {service:14} {'answers' if error is None else error}", markup=False, soft_wrap=True)
    if errors:
        raise typer.Exit(max(error.exit_code for error in errors))


@app.command("use")
def use_it(name: _Name, as_json: JsonOption = False) -> None:
    """Make a network the one of commands that name none; `local` goes back. Example: `fairgrid network use local`.

    `--network`, $FAIRGRID_NETWORK and $FAIRGRID_DIR count before it.
    """
    from fairgrid.chain.network_names import use_network

    use_network(name)
    now = _in_use()
    if as_json:
        emit_json({"status": "ok", "name": name, "inUse": now})
        return
    console().print(f"Commands that name no network use {name} now.", markup=False)
    if now != name:
        console().print(f"But the environment of this shell names {now}, and that counts before it.", style="yellow")


@app.command("remove")
def remove(name: _Name, as_json: JsonOption = False) -> None:
    """Forget a network's name. What is kept of it, such as its deals, stays in its folder.

    Example: `fairgrid network remove test`.
    """
    from fairgrid.chain.network_names import remove_network
    from fairgrid.seams.config_file import state_folder

    used = remove_network(name)
    folder = state_folder(name)
    if as_json:
        emit_json({"status": "ok", "name": name, "wasInUse": used, "folder": str(folder)})
        return
    screen = console()
    screen.print(f"Forgot {name}.{' Commands that name no network use local again.' if used else ''}", markup=False)
    if folder.exists():
        screen.print(f"Its deals and runs stay in {folder}.", markup=False, soft_wrap=True)


def _described(source: str) -> tuple[Network, bool]:
    """The network of a pool's URL or of a file, and whether it is the pool's word."""
    from fairgrid.chain.network import check_network, load_network
    from fairgrid.worker.setup.joining import fetch_description

    if source.startswith(("http://", "https://")):
        pool = source.rstrip("/").removesuffix("/network")
        return replace(run_async(lambda: fetch_description(pool)), pool=pool), True
    if "://" in source:
        raise UsageError(f"{source} is neither the http(s) address of a pool nor a network file. Nothing was kept.")
    network = load_network(Path(source))
    try:
        check_network(network)
    except FairgridError as error:
        raise UsageError(f"{source} describes a network that cannot be: {error}. Nothing was kept.") from error
    return network, False


async def _checked(network: Network) -> ServiceUnavailable | None:
    """Why the chain could not be asked; None when it is the right one.

    Raises:
        UsageError, VerificationError: it is not.
    """
    from fairgrid.chain.client import JsonRpcChain

    try:
        async with await JsonRpcChain.connect(network):
            return None
    except ServiceUnavailable as error:
        return error


async def _ask_all(network: Network) -> dict[str, FairgridError | None]:
    from fairgrid.pool.client import pool_urls

    answers: dict[str, FairgridError | None] = {}
    try:
        answers["chain"] = await _checked(network)
    except FairgridError as error:
        answers["chain"] = error
    for service, url in (("market", network.market), ("storage", network.storage)):
        answers[service] = await _ask(service, url)
    told = [await _ask("pool", url) for url in pool_urls(network.pool)]
    answers["pool"] = None if None in told else told[0]
    return answers


async def _ask(service: str, url: str) -> ServiceUnavailable | None:
    """None if anything of HTTP answers there: what it answers is for those who use it."""
    import httpx

    try:
        async with httpx.AsyncClient(timeout=_ANSWER_S, follow_redirects=False) as client:
            await client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return ServiceUnavailable(service, url, str(error) or type(error).__name__)
    return None


def _agree(*, yes: bool, as_json: bool) -> None:
    if yes:
        return
    asked = not as_json and sys.stdin.isatty()
    if not (asked and typer.confirm("Trust this network from now on?", err=True)):
        raise UsageError("The network was not accepted; nothing was kept. --yes accepts it.")


def _in_use() -> str:
    from fairgrid.chain.network_names import default_network

    return default_network()


def _known() -> dict[str, Network | None]:
    """Every network by name; `local` first, None while it was never started."""
    from fairgrid.chain.network import LOCAL, load_network
    from fairgrid.seams.config_file import local_directory, read_config

    started = (local_directory() / "network.json").exists()
    found: dict[str, Network | None] = {LOCAL: load_network(local_directory()) if started else None}
    return found | {name: load_network(Path(name)) for name in read_config().networks}


def _document(name: str, network: Network | None, *, in_use: bool) -> dict[str, Any]:
    from fairgrid.chain.network import document_of

    return {"name": name, "inUse": in_use, "network": None if network is None else document_of(network)}


def _print(name: str, network: Network, say: Any) -> None:
    from fairgrid.worker.setup.joining import described_by

    say(name, style="bold", markup=False)
    for title, value in [*described_by(network, network.pool), ("market", network.market)]:
        say(f"  {title:14} {value}", markup=False, soft_wrap=True)
