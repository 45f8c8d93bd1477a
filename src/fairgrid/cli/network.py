"""`fairgrid up`, `down` and `status`: a whole network on this machine."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fairgrid.cli.output import console, emit_json, rlc, run_async
from fairgrid.cli.shared_options import JsonOption, LocalFolderOption
from fairgrid.errors import ServiceError, UsageError
from fairgrid.localnet.network import LocalNetwork
from fairgrid.localnet.options import DEFAULT_WORKERS, LocalNetworkOptions, honest_workers
from fairgrid.localnet.paths import default_directory
from fairgrid.localnet.processes import log_tail
from fairgrid.localnet.status import NetworkStatus, network_status
from fairgrid.protocol.app_types import Level

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False)

_WATCH_S = 1.0


@app.command()
def up(
    directory: LocalFolderOption = None,
    workers: Annotated[
        int, typer.Option("--workers", min=0, max=100, help="Honest workers, each of an owner of its own.")
    ] = DEFAULT_WORKERS,
    levels: Annotated[
        str,
        typer.Option(
            "--levels", help="Isolation levels that all workers offer, as `wasm,process`. Default: their policies."
        ),
    ] = "",
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when everything runs; `fairgrid down` stops it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Start a local network: chain, contracts, market, storage, pool and workers, with funded accounts.

    Without --detach it runs until Ctrl-C, which stops everything. The state stays in --dir: the next `up` goes on with
    it. Started again while it runs, it starts what is missing.

    Example: `fairgrid up --detach`.
    """
    folder = directory or default_directory()
    screen = console()
    started = time.monotonic()
    local = LocalNetwork(
        folder,
        workers=honest_workers(workers),
        options=LocalNetworkOptions(detach=detach, levels=_levels(levels)),
        progress=lambda sentence: screen.print(sentence, markup=False),
    )

    async def show() -> NetworkStatus:
        status = await network_status(folder)
        if as_json:
            emit_json({**status.to_json(), "seconds": round(time.monotonic() - started, 1)})
        else:
            _print(status, screen)
            screen.print(f"\nUp after {time.monotonic() - started:.1f} s.", markup=False)
        return status

    async def run_detached() -> None:
        try:
            await local.start()
        except BaseException:
            await local.stop()
            raise
        await show()

    async def run_attached() -> None:
        async with local:
            await show()
            screen.print("Ctrl-C stops everything.", markup=False)
            await _watch(local, screen)

    run_async(run_detached if detach else run_attached)


async def _watch(local: LocalNetwork, screen: Console) -> None:
    """Until the network is stopped from outside; tells of processes that end by themselves."""
    told: set[str] = set()
    while local.started():
        for name, code in local.ended().items():
            if name not in told:
                told.add(name)
                tail = log_tail(local.folder.log(name), lines=5)
                screen.print(
                    f"{name} ended{'' if code is None else f' with code {code}'}. "
                    f"`fairgrid up --dir {local.folder.path}` in another terminal starts it again.\n{tail}",
                    style="yellow",
                    markup=False,
                )
        await asyncio.sleep(_WATCH_S)
    screen.print("The network was stopped.", markup=False)


@app.command()
def down(
    directory: LocalFolderOption = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove the state, too: chain, keys, results, databases. No way back.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop a local network. Its state stays, and `fairgrid up` goes on with it.

    Example: `fairgrid down`.
    """
    folder = directory or default_directory()
    try:
        there = folder.is_dir()
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be looked into ({error.strerror}). Name another folder with --dir."
        ) from error
    if not there:
        raise UsageError(f"There is no network in {folder}. Name its folder with --dir.")
    local = LocalNetwork(folder)
    stopped = [name for name in local.names() if name not in local.ended()]

    async def main() -> None:
        await local.stop()
        if delete:
            await asyncio.to_thread(local.folder.delete)

    run_async(main)
    if as_json:
        emit_json({"status": "down", "dir": str(folder), "stopped": stopped, "deleted": delete})
    else:
        what = f"Stopped {len(stopped)} process(es)" if stopped else "Nothing ran"
        console().print(f"{what} in {folder}{'; its state is removed' if delete else ''}.", markup=False)


@app.command()
def status(directory: LocalFolderOption = None, as_json: JsonOption = False) -> None:
    """Show a local network's services, workers and accounts. Exit code 4 if it does not run wholly.

    Example: `fairgrid status`.
    """
    folder = directory or default_directory()
    found = run_async(lambda: network_status(folder))
    if as_json:
        emit_json(found.to_json())
    else:
        _print(found, console())
    if not found.healthy:
        if as_json:
            raise typer.Exit(ServiceError.exit_code)
        names = [p.name for p in found.processes if not p.running or p.answers is False]
        why = f"does not run wholly ({', '.join(names)})" if names else "does not run"
        raise ServiceError(f"The network in {folder} {why}. Start it with `fairgrid up --dir {folder}`.")


def _print(status: NetworkStatus, screen: Console) -> None:
    network = status.network
    places = Table(box=None, pad_edge=False, show_header=False)
    places.add_row("chain", f"{network.rpc}  (chain id {network.chain_id}, {_block(status)})")
    places.add_row("hub", network.hub)
    places.add_row("RLC", network.rlc)
    for name in ("market", "storage"):
        places.add_row(name, getattr(network, name))
    owners = "does not answer" if status.owners is None else f"{status.owners} owner(s)"
    trust = "" if status.reachable_trust is None else f", trust up to {status.reachable_trust}"
    places.add_row("pool", f"{network.pool}  ({network.pool_address}, {owners}{trust})")
    screen.print(places)

    processes = Table("process", "pid", "state", "log", box=None, pad_edge=False, title="")
    for process in status.processes:
        state = "down" if not process.running else ("no answer" if process.answers is False else "runs")
        processes.add_row(process.name, str(process.pid), state, str(process.log))
    screen.print(processes)

    if status.accounts:
        accounts = Table(
            "account", "address", "coins", "RLC in wallet", "in escrow", "locked", box=None, pad_edge=False
        )
        for account in status.accounts:
            accounts.add_row(
                account.name,
                account.address,
                f"{account.wei / 10**18:.2f}",
                *(rlc(amount) for amount in (account.wallet, account.stake, account.locked)),
            )
        screen.print("")
        screen.print(accounts)

    screen.print("\nPoint other tools at it:", markup=False)
    for name, value in status.environment().items():
        screen.print(f"  export {name}={value}", markup=False, soft_wrap=True)
    screen.print(f"  network file: {status.directory / 'network.json'}", markup=False, soft_wrap=True)


def _block(status: NetworkStatus) -> str:
    return "does not answer" if status.head is None else f"block {status.head.number}"


def _levels(text: str) -> tuple[str, ...]:
    """The levels of ``--levels``.

    Raises:
        UsageError: one of them is none.
    """
    named = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    known = [level.value for level in Level]
    unknown = [name for name in named if name not in known]
    if unknown:
        raise UsageError(f"There is no isolation level {', '.join(unknown)}; --levels takes {', '.join(known)}.")
    return named
