"""Where a function or a class was written: its own lines, found by position and not by guessing."""

from __future__ import annotations

import ast
import contextlib
import dis
import linecache
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from fairgrid.errors import CannotTravel
from fairgrid.executors.modules import Imported

__all__ = ["Names", "Source", "class_source", "function_source", "names_of"]

_UNSEEN = (
    "Python does not know its source (it was made by exec, or typed at a prompt)",
    "Write it in a file or a notebook cell.",
)
_GUEST_SYNTAX = (3, 12)


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one definition: ``line`` is that of its first line in ``file``, of which only the name is told."""

    file: str
    line: int
    text: str
    indented: bool
    is_lambda: bool = False


@dataclass(frozen=True, slots=True)
class Names:
    """What code needs of the world around it."""

    read: tuple[str, ...]
    """Global names that it reads, in order."""
    changed: tuple[str, ...]
    """Global names, and names of the functions around it, that it sets."""
    imported: tuple[Imported, ...]
    """Modules that it imports itself."""
    attributes: frozenset[str] = frozenset()
    """What it reads of objects."""
    own: frozenset[str] = frozenset()
    """Of a class: names that its body sets."""


def function_source(function: FunctionType) -> Source:
    """The source of a function or lambda, without decorators.

    Raises:
        CannotTravel: it is unknown, has changed since, or does not fit the interpreter of the grid.
    """
    code = function.__code__
    what = f"The function {function.__qualname__}"
    lines, tree = _parsed(code.co_filename, function.__globals__, what)
    is_lambda = code.co_name == "<lambda>"
    found = [node for node in ast.walk(tree) if _may_be(node, code)]
    if is_lambda and len(found) > 1:
        found = _by_position(found, code)
    if len(found) != 1:
        if is_lambda and found:
            raise CannotTravel(what, "is one of several lambdas of one line", "Use a `def`, or put it on its own line.")
        raise CannotTravel(what, "is not where it was when it was defined", "Import the changed file anew.")
    node = found[0]
    return _source(node, lines, code.co_filename, is_lambda=is_lambda, what=what)


def class_source(cls: type) -> Source:
    """The source of a class of a module, with its decorators.

    Raises:
        CannotTravel: it is unknown, or the class was made inside of a function.
    """
    what = f"The class {cls.__qualname__}"
    if "<locals>" in cls.__qualname__:
        raise CannotTravel(what, "was made inside of a function", "Define it at the top of a module.")
    module = sys.modules.get(cls.__module__)
    file = next(
        (
            member.__code__.co_filename
            for member in vars(cls).values()
            if isinstance(member, FunctionType)
            and member.__module__ == cls.__module__
            and member.__code__.co_name == member.__name__
            and not member.__code__.co_filename.startswith("<")
        ),
        getattr(module, "__file__", None) or _cell_with(cls),
    )
    lines, tree = _parsed(file, getattr(module, "__dict__", {}), what)
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__]
    if not found:
        raise CannotTravel(what, "is not at the top of its module", "Define it there, outside of every `if`.")
    return _source(found[-1], lines, file, is_lambda=False, what=what)


def _cell_with(cls: type) -> str:
    """The newest cell of a notebook that defines a class of that name; empty if none does."""
    for file in reversed(linecache.cache):
        if "ipykernel" in file or file.startswith("<ipython-input"):
            with contextlib.suppress(SyntaxError):
                tree = _tree("".join(linecache.getlines(file)))
                if any(isinstance(node, ast.ClassDef) and node.name == cls.__name__ for node in tree.body):
                    return file
    return ""


def names_of(code: CodeType) -> Names:
    """What a function's code, and all functions in it, need."""
    read: dict[str, None] = {}
    changed: dict[str, None] = {}
    imported: dict[Imported, None] = {}
    attributes: set[str] = set()
    free = set(code.co_freevars)
    for one in _codes(code):
        constants: list[Any] = []
        for instruction in dis.get_instructions(one):
            name = str(instruction.argval)
            match instruction.opname:
                case "LOAD_GLOBAL" | "LOAD_NAME" | "LOAD_FROM_DICT_OR_GLOBALS":
                    read[name] = None
                case "STORE_GLOBAL" | "DELETE_GLOBAL":
                    changed[name] = None
                case "STORE_DEREF" | "DELETE_DEREF" if name in free and name in one.co_freevars:
                    changed[name] = None
                case "LOAD_ATTR" | "LOAD_METHOD":
                    attributes.add(name)
                case "IMPORT_NAME":
                    level, names = (*constants[-2:],) if len(constants) > 1 else (0, None)
                    imported[Imported(name, level or 0, names or ())] = None
            if instruction.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
                constants.append(instruction.argval)
    own = {i.argval for i in dis.get_instructions(code) if i.opname == "STORE_NAME"}
    return Names(tuple(read), tuple(changed), tuple(imported), frozenset(attributes), frozenset(own))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _parsed(file: str, names: dict[str, Any], what: str) -> tuple[list[str], ast.Module]:
    lines = linecache.getlines(file, names)
    if not lines:
        raise CannotTravel(what, f"cannot travel: {_UNSEEN[0]}", _UNSEEN[1])
    try:
        return lines, _tree("".join(lines))
    except SyntaxError:
        raise CannotTravel(what, f"cannot travel: {_UNSEEN[0]}", _UNSEEN[1]) from None


@lru_cache(maxsize=32)
def _tree(text: str) -> ast.Module:
    return ast.parse(text)


def _may_be(node: ast.AST, code: CodeType) -> bool:
    if isinstance(node, ast.Lambda):
        arguments, name, first = node.args, "<lambda>", node.lineno
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        arguments, name = node.args, node.name
        first = min((decorator.lineno for decorator in node.decorator_list), default=node.lineno)
    else:
        return False
    given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    count = code.co_argcount + code.co_kwonlyargcount
    return (
        code.co_name == name
        and code.co_firstlineno == first
        and tuple(argument.arg for argument in given) == code.co_varnames[:count]
    )


def _by_position(found: list[ast.AST], code: CodeType) -> list[ast.AST]:
    """The lambda whose body holds every column of the code."""
    spans = [position for position in code.co_positions() if None not in position and position[3]]
    return [
        node
        for node in found
        if isinstance(node, ast.Lambda)
        and spans
        and all(
            (node.body.lineno, node.body.col_offset) <= (first or 0, column or 0)
            and (last or 0, end or 0) <= (node.body.end_lineno or 0, node.body.end_col_offset or 0)
            for first, last, column, end in spans
        )
    ]


def _source(node: Any, lines: list[str], file: str, *, is_lambda: bool, what: str) -> Source:
    name = Path(file).name
    if is_lambda:
        text = ast.get_source_segment("".join(lines), node) or ""
        source = Source(name, node.lineno, text, indented=False, is_lambda=True)
    else:
        first = node.lineno
        if isinstance(node, ast.ClassDef):
            first = min((decorator.lineno for decorator in node.decorator_list), default=first)
        text = "".join(lines[first - 1 : node.end_lineno]).rstrip("\n")
        source = Source(name, first, text, indented=text[:1].isspace())
    try:
        ast.parse(
            f"if True:\n{text}" if source.indented else f"({text}\n)" if is_lambda else text,
            feature_version=_GUEST_SYNTAX,
        )
    except SyntaxError as error:
        raise CannotTravel(
            what, f"does not fit the Python 3.12 of the grid ({error.msg})", "Write it in the syntax of Python 3.12."
        ) from None
    return source
