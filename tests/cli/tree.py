"""The tree of commands, as the program builds it, for tests that hold all of them to one rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from fairgrid.cli.main import command_line

__all__ = ["commands", "forms", "options"]


def commands() -> dict[str, Any]:
    """Every command that does something, by its name without `fairgrid`."""
    return dict(_below(typer.main.get_command(command_line), ""))


def options(command: Any) -> set[str]:
    """Every way to write an option of it."""
    return {form for parameter in command.params for form in forms(parameter)}


def forms(parameter: Any) -> list[str]:
    """Every way to write it; of an argument none."""
    return [] if parameter.param_type_name == "argument" else [*parameter.opts, *parameter.secondary_opts]


def _below(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    for member in group.list_commands(None):
        command = group.get_command(None, member)
        if hasattr(command, "list_commands"):
            yield from _below(command, f"{name}{member} ")
        else:
            yield f"{name}{member}", command
