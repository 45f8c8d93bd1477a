"""`fairgrid storage start` and `fairgrid market start`: the two services that anyone may run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from fairgrid.cli.log_options import LogFormat, LogFormatOption, LogLevel, LogLevelOption
from fairgrid.seams.logs import configure_logging
from fairgrid.seams.metrics import new_registry
from fairgrid.seams.service import run_service
from fairgrid.seams.tracing import start_tracing

__all__ = ["market_app", "storage_app"]

storage_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Run a content-addressed store.")
market_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Run an order book.")

_Host = Annotated[
    str, typer.Option(help="Address to listen on. The default is reachable from this machine only; 0.0.0.0 is for all.")
]
_Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")]

_GIB = 1024**3


@storage_app.callback()
def _storage() -> None:
    """Run a content-addressed store: files in, CIDs out, as IPFS nodes and gateways do it."""


@storage_app.command("start")
def start_storage(
    directory: Annotated[Path, typer.Option("--dir", help="Folder that keeps the files; made if need be.")],
    host: _Host = "127.0.0.1",
    port: _Port = 0,
    max_blob: Annotated[int, typer.Option(min=1, metavar="BYTES", help="Largest single file.")] = 4 * _GIB,
    quota: Annotated[int, typer.Option(min=4096, metavar="BYTES", help="All files together.")] = 64 * _GIB,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="A web page's origin that may upload; repeat for several. Default: none."),
    ] = None,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Serve POST /api/v0/add and GET /ipfs/CID until SIGTERM or Ctrl-C.

    Prints one line `ready http://HOST:PORT` on stdout when it answers; logs go to stderr. Whoever can reach it may
    store files and read those whose CID it knows: there is no access control.

    Example: `fairgrid storage start --dir storage --port 9001`.
    """
    from fairgrid.storage.app import storage_application, sweeping
    from fairgrid.storage.disk import DiskStore
    from fairgrid.storage.store import StoreLimits

    configure_logging("storage", level=log_level.value, style=log_format.value)
    start_tracing("storage")

    @asynccontextmanager
    async def opener() -> AsyncIterator[Any]:
        store = await DiskStore.open(directory, StoreLimits(max_blob_bytes=max_blob, quota_bytes=quota))
        try:
            async with sweeping(store):
                yield storage_application(store, allowed_origins=frozenset(allow_origin or ()))
        finally:
            await store.close()

    run_service(opener, announce=typer.echo, host=host, port=port, registry=new_registry("storage"))


@market_app.callback()
def _market() -> None:
    """Run an order book: signed orders in, checked against the chain, cheapest first out."""


@market_app.command("start")
def start_market(
    network: Annotated[Path, typer.Option(metavar="NETWORK", help="Its name, its network file, or a folder with one.")],
    directory: Annotated[Path, typer.Option("--dir", help="Folder that keeps the order book; made if need be.")],
    host: _Host = "127.0.0.1",
    port: _Port = 0,
    database: Annotated[
        str | None, typer.Option(metavar="URL", help="A PostgreSQL database instead of a file in --dir.")
    ] = None,
    max_open_orders: Annotated[int, typer.Option(min=1, help="Open orders of one kind that a wallet may have.")] = 50,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Serve the market API of the network's chain until SIGTERM or Ctrl-C.

    Prints one line `ready http://HOST:PORT` on stdout when it answers; logs go to stderr. Orders are public and signed
    by their owners: the market can hide orders, but can neither make nor change one.

    Example: `fairgrid market start --network net.json --dir market`.
    """
    from fairgrid.chain.client import JsonRpcChain
    from fairgrid.chain.network import load_network
    from fairgrid.chain.patience import when_up
    from fairgrid.errors import UsageError
    from fairgrid.market.app import open_market
    from fairgrid.seams.database import open_engine

    configure_logging("market", level=log_level.value, style=log_format.value)
    start_tracing("market")

    @asynccontextmanager
    async def opener() -> AsyncIterator[Any]:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"The folder {directory} cannot be used ({error}). Name another with --dir.") from error
        served_before = database is not None or (directory / "market.db").exists()
        connect = partial(JsonRpcChain.connect, load_network(network))
        async with await when_up(connect, served_before=served_before) as chain:
            engine = open_engine(database or directory / "market.db")
            try:
                async with open_market(engine, chain, max_open=max_open_orders) as application:
                    yield application
            finally:
                engine.dispose()

    run_service(opener, announce=typer.echo, host=host, port=port, registry=new_registry("market"))
