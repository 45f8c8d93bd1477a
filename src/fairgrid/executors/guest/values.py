"""Values in a closed format: JSON that says exactly which Python value it is, and can say nothing else.

The client and the runner inside the sandbox use this very file; it needs the standard library only. Plain JSON stands
for None, bool, small integers, finite floats, text and lists; everything else is an object with one key, its tag.
Nothing is ever looked up or called by a name that comes from the other side, except what `Shapes` was told before.
"""

from __future__ import annotations

import base64
import datetime
import io
import json
import math
import os
import struct
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any, BinaryIO

__all__ = [
    "ATTACHED_BYTES",
    "MAX_DEPTH",
    "Attach",
    "AttachFile",
    "BadWire",
    "Decoder",
    "Encoder",
    "Fetch",
    "File",
    "NotAValue",
    "Shapes",
]

ATTACHED_BYTES = 65_536
"""Bytes or text of at least this size lie in a file of their own."""

MAX_DEPTH = 20
"""Levels of containers in each other."""

_SMALL = 1 << 63

Attach = Callable[[bytes], str]
"""Keeps bytes beside the text, and gives their name."""
AttachFile = Callable[["File", str], str]
"""Keeps a file beside the text, and gives the name of its content; the second argument says where it is."""
Fetch = Callable[[str], bytes]
"""Gives bytes by that name; raises `KeyError` if there are none."""


_CHUNK = 1 << 20


class File:
    """A file as an argument or a result of a call: it travels by its content, is sent once, and is never in memory.

    ``File("data/tiles.tif")`` as an argument is a file of the same name over there, to be read only; a call returns
    ``File("out.csv")`` for one that it wrote, and the caller finds it at ``path``. Anything that opens a path opens it.
    """

    def __init__(self, path: str | os.PathLike[str], name: str = "") -> None:
        self.path = os.path.abspath(path)
        self.name = name or os.path.basename(self.path)
        """Without folders."""

    @property
    def size(self) -> int:
        """Bytes."""
        return os.path.getsize(self.path)

    def open(self) -> BinaryIO:
        """Open it for reading bytes."""
        return open(self.path, "rb")

    def read_bytes(self) -> bytes:
        """All of it."""
        with self.open() as file:
            return file.read()

    def read_text(self, encoding: str = "utf-8") -> str:
        """All of it, as text."""
        with open(self.path, encoding=encoding) as file:
            return file.read()

    def save(self, place: str | os.PathLike[str]) -> str:
        """Copy it to a path, or under its name into a folder that is there; gives where it lies now."""
        target = os.path.join(place, self.name) if os.path.isdir(place) else os.fspath(place)
        with self.open() as source, open(target, "wb") as copy:
            while piece := source.read(_CHUNK):
                copy.write(piece)
        return target

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"File({self.name!r})"


class NotAValue(TypeError):
    """``value`` cannot be written; ``where`` says which part of the whole it is, such as ``[2].name``."""

    def __init__(self, value: object, where: str, why: str = "") -> None:
        self.value = value
        self.where = where
        self.why = why
        super().__init__(f"{type(value).__module__}.{type(value).__qualname__} at {where or 'the top'} {why}".rstrip())


class BadWire(ValueError):
    """What should be a written value is none."""


class Shapes:
    """Classes and other objects that both sides know, each by a key."""

    def __init__(self) -> None:
        self.classes: dict[str, type] = {}
        self._keys: dict[type, str] = {}

    def add(self, key: str, shape: type) -> None:
        """Let instances of a dataclass, an Enum or a named tuple be written and read."""
        self.classes[key] = shape
        self._keys[shape] = key

    def key(self, shape: type) -> str | None:
        """The key of a class; None if it is unknown."""
        return self._keys.get(shape)


