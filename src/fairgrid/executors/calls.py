"""Calls as lines of text: a function, its arguments, and which of several equal calls it is."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import stat
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

from fairgrid.client.job import MAX_INPUT_BYTES
from fairgrid.errors import CannotTravel
from fairgrid.executors.apps import App, write_app_call
from fairgrid.executors.capture import Captured, capture
from fairgrid.executors.guest.values import ATTACHED_BYTES, Encoder, File, NotAValue
from fairgrid.executors.obstacles import obstacle

__all__ = ["Call", "CallWriter", "Keep", "KeepFile", "key_of"]

Keep = Callable[[str, bytes], None]
"""Stores a file that calls need, by its name; the same name always has the same content."""

KeepFile = Callable[[Path], tuple[str, int]]
"""Stores a copy of a user's file; gives its name, by its content, and its size in bytes."""

_KNOWN_BLOBS: Final = 32


@dataclass(frozen=True, slots=True)
class Call:
    """One call. ``line`` has its ordinal among equal calls of the run, a tab, and the call as JSON."""

    number: int
    line: str
    bundle: str
    blobs: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    """Bytes of each of ``blobs``; not known of calls of an earlier process, which are packed already."""
    seconds: float = 0.0
    """About how long it computes; 0 if nobody said."""
    chunk: int = 0
    """So many calls of its group are one task; 0: as the executor sees fit."""
    group: int = 0
    app: str = ""
    """Address of the published app that it calls; empty: a Python function."""
    captured: Captured | None = field(default=None, compare=False, repr=False)
    """What its result is read with; None for a call of an earlier process that nobody made again."""

    @property
    def key(self) -> bytes:
        """The same for the same call in the same place among equal ones, also in another process."""
        return key_of(self.line)


def key_of(line: str) -> bytes:
    """The key of a call by its line."""
    return hashlib.blake2b(line.encode(), digest_size=16).digest()


class _Needs(Exception):
    """The call needs a function or a class that is not in the bundle yet."""

    def __init__(self, what: Any) -> None:
        self.what = what


class _Form:
    """How calls of one captured function are written."""

    def __init__(
        self,
        captured: Captured,
        keep: Callable[[bytes], str],
        keep_file: Callable[[File, str], tuple[str, int]],
        *,
        arrays: bool,
    ) -> None:
        self.captured = captured
        self.blobs: dict[str, int] = {}
        self._keep = keep
        self._keep_file = keep_file
        self.encoder = Encoder(captured.shapes, self.attach, self._refer, arrays=arrays, attach_file=self.attach_file)
        function = json.dumps(captured.function)
        self.start = f'{{"bundle":"{captured.name}","function":'
        self.function = function

    def attach(self, content: bytes) -> str:
        """Keep a large part of the arguments beside the call."""
        name = self._keep(content)
        self.blobs[name] = len(content)
        return name

    def attach_file(self, file: File, where: str) -> str:
        """Keep a file beside the call."""
        name, size = self._keep_file(file, where)
        self.blobs[name] = size
        if sum(self.blobs.values()) > MAX_INPUT_BYTES:
            raise NotAValue(file, where, f"is too much: a call takes at most {MAX_INPUT_BYTES} bytes of files")
        return name

    def part(self, value: Any, where: str) -> str:
        """One argument as JSON; a large one lies beside the call."""
        text = _json(self.encoder.encode(value, where))
        if len(text) < ATTACHED_BYTES:
            return text
        return json.dumps({"J": self.attach(text.encode())})

    def _refer(self, value: Any) -> Any:
        try:
            found = self.captured.refer(value)
        except NotAValue as error:
            # A partial or a method of something that is not there yet.
            if isinstance(error.value, types.FunctionType | type):
                raise _Needs(error.value) from None
            raise
        if found is not None:
            return found
        if isinstance(value, types.FunctionType | type) or hasattr(value, "__fairgrid_local__"):
            raise _Needs(value)
        kind = type(value)
        if hasattr(kind, "__dataclass_fields__") or isinstance(value, Enum) or hasattr(kind, "_fields"):
            raise _Needs(kind)
        return None


