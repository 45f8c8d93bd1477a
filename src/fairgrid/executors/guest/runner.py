"""Runs calls inside the sandbox: ``runner.py PAGE FIRST COUNT``.

Not part of the package's import graph. Line FIRST and the next ones of the input PAGE are calls; each is run by itself,
and a line of ``results.jsonl`` says what it returned or raised. Functions come as source (a *bundle*, see `capture.py`)
and are compiled under the name and the lines of the file that they were written in, so that tracebacks read as at home.
"""

from __future__ import annotations
import __future__

import ast
import contextlib
import functools
import hashlib
import importlib
import importlib.machinery
import json
import linecache
import os
import random
import sys
import traceback
import types
from typing import Any

from fairgrid_values import BadWire, Decoder, Encoder, File, NotAValue, Shapes  # type: ignore[import-not-found]

FLAGS = __future__.annotations.compiler_flag
IN = os.environ["IEXEC_IN"]
OUT = os.environ["IEXEC_OUT"]
RESULTS = "results.jsonl"
MAKER = "__made_by_fairgrid__"


# Declared packages come as wheels, and Python imports from them as they are.
sys.path += sorted(os.path.join(IN, name) for name in os.listdir(IN) if name.startswith("wheel-"))


class NotYet(Exception):
    """A class that is being made is needed to make itself."""


class Bundle:
    """The functions, classes and constants of one function of the user."""

    def __init__(self, document: Any) -> None:
        self.nodes = document["nodes"]
        self.shapes = Shapes()
        self.decoder = Decoder(self.shapes, read_input, self.resolve, input_path)
        self.encoder = Encoder(self.shapes, write_attached, self.refer, attach_file=attach_file)
        self.modules: dict[str, dict[str, Any]] = {}
        self.made: dict[int, Any] = {}
        self.making: set[int] = set()
        self.later: list[tuple[dict[str, Any], str, Any]] = []
        self.own: dict[int, int] = {}
        self.finder = ModuleFinder(document.get("modules", ()))
        self.loaded: dict[str, Any] = {}
        activate(self)
        for name in document.get("loads", ()):
            importlib.import_module(name)
        for number in range(len(self.nodes)):
            self.node(number)
        for names, name, wire in self.later:
            names[name] = self.decoder.decode(wire)

    def resolve(self, tag: str, body: Any) -> Any:
        """Read what `capture.py` wrote for something that is no value."""
        match tag:
            case "R":
                return self.node(body)
            case "I":
                return walk(importlib.import_module(body[0]), body[1])
            case "M":
                return importlib.import_module(body)
            case "A":
                return walk(self.decoder.decode(body[0]), body[1])
            case "J":
                return self.decoder.decode(json.loads(read_input(body)))
            case "P":
                keywords = {name: self.decoder.decode(wire) for name, wire in body[2]}
                return functools.partial(self.decoder.decode(body[0]), *self.decoder.decode(body[1]), **keywords)
        raise BadWire(f"the tag {tag!r} is unknown")

    def refer(self, value: Any) -> Any:
        """Functions and classes of the bundle may be returned."""
        number = self.own.get(id(value))
        return None if number is None else {"R": number}

    def node(self, number: int) -> Any:
        """A function or class, made when it is first needed."""
        if number in self.made:
            return self.made[number]
        if number in self.making:
            raise NotYet
        node = self.nodes[number]
        if node["kind"] == "import":
            made = self.made[number] = walk(importlib.import_module(node["module"]), node["name"])
            self.own[id(made)] = number
            if isinstance(made, type):
                self.shapes.add(str(number), made)
            return made
        names = self.module(node["module"])
        show(node)
        make = self.function if node["kind"] == "function" else self.cls
        made = make(number, node, names)
        self.own[id(made)] = number
        return made

    def module(self, name: str) -> dict[str, Any]:
        """The global names of one of the user's modules."""
        if name not in self.modules:
            module = types.ModuleType(name)
            module.__dict__["__builtins__"] = __builtins__
            sys.modules.setdefault(name, module)
            self.modules[name] = module.__dict__
        return self.modules[name]

    def fill(self, names: dict[str, Any], wires: dict[str, Any]) -> None:
        """Give global names their values."""
        for name, wire in wires.items():
            try:
                names[name] = self.decoder.decode(wire)
            except NotYet:
                self.later.append((names, name, wire))

    def function(self, number: int, node: Any, names: dict[str, Any]) -> Any:
        """Define a function inside of another that has its outer variables."""
        body: Any = parse(node).body[0]
        clear_defaults(body.value.args if node["lambda"] else body.args)
        maker: Any = ast.parse(f"def {MAKER}({', '.join(node['cells'])}): pass").body[0]
        if node["lambda"]:
            maker.body = [ast.Return(body.value)]
        else:
            body.decorator_list = []
            maker.body = [body, ast.Return(ast.Name(body.name, ast.Load()))]
            if body.name not in node["cells"]:
                # Else a function that calls itself would look for its name in the maker, and not in its module.
                maker.body.insert(0, ast.Global([body.name]))
        scope: dict[str, Any] = {}
        module = ast.fix_missing_locations(ast.Module([maker], []))
        exec(compile(module, node["file"], "exec", FLAGS, True), names, scope)
        before = dict(names)
        made = scope[MAKER](*[None] * len(node["cells"]))
        names.clear()
        names.update(before)
        made.__qualname__ = node["qualname"]
        self.made[number] = made
        self.fill(names, node["globals"])
        for name, cell in zip(made.__code__.co_freevars, made.__closure__ or (), strict=True):
            cell.cell_contents = self.decoder.decode(node["cells"][name])
        made.__defaults__ = self.decoder.decode(node["defaults"])
        made.__kwdefaults__ = self.decoder.decode(node["kwdefaults"])
        return made

    def cls(self, number: int, node: Any, names: dict[str, Any]) -> Any:
        """Run a class statement."""
        self.making.add(number)
        self.fill(names, node["globals"])
        exec(compile(parse(node), node["file"], "exec", FLAGS, True), names, names)
        made = names[node["name"]]
        self.made[number] = made
        self.making.discard(number)
        self.shapes.add(str(number), made)
        return made


