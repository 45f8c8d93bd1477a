"""`fairgrid pool start` and `fairgrid story`: the scheduler of a workerpool, and what happened to a task."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from fairgrid.cli.backups import add_pool_backups
from fairgrid.cli.log_options import LogFormat, LogFormatOption, LogLevel, LogLevelOption
from fairgrid.cli.output import console, emit_json, run_async
from fairgrid.cli.pool_access import add_pool_access
from fairgrid.cli.pool_offer import offer_tasks
from fairgrid.cli.pool_usage import show_usage
from fairgrid.cli.shared_options import JsonOption, PlaceOption, PoolDatabaseOption, PoolFolderOption
from fairgrid.errors import ServiceRefused, UsageError

__all__ = ["app", "pool_app"]

pool_app = typer.Typer(no_args_is_help=True, add_completion=False, help="Run the scheduler of a workerpool.")
app = typer.Typer(no_args_is_help=True, add_completion=False)
add_pool_backups(pool_app)
add_pool_access(pool_app)


@pool_app.callback()
def _pool() -> None:
    """Run the scheduler of a workerpool: it takes the pool's deals, hands tasks to workers, and finalizes."""


@pool_app.command("start")
def start_pool(
    directory: PoolFolderOption,
    network: Annotated[
        Path | None,
        typer.Option("--network", metavar="NETWORK", help="Its name, file, or folder. Default: pool.toml's."),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on; 127.0.0.1 is reachable from this machine only, 0.0.0.0 is for all."),
    ] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="The pool's policy, a TOML file, instead of pool.toml's.")
    ] = None,
    database: PoolDatabaseOption = None,
    public_url: Annotated[
        str | None, typer.Option(help="The URL under which others reach this process. Default: HOST and port.")
    ] = None,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Schedule the tasks of the network file's workerpool until SIGTERM or Ctrl-C.

    The key in DIR must own the workerpool. Prints one line `ready http://HOST:PORT` on stdout when it answers; logs go
    to stderr. A restart goes on where it stopped. `fairgrid pool init` writes DIR/pool.toml, which says what is not
    said here.

    On PostgreSQL any number of processes may run for one pool: one leads, the others stand by and take over within
    seconds when it dies. Example: `fairgrid pool start --network net.json --dir pool --database postgresql:///pool`.
    """
    from fairgrid.chain.network import load_network
    from fairgrid.pool.core.policy import Policy, load_policy
    from fairgrid.pool.observability.meter import PoolMeter
    from fairgrid.pool.processes.opening import PoolOptions, opened_pool
    from fairgrid.pool.processes.pool_file import POOL_FILE, PoolFile, Start, load_pool_file
    from fairgrid.protocol.wire import MAX_FRAME_BYTES
    from fairgrid.seams.logs import configure_logging
    from fairgrid.seams.metrics import new_registry
    from fairgrid.seams.service import run_service
    from fairgrid.seams.tracing import start_tracing
    from fairgrid.wallet.keystore import open_or_create_key

    configure_logging("pool", level=log_level.value, style=log_format.value)
    start_tracing("pool")
    file = directory / POOL_FILE
    given = load_pool_file(file) if file.exists() else PoolFile(Start(), None, Policy())
    if network is None and not given.start.network:
        raise UsageError(f"Name the --network file, or write network into [start] of {file} (`fairgrid pool init`).")
    where = load_network(network or Path(given.start.network))
    rules = load_policy(policy) if policy else given.policy
    signer = open_or_create_key(directory)
    address = public_url or given.start.public_url
    state = database or given.start.database or directory / "pool.db"
    registry = new_registry("pool")

    def bound(url: str) -> None:
        nonlocal address
        address = address or url

    def opener() -> AbstractAsyncContextManager[Any]:
        options = PoolOptions(
            network=where,
            directory=directory,
            database=state,
            policy=rules,
            offer=given.offer,
            meter=PoolMeter(registry),
        )
        return opened_pool(options, signer=signer, address=address)

    run_service(
        opener,
        announce=typer.echo,
        host=host or given.start.host,
        port=given.start.port if port is None else port,
        ws_max_size=MAX_FRAME_BYTES,
        bound=bound,
        registry=registry,
    )


@app.command("story")
def tell_story(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task's id (0x and 64 digits), or its deal's.")],
    network: PlaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what happened to a task: phases, workers, transactions, in order.

    Before consensus no worker is named, and a digest never is: answers must not leak.

    Example: `fairgrid story 0x… --network test`.
    """
    from fairgrid.chain.network_names import find_network
    from fairgrid.pool.client import PoolClient, StoryEntry, TaskView
    from fairgrid.protocol.hexes import is_hex32

    if not is_hex32(task):
        raise UsageError(f"{task!r} is no task id: give 0x and 64 hexadecimal digits, as `fairgrid run` prints it.")
    where = find_network(network).network

    async def ask() -> list[tuple[TaskView, list[StoryEntry]]]:
        async with PoolClient(where.pool) as pool:
            try:
                ids = [summary.task_id for summary in (await pool.deal(task)).tasks]
            except ServiceRefused as refused:
                if refused.status != 404:
                    raise
                ids = [task]
            return [(await pool.task(task_id), await pool.story(task_id)) for task_id in ids]

    told = run_async(ask)
    if as_json:
        emit_json({"tasks": [_story_document(view, lines) for view, lines in told]})
        return
    screen = console()
    for view, lines in told:
        screen.print(f"Task {view.task_id}  {view.phase}", markup=False, style="bold")
        for line in lines:
            at = datetime.fromtimestamp(line.at).strftime("%H:%M:%S")
            screen.print(f"  {at}  {line.text}  {line.worker}".rstrip(), markup=False)


def _story_document(view: Any, lines: Any) -> dict[str, Any]:
    return {
        "taskId": view.task_id,
        "dealId": view.deal_id,
        "phase": view.phase,
        "story": [{"number": line.number, "at": line.at, "text": line.text, "worker": line.worker} for line in lines],
    }


pool_app.command("offer")(offer_tasks)
pool_app.command("usage")(show_usage)