class Encoder:
    """Makes JSON documents of values. ``refer`` may write what has no form of its own: functions, modules, classes.

    It returns None if it cannot, either. ``arrays``: the reader has numpy, so that arrays may be written.
    """

    def __init__(
        self,
        shapes: Shapes | None = None,
        attach: Attach | None = None,
        refer: Callable[[Any], Any] | None = None,
        *,
        arrays: bool = True,
        attach_file: AttachFile | None = None,
    ) -> None:
        self.shapes = shapes or Shapes()
        self._arrays = arrays
        self._attach_file = attach_file
        self._attach = attach
        self._refer = refer

    def encode(self, value: Any, where: str = "") -> Any:
        """The document.

        Raises:
            NotAValue: it, or something in it, has no form.
        """
        return self._any(value, where, 0)

    def text(self, value: Any) -> str:
        """The document as JSON text."""
        return json.dumps(self.encode(value), separators=(",", ":"))

    def _any(self, value: Any, where: str, depth: int) -> Any:
        kind = type(value)
        if kind is int:
            return value if -_SMALL < value < _SMALL else {"i": hex(value)}
        if kind is str:
            return self._str(value)
        if value is None or kind is bool:
            return value
        if kind is float:
            return value if value - value == 0 else {"f": struct.pack(">d", value).hex()}
        if depth >= MAX_DEPTH:
            raise NotAValue(value, where, f"is nested deeper than {MAX_DEPTH} levels, or holds itself")
        if kind is list:
            return [self._any(item, f"{where}[{number}]", depth + 1) for number, item in enumerate(value)]
        if kind is tuple:
            return {"t": [self._any(item, f"{where}[{number}]", depth + 1) for number, item in enumerate(value)]}
        if kind is dict:
            return {
                "d": [
                    [self._any(key, f"{where} key", depth + 1), self._any(item, f"{where}[{key!r:.40}]", depth + 1)]
                    for key, item in value.items()
                ]
            }
        if kind is set or kind is frozenset:
            items = [self._any(item, f"{where} item", depth + 1) for item in value]
            # Sets have no order of their own, and results are compared bit by bit.
            return {"s" if kind is set else "z": sorted(items, key=json.dumps)}
        return self._rare(value, kind, where, depth)

    def _str(self, value: str) -> Any:
        if self._attach is not None and len(value) >= ATTACHED_BYTES:
            return {"S": self._attach(value.encode("utf-8", "surrogatepass"))}
        return value

    def _rare(self, value: Any, kind: type, where: str, depth: int) -> Any:
        if kind is bytes or kind is bytearray:
            tag = "b" if kind is bytes else "y"
            if self._attach is not None and len(value) >= ATTACHED_BYTES:
                return {tag.upper(): self._attach(value)}
            return {tag: base64.b64encode(value).decode()}
        if kind is complex:
            return {"c": [self._any(value.real, where, depth), self._any(value.imag, where, depth)]}
        if kind is Decimal:
            return {"D": str(value)}
        if kind is Fraction:
            return {"F": [self._any(value.numerator, where, depth), self._any(value.denominator, where, depth)]}
        if kind in _TIMES:
            return self._time(value, kind, where)
        if kind is range:
            return {"r": [self._any(part, where, depth) for part in (value.start, value.stop, value.step)]}
        if kind is File:
            if self._attach_file is None:
                raise NotAValue(value, where, "is a file, which can be an argument or a result, and nothing else")
            return {"fl": [value.name, self._attach_file(value, where)]}
        key = self.shapes.key(kind)
        if key is not None:
            return self._shaped(value, kind, key, where, depth)
        if kind.__module__ == "numpy" and self._arrays and hasattr(value, "dtype"):
            return self._array(value, kind, where, depth)
        found = None if self._refer is None else self._refer(value)
        if found is None:
            raise NotAValue(value, where)
        if isinstance(found, str):
            # It was told to the shapes just now.
            return self._shaped(value, kind, found, where, depth)
        return found

    def _array(self, value: Any, kind: type, where: str, depth: int) -> Any:
        """An array, or one number of numpy, as the bytes of an ``.npy`` file, which never holds a pickle."""
        import numpy

        if kind is not numpy.ndarray and not isinstance(value, numpy.generic):
            raise NotAValue(value, where, "is a special kind of array; use numpy.asarray(...) of it")
        if value.dtype.hasobject:
            raise NotAValue(value, where, "is an array of Python objects; use .tolist() of it")
        content = io.BytesIO()
        numpy.save(content, value, allow_pickle=False)
        return {"na" if kind is numpy.ndarray else "ns": self._any(content.getvalue(), where, depth)}

    def _time(self, value: Any, kind: type, where: str) -> Any:
        if kind is datetime.timedelta:
            return {"Td": [value.days, value.seconds, value.microseconds]}
        zone = getattr(value, "tzinfo", None)
        if zone is not None and type(zone) is not datetime.timezone:
            raise NotAValue(
                zone, f"{where}.tzinfo", "is a time zone with rules; use .astimezone(datetime.timezone.utc)"
            )
        text = value.isoformat()
        if getattr(value, "fold", 0):
            text += "~"
        return {_TIMES[kind]: text}

    def _shaped(self, value: Any, kind: type, key: str, where: str, depth: int) -> Any:
        if isinstance(value, Enum):
            return {"E": [key, value.name]}
        if is_dataclass(kind):
            own = [
                [field.name, self._any(getattr(value, field.name), f"{where}.{field.name}", depth + 1)]
                for field in fields(value)
            ]
            return {"C": [key, own]}
        return {"N": [key, [self._any(item, f"{where}[{number}]", depth + 1) for number, item in enumerate(value)]]}