class ModuleFinder:
    """Finds the user's own modules, which came as source."""

    def __init__(self, entries: Any) -> None:
        self.entries = {entry["name"]: entry for entry in entries}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Part of the protocol of imports."""
        entry = self.entries.get(name)
        if entry is None:
            return None
        loader: Any = self
        return importlib.machinery.ModuleSpec(name, loader, origin=entry["file"], is_package=entry["package"])

    def create_module(self, spec: Any) -> None:
        """An ordinary one."""

    def exec_module(self, module: Any) -> None:
        """Run its source."""
        entry = self.entries[module.__name__]
        module.__file__ = entry["file"]
        lines = entry["source"].splitlines(keepends=True)
        linecache.cache[entry["file"]] = (len(entry["source"]), None, lines, entry["file"])
        exec(compile(entry["source"], entry["file"], "exec", 0, True), module.__dict__)


def remote(function: Any = None, /, *, seconds: float = 0.0) -> Any:
    """The mark of a module of the user: over there, a marked function is the function."""
    if function is None:
        return remote
    function.local = function
    return function


def no_more(name: str) -> Any:
    """What the user's modules may want of fairgrid, and cannot have here."""
    raise AttributeError(f"on the machines of the grid, fairgrid has File and remote only, not {name!r}")


own_package = types.ModuleType("fairgrid", "What is left of the package on the machines of the grid.")
own_package.__dict__.update(File=File, remote=remote, __getattr__=no_more)
sys.modules["fairgrid"] = own_package


ACTIVE: list[Bundle] = []


def activate(bundle: Bundle) -> None:
    """Two functions of one task may need different states of one module: each bundle has its own modules."""
    if ACTIVE and ACTIVE[0] is bundle:
        return
    if ACTIVE:
        before = ACTIVE.pop()
        sys.meta_path.remove(before.finder)
        before.loaded = {name: sys.modules.pop(name) for name in before.finder.entries if name in sys.modules}
    sys.meta_path.insert(0, bundle.finder)
    sys.modules.update(bundle.loaded)
    ACTIVE.append(bundle)


def walk(found: Any, path: str) -> Any:
    """Follow a dotted path of attributes."""
    for part in path.split("."):
        found = getattr(found, part)
    return found


def parse(node: Any) -> ast.Module:
    """The source's tree with the line numbers of its own file."""
    text, shift = node["source"], node["line"] - 1
    if node["lambda"]:
        tree = ast.parse(f"({text}\n)")
    elif node["indented"]:
        outer: Any = ast.parse(f"if True:\n{text}").body[0]
        tree, shift = ast.Module(outer.body, []), shift - 1
    else:
        tree = ast.parse(text)
    ast.increment_lineno(tree, shift)
    return tree