class CallWriter:
    """Writes the calls of one run. Not for several threads at once. ``packages`` are there where calls run."""

    def __init__(
        self,
        keep: Keep,
        *,
        keep_path: KeepFile | None = None,
        first: int = 0,
        packages: Set[str] = frozenset(),
    ) -> None:
        self._keep_file = keep
        self._keep_path = keep_path or _measure
        self._files: dict[tuple[str, int, int, int], tuple[str, int]] = {}
        self._packages = packages
        self._forms: dict[Any, _Form] = {}
        self._extras: dict[Any, tuple[Any, ...]] = {}
        self._equal: dict[bytes, int] = {}
        self._blobs: OrderedDict[int, tuple[bytes, str]] = OrderedDict()
        self._bundles: set[str] = set()
        self._count = first

    def refresh(self, function: Any) -> None:
        """Look at a function anew at its next call."""
        self._forms.pop(_plain(function)[0], None)

    def write(
        self,
        function: Any,
        arguments: Sequence[Any],
        keywords: Mapping[str, Any],
        *,
        seconds: float = 0.0,
        chunk: int = 0,
        group: int = 0,
        trusted: bool = False,
    ) -> Call:
        """Write one call; what it needs is kept. ``trusted``: the function was looked at just before.

        Raises:
            CannotTravel: something in it cannot.
        """
        root, before, named = _plain(function)
        if before or named:
            arguments, keywords = (*before, *arguments), {**named, **keywords}
        if isinstance(root, App):
            return self._write_app(root, arguments, keywords, seconds)
        bound = None
        if isinstance(root, types.MethodType):
            root, bound = type(root.__self__), root
        while True:
            form = self._form(root, trusted=trusted)
            try:
                text = self._text(form, root, bound, arguments, keywords)
                break
            except _Needs as needs:
                known = self._extras.get(root, ())
                if any(one is needs.what for one in known):
                    raise obstacle(NotAValue(needs.what, ""), f"An argument of {_name(root)}") from None
                # What cannot travel must not spoil the next call of the same function.
                capture(root, *known, needs.what, packages=self._packages)
                self._extras[root] = (*known, needs.what)
                self._forms.pop(root, None)
            except NotAValue as error:
                raise obstacle(error, f"In the call of {_name(root)}, ") from None
        number, line = self._next(text)
        return Call(
            number=number,
            line=line,
            bundle=form.captured.name,
            blobs=tuple(form.blobs),
            sizes=tuple(form.blobs.values()),
            seconds=seconds,
            chunk=chunk,
            group=group,
            captured=form.captured,
        )

    def _write_app(self, app: App, arguments: Sequence[Any], keywords: Mapping[str, Any], seconds: float) -> Call:
        try:
            text, sizes = write_app_call(app, arguments, keywords, self._keep_users_file)
        except NotAValue as error:
            raise obstacle(error, f"In the call of {app}, ") from None
        number, line = self._next(text)
        return Call(number, line, "", tuple(sizes), tuple(sizes.values()), seconds, app=app.address)

    def _next(self, text: str) -> tuple[int, str]:
        """The number of the next call of the run, and its line."""
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        ordinal = self._equal.get(digest, 0)
        self._equal[digest] = ordinal + 1
        number, self._count = self._count, self._count + 1
        return number, f"{ordinal}\t{text}"

    def _form(self, root: Any, *, trusted: bool) -> _Form:
        try:
            form = self._forms.get(root)
        except TypeError:
            raise CannotTravel(_name(root), "cannot be looked up", "Give a plain function.") from None
        if form is not None and (trusted or form.captured.is_fresh):
            form.blobs = {}
            return form
        captured = capture(root, *self._extras.get(root, ()), packages=self._packages)
        if captured.name not in self._bundles:
            self._keep_file(captured.name, captured.bundle)
            self._bundles.add(captured.name)
        form = self._forms[root] = _Form(captured, self._keep, self._keep_users_file, arrays="numpy" in self._packages)
        return form

    def _text(self, form: _Form, root: Any, bound: Any, arguments: Sequence[Any], keywords: Mapping[str, Any]) -> str:
        function = form.function
        if bound is not None:
            function = json.dumps({"A": [form.encoder.encode(bound.__self__, "the object"), bound.__name__]})
        parts = [form.part(value, f"argument {number}") for number, value in enumerate(arguments, 1)]
        named = [f"[{_json(name)},{form.part(value, f'argument {name!r}')}]" for name, value in keywords.items()]
        return f'{form.start}{function},"arguments":[{",".join(parts)}],"keywords":[{",".join(named)}]}}'

    def _keep_users_file(self, file: File, where: str) -> tuple[str, int]:
        """A file that did not change since it was kept is not read again."""
        try:
            state = os.stat(file.path)
            key = (file.path, state.st_ino, state.st_mtime_ns, state.st_size)
            if not stat.S_ISREG(state.st_mode):
                raise NotAValue(file, where, f"is no file: {file.path}")
            if state.st_size > MAX_INPUT_BYTES:
                raise NotAValue(file, where, f"has {state.st_size} bytes; a call takes at most {MAX_INPUT_BYTES}")
            if key not in self._files:
                self._files[key] = self._keep_path(Path(file.path))
        except OSError as error:
            raise NotAValue(file, where, f"cannot be read: {file.path} ({error.strerror})") from None
        return self._files[key]

    def _keep(self, content: bytes) -> str:
        known = self._blobs.get(id(content))
        if known is not None and known[0] is content:
            return known[1]
        name = "blob-" + hashlib.sha256(content).hexdigest()
        self._keep_file(name, bytes(content))
        if type(content) is bytes:
            # Kept alive, so that nothing else can take its place at this address.
            self._blobs[id(content)] = (content, name)
            if len(self._blobs) > _KNOWN_BLOBS:
                self._blobs.popitem(last=False)
        return name


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
_SCALARS: Final[dict[type, Callable[[Any], str]]] = {
    int: repr,
    float: repr,
    str: json.encoder.encode_basestring_ascii,
    bool: lambda value: "true" if value else "false",
    type(None): lambda value: "null",
}


def _json(wire: Any) -> str:
    """JSON text; an encoder is costly to set up, and most arguments are a number or a word."""
    write = _SCALARS.get(type(wire))
    return write(wire) if write is not None else _ENCODER.encode(wire)


def _measure(path: Path) -> tuple[str, int]:
    """What a file's copy would be named, and its size; nothing is copied."""
    with open(path, "rb") as file:
        return f"blob-{hashlib.file_digest(file, 'sha256').hexdigest()}", path.stat().st_size


def _plain(function: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The function behind partials and `remote`, and the arguments that it has already."""
    before: tuple[Any, ...] = ()
    named: dict[str, Any] = {}
    while True:
        local = getattr(function, "__fairgrid_local__", None)
        if local is not None:
            function = local
        elif isinstance(function, functools.partial):
            before, named = (*function.args, *before), {**function.keywords, **named}
            function = function.func
        else:
            return function, before, named


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", None) or repr(function)[:60])
