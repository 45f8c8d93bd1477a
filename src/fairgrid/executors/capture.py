"""A function as it travels: its source, and by name every constant, function and class that it needs.

What comes of it is a *bundle*, a JSON document that `guest/runner.py` reads. Functions and classes are its nodes, and
refer to each other by number. Everything is looked at before anything is sent.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import functools
import hashlib
import inspect
import json
import sys
import types
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, is_dataclass
from enum import Enum
from typing import Any, Final

from fairgrid.errors import CannotTravel
from fairgrid.executors.found_there import found_there, is_bound_builtin
from fairgrid.executors.guest.values import Encoder, NotAValue, Shapes
from fairgrid.executors.modules import Imported, UserModule, user_modules
from fairgrid.executors.obstacles import check_owner, check_standard, is_standard, obstacle
from fairgrid.executors.sources import Names, Source, class_source, function_source, names_of

__all__ = ["Captured", "capture", "check_function"]

_ATOMS: Final = (type(None), bool, int, float, str, bytes, complex)
_AMBIENT: Final = frozenset({"__name__", "__builtins__", "__doc__", "__debug__", "__annotations__"})


@dataclass(frozen=True, slots=True)
class Captured:
    """A function and what it needs. ``name`` is that of its bundle, the same for the same code and constants."""

    name: str
    bundle: bytes
    function: Any
    """How a call names it."""
    shapes: Shapes
    """Classes of arguments and results."""
    refer: Callable[[Any], Any]
    """Writes functions and classes that are in the bundle; None for others."""
    objects: tuple[Any, ...]
    """The functions and classes of the bundle, by number."""
    fixed: bool
    """False if it holds values that may be changed in place, so that it has to be looked at for each call."""
    origins: tuple[tuple[dict[str, Any], str, Any], ...]
    """Names of modules, and what they stood for."""

    @property
    def is_fresh(self) -> bool:
        """Whether the names that it was made of still stand for the same objects."""
        return self.fixed and all(names.get(name, _GONE) is value for names, name, value in self.origins)


_GONE: Final = object()


def capture(function: Any, *more: Any, packages: Set[str] = frozenset()) -> Captured:
    """Look at a callable and all that it needs; ``more`` are functions and classes that arguments bring along.

    ``packages`` are top names of those that the other machine has.

    Raises:
        CannotTravel: something in it cannot; the message says what, and what to do.
    """
    _refuse_unfit(function)
    name = getattr(function, "__qualname__", None) or repr(function)
    whole: frozenset[str] = frozenset()
    while True:
        builder = _Builder(packages, whole)
        wire = builder.wire(function, f"The function {name}")
        for one in more:
            builder.wire(one, f"The argument {getattr(one, '__qualname__', one)!r} of {name}")
        if builder.modules.keys() <= whole:
            break
        # Of a module that travels whole nothing may travel beside it, or there were two of each of its classes.
        whole |= builder.modules.keys()
    nodes = builder.nodes
    modules = [
        {"name": one.name, "file": one.file, "source": one.source, "package": one.is_package}
        for _, one in sorted(builder.modules.items())
    ]
    # Where a function stands in its file is no part of what it is: an edit above it does not make it another.
    told = [{k: v for k, v in node.items() if k not in ("file", "line")} for node in nodes]
    more_told = [modules, list(builder.loads)] if modules else []
    text = json.dumps([*told, *more_told], sort_keys=True)
    identity = "bundle-" + hashlib.sha256(text.encode()).hexdigest()[:40]
    document: dict[str, Any] = {"nodes": nodes}
    if modules:
        document |= {"modules": modules, "loads": list(builder.loads)}
    bundle = json.dumps(document, separators=(",", ":")).encode()
    return Captured(
        identity, bundle, wire, builder.shapes, builder.known, builder.objects, builder.fixed, tuple(builder.origins)
    )


def check_function(function: Any) -> None:
    """What can be known when a function is defined, before what stands below it is there.

    Raises:
        CannotTravel: it can never travel.
    """
    _refuse_unfit(function)
    if isinstance(function, types.FunctionType):
        what = f"The function {function.__qualname__}"
        function_source(function)
        _check_names(names_of(function.__code__), what)


def _refuse_unfit(function: Any) -> None:
    what = f"The function {getattr(function, '__qualname__', function)}"
    plain = inspect.unwrap(function) if isinstance(function, types.FunctionType) else function
    if not callable(function):
        raise CannotTravel(f"{function!r:.60}", "cannot be called", "Give a function.")
    if inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain):
        raise CannotTravel(
            what, "is asynchronous", "Write it as an ordinary function; the grid runs calls side by side."
        )
    if inspect.isgeneratorfunction(plain):
        raise CannotTravel(what, "is a generator", "Return a list instead of yielding its items.")


def _check_names(names: Names, what: str) -> None:
    if names.changed:
        raise CannotTravel(
            what,
            f"sets {names.changed[0]!r} outside of itself, and that would be lost on the other machine",
            "Return the value instead.",
        )
    for imported in names.imported:
        if not imported.level:
            check_standard(imported.name, what)


class _Builder:
    """Numbers functions and classes in the order in which they are met."""

    def __init__(self, packages: Set[str], whole: Set[str]) -> None:
        self.modules: dict[str, UserModule] = {}
        self.loads: dict[str, None] = {}
        """Modules that are imported before anything is called."""
        self._packages = packages
        self._whole = whole
        self._arrays = "numpy" in packages
        self._attributes: frozenset[str] = frozenset()
        self.nodes: list[dict[str, Any]] = []
        self.shapes = Shapes()
        self.fixed = True
        self.origins: list[tuple[dict[str, Any], str, Any]] = []
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []
        self._encoder = Encoder(self.shapes, None, self._refer, arrays=self._arrays)

    @property
    def objects(self) -> tuple[Any, ...]:
        """By number."""
        return tuple(self._kept)

    def wire(self, value: Any, what: str) -> Any:
        """How a value is written here."""
        try:
            return self._encoder.encode(value)
        except NotAValue as error:
            raise obstacle(error, what) from None

    def known(self, value: Any) -> Any:
        """How a call writes what needs no further node; None if it does need one."""
        number = self._numbers.get(id(value))
        if number is not None:
            return {"R": number}
        return self._elsewhere(value, self.known)

    def _refer(self, value: Any) -> Any:
        value = getattr(value, "__fairgrid_local__", value)
        number = self._numbers.get(id(value))
        if number is not None:
            return {"R": number}
        found = self._elsewhere(value, self._refer)
        if found is not None:
            return found
        if isinstance(value, types.FunctionType):
            return {"R": self._function(value)}
        if isinstance(value, type):
            return self._class(value)
        kind = type(value)
        if self._travels(value) and not is_standard(kind.__module__):
            self._class(kind)
            return self.shapes.key(kind)
        return None

    def _elsewhere(self, value: Any, refer: Any) -> Any:
        """What the standard library has, and what is made of other things."""
        value = getattr(value, "__fairgrid_local__", value)
        if isinstance(value, types.ModuleType):
            self._module(value)
            return {"M": value.__name__}
        if isinstance(value, functools.partial):
            encoder = Encoder(self.shapes, None, refer, arrays=self._arrays)
            keywords = [[name, encoder.encode(item, f".{name}")] for name, item in value.keywords.items()]
            return {"P": [encoder.encode(value.func), encoder.encode(value.args), keywords]}
        if isinstance(value, types.MethodType):
            return {
                "A": [Encoder(self.shapes, None, refer, arrays=self._arrays).encode(value.__self__), value.__name__]
            }
        if isinstance(value, Enum) and is_standard(type(value).__module__):
            return {"A": [refer(type(value)), value.name]}
        found = found_there(value, self._packages)
        if found is None and isinstance(value, types.BuiltinMethodType) and is_bound_builtin(value):
            return {
                "A": [Encoder(self.shapes, None, refer, arrays=self._arrays).encode(value.__self__), value.__name__]
            }
        return found

    def _module(self, module: types.ModuleType) -> None:
        """A module as a value, with those below it that are loaded and that somebody speaks of."""
        name, what = module.__name__, f"The module {module.__name__}"
        self.import_all([Imported(name)], what)
        if name in self.modules:
            self.loads[name] = None
            below = {one for one in sys.modules if one.startswith(f"{name}.")}
            spoken = sorted(one for one in below if self._attributes.issuperset(one[len(name) + 1 :].split(".")))
            self.import_all([Imported(one) for one in spoken], what)
            self.loads |= dict.fromkeys(spoken)

    def import_all(self, imported: Sequence[Imported], what: str, *, package: str = "") -> None:
        """What code imports must be there: of the standard library, a package of the runtime, or the user's own."""
        for one in user_modules(imported, what, self._packages, package=package):
            self.modules.setdefault(one.name, one)

    def _whole_module(self, value: types.FunctionType | type, what: str) -> int | None:
        """The number of a function or class that is found in a module which travels whole."""
        module = value.__module__
        if module not in self._whole or getattr(sys.modules[module], value.__qualname__, None) is not value:
            return None
        self.import_all([Imported(value.__module__)], what)
        number = self._number(value)
        self.nodes[number] = {"kind": "import", "module": value.__module__, "name": value.__qualname__}
        return number

    def _travels(self, value: Any) -> bool:
        kind = type(value)
        return is_dataclass(kind) or isinstance(value, Enum) or (isinstance(value, tuple) and hasattr(kind, "_fields"))

    def _function(self, function: types.FunctionType) -> int:
        what = f"The function {function.__qualname__}"
        check_owner(function.__module__, what)
        if (found := self._whole_module(function, what)) is not None:
            return found
        names = names_of(function.__code__)
        _check_names(names, what)
        source = function_source(function)
        self.import_all(names.imported, what, package=_package_of(function.__module__))
        number = self._number(function)
        node = self._node("function", function.__module__, source)
        node |= {"lambda": source.is_lambda, "name": function.__name__, "qualname": function.__qualname__}
        self.nodes[number] = node
        node["globals"] = self._globals(names, function.__globals__, what)
        node["cells"] = self._cells(function, what)
        node["defaults"] = self._constant(function.__defaults__, f"{what}: a default value")
        node["kwdefaults"] = self._constant(function.__kwdefaults__, f"{what}: a default value")
        return number

    def _class(self, cls: type) -> Any:
        what = f"The class {cls.__qualname__}"
        if "." in cls.__qualname__ and "<locals>" not in cls.__qualname__:
            return self._inner_class(cls, what)
        if id(cls) in self._numbers:
            return {"R": self._numbers[id(cls)]}
        check_owner(cls.__module__, what)
        if (found := self._whole_module(cls, what)) is not None:
            self._shape(cls, found)
            return {"R": found}
        source = class_source(cls)
        body = ast.parse(f"if True:\n{source.text}" if source.indented else source.text)
        code = compile(body, source.file, "exec", __future__.annotations.compiler_flag, dont_inherit=True)
        names = names_of(code)
        _check_names(names, what)
        self.import_all(names.imported, what, package=_package_of(cls.__module__))
        number = self._number(cls)
        self._shape(cls, number)
        node = self._node("class", cls.__module__, source)
        node |= {"lambda": False, "name": cls.__name__}
        self.nodes[number] = node
        inside = {name for one in code.co_consts if isinstance(one, types.CodeType) for name in names_of(one).own}
        optional = frozenset(inside | {cls.__name__})
        node["globals"] = self._globals(names, vars(sys.modules[cls.__module__]), what, optional=optional)
        return {"R": number}

    def _shape(self, cls: type, number: int) -> None:
        if is_dataclass(cls) or issubclass(cls, Enum) or (issubclass(cls, tuple) and hasattr(cls, "_fields")):
            self.shapes.add(str(number), cls)

    def _inner_class(self, cls: type, what: str) -> Any:
        outer: Any = sys.modules.get(cls.__module__)
        root, _, path = cls.__qualname__.partition(".")
        outer = getattr(outer, root, None)
        found = outer
        for part in path.split("."):
            found = getattr(found, part, None)
        if not isinstance(outer, type) or found is not cls:
            raise CannotTravel(what, "is not found under its own name", "Define it at the top of a module.")
        wire = {"A": [self._refer(outer), path]}
        if is_dataclass(cls) or issubclass(cls, Enum):
            raise CannotTravel(what, "is a class inside of a class", "Define it at the top of a module.")
        return wire

    def _number(self, value: Any) -> int:
        number = len(self.nodes)
        self._numbers[id(value)] = number
        self._kept.append(value)
        self.nodes.append({})
        return number

    def _node(self, kind: str, module: str, source: Source) -> dict[str, Any]:
        return {
            "kind": kind,
            "module": module,
            "file": source.file,
            "line": source.line,
            "source": source.text,
            "indented": source.indented,
        }

    def _globals(
        self, names: Names, scope: dict[str, Any], what: str, *, optional: frozenset[str] = frozenset()
    ) -> dict[str, Any]:
        wires = {}
        before, self._attributes = self._attributes, names.attributes
        for name in names.read:
            if name in _AMBIENT:
                continue
            if name == "__file__":
                raise CannotTravel(what, "reads __file__, a path of this machine", "Pass the file's content.")
            if name not in scope:
                if name in optional or hasattr(builtins, name):
                    continue
                raise CannotTravel(what, f"uses the name {name!r}, which is defined nowhere", "Define or import it.")
            self.origins.append((scope, name, scope[name]))
            wires[name] = self._constant(scope[name], f"{what}: the global {name!r}")
            self._attributes = names.attributes
        self._attributes = before
        return wires

    def _cells(self, function: types.FunctionType, what: str) -> dict[str, Any]:
        wires = {}
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name == "__class__":
                raise CannotTravel(what, "is a method that uses super()", "Pass an object and call its method.")
            try:
                value = cell.cell_contents
            except ValueError:
                raise CannotTravel(what, f"uses {name!r} before it has a value", "Set it first.") from None
            wires[name] = self._constant(value, f"{what}: the variable {name!r}")
            # A cell can be set anew without anybody seeing it.
            self.fixed = self.fixed and isinstance(value, types.FunctionType | type)
        return wires

    def _constant(self, value: Any, what: str) -> Any:
        wire = self.wire(value, what)
        self.fixed = self.fixed and _is_fixed(value)
        return wire


def _package_of(module: str) -> str:
    return str(getattr(sys.modules.get(module), "__package__", None) or "")


def _is_fixed(value: Any) -> bool:
    if isinstance(value, tuple | frozenset):
        return all(_is_fixed(item) for item in value)
    shared = types.FunctionType | types.BuiltinFunctionType | types.ModuleType | type | Enum
    return isinstance(value, _ATOMS) or isinstance(value, shared) or hasattr(value, "__fairgrid_local__")