def clear_defaults(arguments: ast.arguments) -> None:
    """Keep how many there are: their values are set afterwards."""
    arguments.defaults = [ast.Constant(None) for _ in arguments.defaults]
    arguments.kw_defaults = [None if default is None else ast.Constant(None) for default in arguments.kw_defaults]


def show(node: Any) -> None:
    """Let tracebacks show the lines."""
    known: Any = linecache.cache.get(node["file"])
    lines = list(known[2]) if known else []
    own = [line + "\n" for line in node["source"].split("\n")]
    first = node["line"] - 1
    lines += ["\n"] * (first + len(own) - len(lines))
    lines[first : first + len(own)] = own
    linecache.cache[node["file"]] = (sum(map(len, lines)), None, lines, node["file"])


def input_path(name: str) -> str:
    """Where an argument lies that has a file of its own."""
    if not name.startswith("blob-") or "/" in name:
        raise KeyError(name)
    return os.path.join(IN, name)


def read_input(name: str) -> bytes:
    """An argument that lies in a file of its own."""
    with open(input_path(name), "rb") as file:
        return file.read()


def attach_file(file: File, where: str) -> str:
    """Put a file that a call returns beside the results, under the name of its content."""
    digest = hashlib.sha256()
    try:
        with file.open() as source:
            while piece := source.read(1 << 20):
                digest.update(piece)
        name = "blob-" + digest.hexdigest()
        target = os.path.join(OUT, name)
        if os.path.dirname(file.path) == os.path.abspath(OUT) and file.name != RESULTS:
            os.replace(file.path, target)
        elif not os.path.exists(target):
            file.save(target)
    except OSError as error:
        raise NotAValue(file, where, f"cannot be read: {error.strerror}") from None
    return name


def write_attached(content: bytes) -> str:
    """Put a large part of a result into a file of its own."""
    name = "blob-" + hashlib.sha256(content).hexdigest()
    path = os.path.join(OUT, name)
    if not os.path.exists(path):
        with open(path, "wb") as file:
            file.write(content)
    return name


def raised(error: BaseException) -> dict[str, Any]:
    """What is told of an exception: its class by name, its arguments if they are values, its traceback as text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    kind = type(error)
    try:
        arguments = Encoder().encode(tuple(error.args))
    except NotAValue:
        arguments = None
    try:
        message = str(error)
    except Exception:
        message = ""
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "arguments": arguments,
        "message": message,
        "traceback": "".join(traceback.format_exception(kind, error.with_traceback(trace), trace)),
    }


def run(line: str, bundles: dict[str, Bundle]) -> dict[str, Any]:
    """What became of one call: ``value`` or ``error``."""
    try:
        call = json.loads(line.split("\t", 1)[1])
        name = call["bundle"]
        if name not in bundles:
            with open(os.path.join(IN, name), encoding="utf-8") as file:
                text = file.read()
            if "numpy" in text:
                # Loaded before the first call, so that its random numbers are seeded for that one, too.
                with contextlib.suppress(ImportError):
                    importlib.import_module("numpy")
            bundles[name] = Bundle(json.loads(text))
        bundle = bundles[name]
        activate(bundle)
        function = bundle.decoder.decode(call["function"])
        arguments = [bundle.decoder.decode(wire) for wire in call["arguments"]]
        keywords = {name: bundle.decoder.decode(wire) for name, wire in call["keywords"]}
        # Whatever the calls of a task are, each has its own random numbers.
        seed = hashlib.sha256(line.encode()).digest()
        random.seed(seed)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(list(seed))
        value = function(*arguments, **keywords)
        try:
            return {"value": bundle.encoder.encode(value)}
        except NotAValue as error:
            raise TypeError(
                f"The call returned what cannot travel: {error}. Return None, numbers, text, bytes, lists, tuples, "
                f"dicts, sets, dates or dataclasses instead."
            ) from None
    except MemoryError:
        raise
    except BaseException as error:
        return {"error": raised(error)}


def main(page: str, first: str, count: str) -> None:
    """Run some of a page's calls."""
    with open(os.path.join(IN, page), encoding="utf-8") as file:
        lines = file.read().split("\n")[int(first) : int(first) + int(count)]
    bundles: dict[str, Bundle] = {}
    with open(os.path.join(OUT, RESULTS), "w", encoding="utf-8") as results:
        for line in lines:
            results.write(json.dumps(run(line, bundles), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
