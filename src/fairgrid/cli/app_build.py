"""`fairgrid app build`: an OCI archive from a folder, the same bytes for everybody who builds it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairgrid.cli.output import console, emit_json
from fairgrid.cli.shared_options import JsonOption
from fairgrid.client.apps.building import build_program
from fairgrid.client.apps.project import find_project, read_project
from fairgrid.errors import UsageError
from fairgrid.protocol.cid import CHUNK_BYTES, CidBuilder
from fairgrid.runtime.container.build import ARCHITECTURES, build_image, here
from fairgrid.runtime.container.runtimes import ARCHIVE_SUFFIX

__all__ = ["build"]


def build(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="A project (app.toml); or it holds a Containerfile, or is the image's root folder. Default: here."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Of an image: the archive to write; its name ends with .oci.tar."),
    ] = None,
    entrypoint: Annotated[
        list[str] | None,
        typer.Option("--entrypoint", help="What is run, where there is no Containerfile; again for each word."),
    ] = None,
    architecture: Annotated[
        str, typer.Option("--arch", help=f"For which machines: {' or '.join(ARCHITECTURES)}.")
    ] = here(),
    as_json: JsonOption = False,
) -> None:
    """Build a project's program by its own commands; or, with --out, an image that `fairgrid run` takes.

    The same files make the same image, on every machine and day. Files alone (FROM scratch, COPY) need no tool; other
    Containerfiles need buildah. Examples:

    fairgrid app build

    fairgrid app build examples/word_count/image --out word_count.oci.tar
    """
    if out is None:
        _build_project(folder, as_json=as_json)
        return
    folder = folder or Path()
    if not out.name.endswith(ARCHIVE_SUFFIX):
        raise UsageError(f"{out} must end with {ARCHIVE_SUFFIX}, which says what it is.")
    if architecture not in ARCHITECTURES:
        raise UsageError(f"{architecture!r} is not one of {', '.join(ARCHITECTURES)}.")
    image, by = build_image(folder, out, architecture=architecture, entrypoint=tuple(entrypoint or ()))
    cid = _cid_of(out)
    if as_json:
        emit_json(
            {
                "status": "ok",
                "archive": str(out),
                "bytes": image.size,
                "digest": image.digest,
                "imageId": image.config_digest,
                "cid": cid,
                "builtBy": by,
            }
        )
        return
    screen = console()
    for name, value in (("archive", f"{out} ({image.size} bytes)"), ("image", image.digest), ("CID", cid)):
        screen.print(f"{name:8} {value}", markup=False)


def _build_project(given: Path | None, *, as_json: bool) -> None:
    folder = find_project(given)
    if folder is None:
        raise UsageError(f"{given} is no folder. Name a project's folder, or an image's folder and --out.")
    project = read_project(folder)
    screen = console()
    build_program(project, lambda text: screen.print(text, markup=False))
    size, cid = project.program.stat().st_size, _cid_of(project.program)
    if as_json:
        emit_json({"status": "ok", "name": project.name, "program": str(project.program), "bytes": size, "cid": cid})
        return
    made = f"{project.program} ({size} bytes), CID {cid}"
    nothing = "" if project.build.commands else "Nothing is to be built. "
    screen.print(f"{nothing}{made}", markup=False)


def _cid_of(path: Path) -> str:
    builder = CidBuilder()
    with path.open("rb") as file:
        while data := file.read(CHUNK_BYTES):
            builder.update(data)
    return builder.finish()
