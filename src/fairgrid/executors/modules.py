"""Modules of the user's own, which travel whole, as source, with the modules of the user that they import."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from fairgrid.errors import CannotTravel
from fairgrid.executors.obstacles import check_standard, foreign, is_installed, is_standard

__all__ = ["Imported", "UserModule", "is_own", "user_modules"]


@dataclass(frozen=True, slots=True)
class Imported:
    """One import statement: ``level`` dots, a module, and what of it is named."""

    name: str
    level: int = 0
    names: tuple[str, ...] = ()

    def resolved(self, package: str) -> str:
        """The absolute name, from within ``package``."""
        if not self.level:
            return self.name
        return importlib.util.resolve_name("." * self.level + self.name, package)


@dataclass(frozen=True, slots=True)
class UserModule:
    """The source of a module, and under which name it is found in tracebacks; no path of this machine."""

    name: str
    file: str
    source: str
    is_package: bool


def is_own(module: str) -> bool:
    """Whether a module is the user's: a Python file (or a folder) that is not installed as a package."""
    root = module.partition(".")[0]
    if is_standard(root) or root in ("fairgrid", "fairgrid_values", "__main__"):
        return False
    spec = _spec(root)
    return spec is not None and _has_source(spec) and not is_installed(_places(spec))


def user_modules(wanted: Iterable[Imported], what: str, packages: Set[str], *, package: str = "") -> list[UserModule]:
    """The user's modules that imports need, and those that these import, each once. ``packages`` are there already.

    An import below ``try`` is left out if it cannot travel, one below ``if TYPE_CHECKING`` always.

    Raises:
        CannotTravel: something that is imported cannot; the message says what to do.
    """
    found: dict[str, UserModule] = {}
    for one in wanted:
        _add(one, package, what, packages, found)
    return list(found.values())


def _add(imported: Imported, package: str, what: str, packages: Set[str], found: dict[str, UserModule]) -> None:
    try:
        name = imported.resolved(package)
    except ImportError:
        raise CannotTravel(
            what, "imports relative to a package that it is not in", "Import by the whole name."
        ) from None
    root = name.partition(".")[0]
    if is_standard(root) and root != "__main__":
        check_standard(name, what)
        return
    if root == "fairgrid" and name != root:
        raise CannotTravel(what, f"uses {name}", "On the machines of the grid, fairgrid has File and remote only.")
    if root == "fairgrid" or root in packages:
        return
    if not is_own(name):
        raise foreign(name, what)
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        _add_one(".".join(parts[:count]), what, packages, found)
    for part in imported.names:
        below = f"{name}.{part}"
        if _spec(below) is not None:
            _add_one(below, what, packages, found)


def _add_one(name: str, what: str, packages: Set[str], found: dict[str, UserModule]) -> None:
    if name in found:
        return
    spec = _spec(name)
    if spec is None or not _has_source(spec):
        raise foreign(name, what)
    made = found[name] = _read(name, spec, what)
    inside = f"{what}: the module {name}"
    package = name if made.is_package else name.rpartition(".")[0]
    try:
        tree = ast.parse(made.source, feature_version=(3, 12))
    except SyntaxError as error:
        raise CannotTravel(
            inside, f"does not fit the Python 3.12 of the grid ({error.msg})", "Write it in the syntax of Python 3.12."
        ) from None
    for one, optional in _imports(tree, optional=False):
        before = dict(found)
        try:
            _add(one, package, inside, packages, found)
        except CannotTravel:
            if not optional:
                raise
            found.clear()
            found.update(before)


def _read(name: str, spec: ModuleSpec, what: str) -> UserModule:
    is_package = spec.submodule_search_locations is not None
    source = ""
    if spec.origin is not None and spec.origin != "namespace":
        try:
            source = importlib.util.decode_source(Path(spec.origin).read_bytes())
        except (OSError, SyntaxError, UnicodeDecodeError) as error:
            raise CannotTravel(
                what, f"needs the module {name}, which cannot be read ({error})", "Look at it."
            ) from None
    path = name.replace(".", "/")
    return UserModule(name, f"{path}/__init__.py" if is_package else f"{path}.py", source, is_package)


def _imports(node: ast.AST, *, optional: bool) -> Iterator[tuple[Imported, bool]]:
    """Every import below a node, and whether it may fail."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Imported(alias.name), optional
        elif isinstance(child, ast.ImportFrom):
            yield Imported(child.module or "", child.level, tuple(alias.name for alias in child.names)), optional
        elif isinstance(child, ast.If) and _is_for_types(child.test):
            for other in child.orelse:
                yield from _imports(ast.Module([other], []), optional=optional)
        else:
            yield from _imports(child, optional=optional or isinstance(child, ast.Try))


def _is_for_types(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"


def _spec(name: str) -> ModuleSpec | None:
    module: Any = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if isinstance(spec, ModuleSpec):
        return spec
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None


def _has_source(spec: ModuleSpec) -> bool:
    if spec.origin is None or spec.origin == "namespace":
        return spec.submodule_search_locations is not None
    return spec.origin.endswith(".py")


def _places(spec: ModuleSpec) -> list[str]:
    return [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else [])]
