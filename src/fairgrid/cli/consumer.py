"""`fairgrid consumer init`: a contract of one's own that orders computations and gets verified answers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fairgrid.cli.output import console, emit_json
from fairgrid.cli.shared_options import JsonOption
from fairgrid.client.apps.templates import CONSUMER_TEMPLATES, make_project
from fairgrid.errors import UsageError
from fairgrid.protocol.app_document import name_fault

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Contracts that order computations.")


@app.callback()
def _consumer() -> None:
    """Make a contract that orders computations and gets verified answers by a callback."""


@app.command()
def init(
    name: Annotated[Path, typer.Argument(help="The new folder; its last part is the project's name.")],
    language: Annotated[
        str, typer.Option("--language", help=f"Of the contract: {' or '.join(CONSUMER_TEMPLATES)}.")
    ] = "vyper",
    as_json: JsonOption = False,
) -> None:
    """Make a contract that orders a computation and keeps the verified answer, with its job and its test.

    Only the hub can answer it, only what it ordered; its owner can take unspent money home. Nothing is overwritten.
    Example:

    fairgrid consumer init price-median --language vyper
    """
    if language not in CONSUMER_TEMPLATES:
        raise UsageError(f"There is no template in {language!r}; there are {', '.join(CONSUMER_TEMPLATES)}.")
    project = name.absolute().name
    fault = name_fault(project)
    if fault is not None:
        raise UsageError(f"{project!r} cannot be the project's name: {fault}. Nothing was written.")
    template = CONSUMER_TEMPLATES[language]
    files = make_project(template, name, name=project)
    steps = [f"cd {shlex.quote(str(name))}", "pytest"]
    if as_json:
        emit_json(
            {
                "status": "ok",
                "name": project,
                "language": language,
                "folder": str(name),
                "needs": template.needs,
                "files": [path.relative_to(name).as_posix() for path in files],
                "next": steps,
            }
        )
        return
    screen = console()
    screen.print(f"{name}: {template.summary}; {len(files)} files, README.md explains them.", markup=False)
    screen.print(f"It needs {template.needs}.", markup=False)
    screen.print("Next: " + ", then ".join(f"`{step}`" for step in steps), markup=False)
