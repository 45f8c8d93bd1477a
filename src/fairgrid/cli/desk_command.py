"""Commands that share their options: a parameter ``desk`` stands for all of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import typer

__all__ = ["DeskOption", "desk_command"]

DeskOption = tuple[str, Any, object]
"""Name, annotation and default of an option; the desk takes it under this name."""

_Command = TypeVar("_Command", bound=Callable[..., None])
_DESK = "desk"


def desk_command(
    group: typer.Typer, name: str, make_desk: Callable[..., object], options: Sequence[DeskOption]
) -> Callable[[_Command], _Command]:
    """Make a function the command ``name`` of ``group``; its parameter ``desk`` becomes ``options``, of which
    ``make_desk`` makes what the function gets.
    """

    def register(command: _Command) -> _Command:
        signature = inspect.signature(command, eval_str=True)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != _DESK]
        shared = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for option, annotation, default in options
        ]

        def called(**given: Any) -> None:
            desk = make_desk(**{option: given.pop(option) for option, _, _ in options})
            command(desk=desk, **given)

        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        called.__signature__ = inspect.Signature([*parameters, *shared])  # type: ignore[attr-defined]
        called.__doc__ = command.__doc__
        group.command(name)(called)
        return command

    return register
