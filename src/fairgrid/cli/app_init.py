"""`fairgrid app init`: a project of one's own from a template."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fairgrid.cli.output import console, emit_json
from fairgrid.cli.shared_options import JsonOption
from fairgrid.client.apps.project import read_project
from fairgrid.client.apps.templates import APP_TEMPLATES, make_project
from fairgrid.errors import UsageError
from fairgrid.protocol.app_document import name_fault

__all__ = ["init"]


def init(
    name: Annotated[Path, typer.Argument(help="The new folder; its last part is the app's name.")],
    template: Annotated[
        str, typer.Option("--template", help=f"What to begin with: {', '.join(APP_TEMPLATES)}.")
    ] = "python",
    as_json: JsonOption = False,
) -> None:
    """Make a new app's project: a program that works, its test, and app.toml. Nothing that is there is overwritten.

    Example:

    fairgrid app init word-count --template python
    """
    if template not in APP_TEMPLATES:
        kinds = "; ".join(f"{kind}: {entry.summary}" for kind, entry in APP_TEMPLATES.items())
        raise UsageError(f"There is no template {template!r}. There are {kinds}.")
    app = name.absolute().name
    fault = name_fault(app)
    if fault is not None:
        raise UsageError(f"{app!r} cannot be an app's name: {fault}. Nothing was written.")
    files = make_project(APP_TEMPLATES[template], name, name=app)
    project = read_project(name)
    steps = [f"cd {shlex.quote(str(name))}", *(["fairgrid app build"] if project.build.commands else [])]
    steps += ["fairgrid app test", "fairgrid app publish"]
    if as_json:
        emit_json(
            {
                "status": "ok",
                "name": app,
                "template": template,
                "folder": str(name),
                "program": str(project.program),
                "runtime": project.runtime.runtime_id,
                "files": [path.relative_to(name).as_posix() for path in files],
                "next": steps,
            }
        )
        return
    screen = console()
    screen.print(
        f"{name}: {APP_TEMPLATES[template].summary}; {len(files)} files, README.md explains them.", markup=False
    )
    if project.build.hint:
        screen.print(project.build.hint, markup=False)
    screen.print("Next: " + ", then ".join(f"`{step}`" for step in steps), markup=False)
