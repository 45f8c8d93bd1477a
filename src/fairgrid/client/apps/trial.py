"""Compares the result of an app's own test with the one that its project expects, file by file and bit by bit."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fairgrid.client.apps.project import AppProject
from fairgrid.client.job import Job
from fairgrid.errors import FairgridError, UsageError
from fairgrid.runtime.companions import with_companions

__all__ = ["ResultUnexpected", "accept_result", "differences", "job_of_project", "project_inputs"]

_MOST_TOLD: Final = 5


class ResultUnexpected(FairgridError):
    """An app's test gave another result than its project expects."""

    exit_code = 5


def project_inputs(project: AppProject) -> list[Path]:
    """The files that every run of the app has, companions of its program among them."""
    return with_companions(project.runtime.runtime_id, project.program, project.files)


def job_of_project(project: AppProject) -> Job:
    """The job of the project's own test.

    Raises:
        UsageError: a file cannot be read, or every machine would refuse the program.
    """
    return Job.from_files(
        project.program,
        [*project_inputs(project), *project.test.inputs],
        project.test.arguments,
        runtime_id=project.runtime.runtime_id,
        memory_bytes=project.memory_bytes,
    ).connecting_to(project.reach)


def differences(found: Path, expected: Path) -> list[str]:
    """In what two folders of files differ, a sentence each; empty if they are alike."""
    here, there = _files(found), _files(expected)
    told = [f"{name} is missing in the result" for name in sorted(there.keys() - here.keys())]
    told += [f"{name} is not expected" for name in sorted(here.keys() - there.keys())]
    for name in sorted(here.keys() & there.keys()):
        difference = _difference(here[name].read_bytes(), there[name].read_bytes())
        if difference:
            told.append(f"{name} {difference}")
    rest = len(told) - _MOST_TOLD
    return told if rest <= 0 else [*told[:_MOST_TOLD], f"and {rest} more"]


def accept_result(found: Path, expected: Path) -> None:
    """Make the files of ``found`` the expected ones.

    Raises:
        UsageError: they cannot be written.
    """
    try:
        shutil.rmtree(expected, ignore_errors=True)
        shutil.copytree(found, expected)
    except OSError as error:
        raise UsageError(f"The expected result {expected} cannot be written ({error}).") from error


def _files(folder: Path) -> Mapping[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def _difference(found: bytes, expected: bytes) -> str:
    if found == expected:
        return ""
    for number, (here, there) in enumerate(zip(found.splitlines(), expected.splitlines(), strict=False), 1):
        if here != there:
            return f"differs in line {number}: {_shown(here)} instead of {_shown(there)}"
    return f"has {len(found)} bytes instead of {len(expected)}"


def _shown(line: bytes) -> str:
    return repr(line[:80].decode("utf-8", "backslashreplace"))
