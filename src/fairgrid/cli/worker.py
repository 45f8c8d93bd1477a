"""`fairgrid worker`: offer this machine to a pool."""

from __future__ import annotations

import typer

from fairgrid.cli.backups import add_worker_backups
from fairgrid.cli.output import console, emit_json
from fairgrid.cli.shared_options import WORKER_FOLDER, JsonOption, WorkerFolderOption
from fairgrid.cli.worker_debts import add_repay
from fairgrid.cli.worker_doctor import doctor
from fairgrid.cli.worker_enrol import add_enrol
from fairgrid.cli.worker_owner import add_to
from fairgrid.cli.worker_start import start_worker
from fairgrid.cli.worker_status import show_status

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Offer this machine to a pool.")


@app.command("init")
def init_worker(directory: WorkerFolderOption = WORKER_FOLDER, as_json: JsonOption = False) -> None:
    """Make the worker's key, or show the one that is there, and what it needs before it can work.

    Example: `fairgrid worker init`.
    """
    from fairgrid.wallet.keystore import KEYSTORE_NAME, open_or_create_key

    directory = directory.expanduser()
    signer = open_or_create_key(directory)
    needs = [
        "coins of the chain, to pay the gas of contribute and reveal",
        "RLC deposited in the hub for this address (deposit, or depositFor by somebody else): each task locks a stake",
        "the runtime: fairgrid runtime install",
    ]
    if as_json:
        keystore = str(directory / KEYSTORE_NAME)
        emit_json({"status": "ok", "address": signer.address, "keystore": keystore, "needs": needs})
        return
    screen = console()
    screen.print(f"Worker {signer.address}", style="bold", markup=False)
    screen.print("It needs, before it can earn:", markup=False)
    for need in needs:
        screen.print(f"  - {need}", markup=False)
    screen.print(f"Back up {directory}: whoever can read it holds the key.", markup=False)


app.command("start")(start_worker)
app.command("status")(show_status)
app.command("doctor")(doctor)
add_enrol(app)
add_repay(app)
add_to(app)
add_worker_backups(app)
