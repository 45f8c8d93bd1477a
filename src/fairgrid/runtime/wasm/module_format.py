"""Whether a file is a WebAssembly program that can run here: read from its own bytes, without compiling it.

What is wrong with it is said in fixed words, because a worker contributes them as the job's agreed error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fairgrid.runtime.wasm.wasi_signatures import WASI_MODULE, WASI_SIGNATURES

__all__ = ["MAX_MODULE_BYTES", "Import", "Interface", "Reader", "interface_of", "program_fault"]

MAX_MODULE_BYTES: Final = 64 << 20
"""A larger program is refused, everywhere alike: compiling costs a worker memory and time before anybody pays."""

_MAGIC: Final = b"\0asm"
_MODULE: Final = b"\1\0\0\0"
_LAYER_COMPONENT: Final = b"\1\0"
_TYPE, _IMPORT, _EXPORT = 1, 2, 7
_FUNCTION, _TABLE, _MEMORY, _GLOBAL, _TAG = range(5)
_KINDS: Final = {_FUNCTION: "function", _TABLE: "table", _MEMORY: "memory", _GLOBAL: "global", _TAG: "tag"}
_VALUE_TYPES: Final = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128", 0x70: "funcref"}
_TYPED_REFERENCES: Final = (0x63, 0x64)
_FUNCTION_TYPE: Final = 0x60

Signature = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Import:
    """Something that the module wants from its host."""

    module: str
    name: str
    kind: str
    signature: Signature | None
    """Parameters and results of a function."""


@dataclass(frozen=True, slots=True)
class Interface:
    """What a module wants and offers; exports by name with their kinds."""

    imports: tuple[Import, ...]
    exports: dict[str, str]


def program_fault(wasm: bytes) -> str | None:
    """Why these bytes are no program for WASI preview 1, for people; None if they are one.

    The bytes need not be valid: `wasmtime` is to be asked about that.
    """
    if len(wasm) > MAX_MODULE_BYTES:
        return f"it has more than {MAX_MODULE_BYTES} bytes"
    if wasm[:4] != _MAGIC:
        return "it is not WebAssembly"
    if wasm[4:8] != _MODULE:
        if wasm[6:8] == _LAYER_COMPONENT:
            return "it is a component (wasmtime-49/component/deterministic runs those); this runtime runs core modules"
        return "it is WebAssembly of a version that this runtime does not know"
    try:
        interface = interface_of(wasm)
    except (IndexError, ValueError):
        return "it is not a valid WebAssembly module"
    for wanted in interface.imports:
        fault = _import_fault(wanted)
        if fault is not None:
            return fault
    if interface.exports.get("_start") != "function":
        return "it does not export the function _start: it is a library, not a command"
    if interface.exports.get("memory") != "memory":
        return "it does not export its memory under that name"
    return None


def _import_fault(wanted: Import) -> str | None:
    name = f"{wanted.module}.{wanted.name}"
    if not name.isprintable() or len(name) > 200:
        return "it asks for something whose name cannot be shown"
    known = WASI_SIGNATURES.get(wanted.name) if wanted.module == WASI_MODULE else None
    if known is None or wanted.kind != "function":
        return f"it asks for the {wanted.kind} {name}, which is not in WASI preview 1"
    if wanted.signature != known:
        return f"it asks for {name} with other parameters than WASI preview 1 has"
    return None


def interface_of(wasm: bytes) -> Interface:
    """The imports and exports of a module.

    Raises:
        IndexError, ValueError: the bytes end too early or are none.
    """
    types: list[Signature | None] = []
    imports: list[Import] = []
    exports: dict[str, str] = {}
    reader = Reader(wasm, 8, len(wasm))
    while reader.left():
        section = reader.byte()
        body = reader.part(reader.number())
        if section == _TYPE:
            types = [body.function_type() for _ in range(body.number())]
        elif section == _IMPORT:
            imports = [body.wanted(types) for _ in range(body.number())]
        elif section == _EXPORT:
            for _ in range(body.number()):
                name, kind = body.text(), body.byte()
                body.number()
                exports[name] = _KINDS.get(kind, "unknown")
    return Interface(tuple(imports), exports)


class Reader:
    """Reads the binary format from a stretch of the bytes."""

    def __init__(self, data: bytes, start: int, end: int) -> None:
        if end > len(data):
            raise IndexError("the bytes end too early")
        self._data = data
        self._at = start
        self._end = end

    def left(self) -> bool:
        """Whether there is more."""
        return self._at < self._end

    def byte(self) -> int:
        """The next byte."""
        if self._at >= self._end:
            raise IndexError("the bytes end too early")
        self._at += 1
        return self._data[self._at - 1]

    def number(self) -> int:
        """Unsigned LEB128 of at most 32 bits; 64 bits are allowed where limits of memories may have them."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a number is too long")

    def part(self, length: int) -> Reader:
        """A reader of the next bytes, which are passed over here."""
        start = self._at
        self._at += length
        if self._at > self._end:
            raise IndexError("the bytes end too early")
        return Reader(self._data, start, self._at)

    def text(self) -> str:
        """A text with its length before it."""
        length = self.number()
        start = self._at
        self.part(length)
        return self._data[start : self._at].decode()

    def function_type(self) -> Signature:
        """Parameters and results."""
        if self.byte() != _FUNCTION_TYPE:
            raise ValueError("not a function type")
        return self._value_types(), self._value_types()

    def _value_types(self) -> tuple[str, ...]:
        return tuple(self._value_type() for _ in range(self.number()))

    def _value_type(self) -> str:
        code = self.byte()
        if code in _TYPED_REFERENCES:
            self.number()
        return _VALUE_TYPES.get(code, "reference")

    def wanted(self, types: list[Signature | None]) -> Import:
        """An import, whose function's type is one of ``types``."""
        module, name, kind = self.text(), self.text(), self.byte()
        signature = None
        if kind == _FUNCTION:
            signature = types[self.number()]
        elif kind == _TABLE:
            self._value_type()
            self._limits()
        elif kind == _MEMORY:
            self._limits()
        elif kind == _GLOBAL:
            self._value_type()
            self.byte()
        elif kind == _TAG:
            self.byte()
            self.number()
        else:
            raise ValueError("an unknown kind of import")
        return Import(module, name, _KINDS[kind], signature)

    def _limits(self) -> None:
        flags = self.byte()
        self.number()
        if flags & 1:
            self.number()
