"""Makes an app's program from its sources by the commands of its project."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from fairgrid.client.apps.project import PROJECT_FILE, AppProject
from fairgrid.errors import UsageError

__all__ = ["build_program", "is_built"]

_BUILD_S: Final = 3600
_SHOWN: Final = 3_000


def is_built(project: AppProject) -> bool:
    """True if the program is there and no source of it, nor the project's file, is younger."""
    try:
        made = project.program.stat().st_mtime_ns
    except OSError:
        return False
    return not project.build.commands or all(
        path.stat().st_mtime_ns <= made for path in (project.folder / PROJECT_FILE, *_files(project.build.sources))
    )


def build_program(project: AppProject, tell: Callable[[str], None]) -> None:
    """Run the project's commands. They are the user's own, and run with the user's rights. Blocks.

    Raises:
        UsageError: a tool is missing or failed, or the program is not there afterwards; with the project's own hint.
    """
    for command in project.build.commands:
        tell("$ " + " ".join(command))
        _run(project, command)
    if not project.program.is_file():
        raise UsageError(
            f"The build ended well, but {project.program} is not there. Look at [build] in {PROJECT_FILE}."
        )
    # A tool may leave a program alone that would be the same; it is as new as its sources now.
    project.program.touch()


def _run(project: AppProject, command: Sequence[str]) -> None:
    if not command:
        raise UsageError(f"{PROJECT_FILE}: build.commands holds an empty command.")
    words = _resolved(command)
    hint = f" {project.build.hint}" if project.build.hint else ""
    if words is None:
        raise UsageError(f"{command[0]} is not installed here, so {project.name} cannot be built.{hint}")
    try:
        done = subprocess.run(
            words,
            cwd=project.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_BUILD_S,
            check=False,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{command[0]} could not be run: {error}.{hint}") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-_SHOWN:]
        raise UsageError(f"{' '.join(command)} ended with {done.returncode}:\n{said}\n{hint.strip()}".rstrip())


def _resolved(command: Sequence[str]) -> list[str] | None:
    """The command with the path of its tool; tools beside this Python count, whatever PATH says."""
    tool, *rest = command
    if tool == "fairgrid":
        return [sys.executable, "-m", "fairgrid", *rest]
    if tool == "python":
        return [sys.executable, *rest]
    found = shutil.which(tool) or shutil.which(tool, path=str(Path(sys.executable).parent))
    return None if found is None else [found, *rest]


def _files(sources: Sequence[Path]) -> list[Path]:
    return [
        path
        for source in sources
        for path in ([source] if source.is_file() else source.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]