class Decoder:
    """Reads such documents. ``resolve`` reads the tags ``R``, ``I`` and so on of whoever wrote by ``refer``."""

    def __init__(
        self,
        shapes: Shapes | None = None,
        fetch: Fetch | None = None,
        resolve: Callable[[str, Any], Any] | None = None,
        locate: Callable[[str], str] | None = None,
    ) -> None:
        self.shapes = shapes or Shapes()
        self._fetch = fetch
        self._resolve = resolve
        self._locate = locate

    def decode(self, wire: Any) -> Any:
        """The value.

        Raises:
            BadWire: it is none.
        """
        try:
            return self._any(wire)
        except BadWire:
            raise
        except (
            ValueError,
            TypeError,
            KeyError,
            ArithmeticError,
            RecursionError,
            AttributeError,
            struct.error,
        ) as error:
            raise BadWire(f"this is no value: {type(error).__name__}: {error}") from None

    def _any(self, wire: Any) -> Any:
        if wire is None or isinstance(wire, bool | int | float | str):
            return wire
        if isinstance(wire, list):
            return [self._any(item) for item in wire]
        ((tag, body),) = wire.items()
        match tag:
            case "t":
                return tuple([self._any(item) for item in body])
            case "d":
                return {self._any(key): self._any(item) for key, item in body}
            case "s":
                return {self._any(item) for item in body}
            case "z":
                return frozenset([self._any(item) for item in body])
            case "i":
                return int(body, 16)
            case "f":
                return struct.unpack(">d", bytes.fromhex(body))[0]
            case "b":
                return base64.b64decode(body, validate=True)
            case "y":
                return bytearray(base64.b64decode(body, validate=True))
            case "B":
                return self._attached(body)
            case "Y":
                return bytearray(self._attached(body))
            case "S":
                return self._attached(body).decode("utf-8", "surrogatepass")
            case _:
                return self._rare(tag, body)

    def _attached(self, name: Any) -> bytes:
        if self._fetch is None or not isinstance(name, str):
            raise BadWire("it names a file, and there is none")
        return self._fetch(name)

    def _file(self, name: Any, attached: Any) -> File:
        plain = isinstance(name, str) and name.isprintable() and 0 < len(name.encode()) < 256
        if not plain or name in (".", "..") or any(sign in name for sign in "/\\:"):
            raise BadWire(f"{name!r:.80} is no name of a file")
        if self._locate is None or not isinstance(attached, str):
            raise BadWire("it names a file, and there is none")
        return File(self._locate(attached), name)

    def _rare(self, tag: str, body: Any) -> Any:
        match tag:
            case "c":
                return complex(*[self._any(part) for part in body])
            case "D":
                return Decimal(body)
            case "F":
                return Fraction(*[self._any(part) for part in body])
            case "Td":
                return datetime.timedelta(*body)
            case "Tt" | "Tn" | "Tm":
                return _read_time(_TIMES_BY_TAG[tag], body)
            case "fl":
                return self._file(*body)
            case "na":
                return _read_array(self._any(body))
            case "ns":
                return _read_array(self._any(body))[()]
            case "r":
                return range(*[self._any(part) for part in body])
            case "E":
                shape: Any = self._shape(body[0], Enum)
                return shape[body[1]]
            case "N":
                return self._shape(body[0], tuple)._make(self._any(item) for item in body[1])
            case "C":
                return self._instance(*body)
        if self._resolve is None:
            raise BadWire(f"the tag {tag!r} is unknown")
        return self._resolve(tag, body)

    def _shape(self, key: Any, base: type) -> Any:
        shape = self.shapes.classes.get(key)
        if shape is None or not issubclass(shape, base):
            raise BadWire(f"the class {key!r} is unknown")
        return shape

    def _instance(self, key: Any, own: Any) -> Any:
        shape = self._shape(key, object)
        if not is_dataclass(shape):
            raise BadWire(f"{key!r} is no dataclass")
        names = {field.name for field in fields(shape)}
        if {name for name, _ in own} != names or len(own) != len(names):
            raise BadWire(f"the fields of {key!r} are others")
        # No code of the class runs: what it computes at its making travels as fields.
        plain: Any = shape
        made = object.__new__(plain)
        for name, wire in own:
            object.__setattr__(made, name, self._any(wire))
        return made


def _read_array(content: Any) -> Any:
    """The array of an ``.npy`` file; of its header nothing is believed that its length does not show."""
    try:
        import numpy
    except ImportError:
        raise BadWire("it holds an array, and numpy is not installed here: `pip install numpy`") from None
    layout: Any = numpy.lib.format
    file = io.BytesIO(content)
    version = layout.read_magic(file)
    read = {(1, 0): layout.read_array_header_1_0, (2, 0): layout.read_array_header_2_0}[version]
    shape, columns_first, kind = read(file)
    data = content[file.tell() :]
    if kind.hasobject or kind.itemsize * math.prod(shape) != len(data):
        raise BadWire("it is no plain array")
    return numpy.frombuffer(bytearray(data), kind).reshape(shape, order="F" if columns_first else "C")


def _read_time(kind: Any, text: str) -> Any:
    read = kind.fromisoformat(text.removesuffix("~"))
    return read.replace(fold=1) if text.endswith("~") else read


_TIMES = {datetime.datetime: "Tm", datetime.date: "Tt", datetime.time: "Tn", datetime.timedelta: "Td"}
_TIMES_BY_TAG: dict[str, type] = {tag: kind for kind, tag in _TIMES.items()}
