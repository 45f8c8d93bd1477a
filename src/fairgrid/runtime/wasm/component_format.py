"""Whether a file is a component that can run here: read from its own bytes, without compiling it.

What is wrong with it is said in fixed words, because a worker contributes them as the job's agreed error.
"""

from __future__ import annotations

import re
from typing import Final

from fairgrid.runtime.wasm.module_format import MAX_MODULE_BYTES, Reader

__all__ = ["INTERFACES", "RUN", "component_fault", "split_version"]

RUN: Final = "wasi:cli/run"
"""What a command exports: an interface with one function ``run``."""

INTERFACES: Final = frozenset(
    f"wasi:{package}/{name}"
    for package, names in {
        "io": ("error", "poll", "streams"),
        "clocks": ("monotonic-clock", "wall-clock"),
        "random": ("insecure", "insecure-seed", "random"),
        "cli": (
            *("environment", "exit", "stderr", "stdin", "stdout", "terminal-input", "terminal-output"),
            *("terminal-stderr", "terminal-stdin", "terminal-stdout"),
        ),
        "filesystem": ("preopens", "types"),
        "sockets": (
            *("instance-network", "ip-name-lookup", "network", "tcp", "tcp-create-socket"),
            *("udp", "udp-create-socket"),
        ),
    }.items()
    for name in names
)
"""What there is of WASI preview 2; sockets are there and can never be made."""

_COMPONENT: Final = b"\0asm\x0d\0\1\0"
_IMPORT, _EXPORT = 10, 11
_INSTANCE: Final = 5
_NO_COMPONENT: Final = "it is not a valid WebAssembly component"
_VERSION: Final = re.compile(r"^(.+)@0\.2\.\d+$")


def component_fault(wasm: bytes) -> str | None:
    """Why these bytes are no command of WASI preview 2, for people; None if they are one.

    The bytes need not be valid: the engine is to be asked about that.
    """
    if len(wasm) > MAX_MODULE_BYTES:
        return f"it has more than {MAX_MODULE_BYTES} bytes"
    if wasm[:4] != _COMPONENT[:4]:
        return "it is not WebAssembly"
    if wasm[:8] != _COMPONENT:
        return "it is not a component: a core module runs in wasmtime-49/wasi/deterministic"
    try:
        imports, exports = _names_of(wasm)
    except (IndexError, ValueError):
        return _NO_COMPONENT
    for name, kind in imports:
        if not name.isprintable() or len(name) > 200:
            return "it asks for something whose name cannot be shown"
        if kind != _INSTANCE or split_version(name)[0] not in INTERFACES:
            return f"it asks for {name}, which is not in WASI preview 2 as it is here"
    if not any(split_version(name)[0] == RUN for name in exports):
        return f"it does not export {RUN}@0.2: it is a library, not a command"
    return None


def split_version(name: str) -> tuple[str, str]:
    """An interface's name without its version 0.2.x, and the whole name; another version stays part of the name."""
    found = _VERSION.match(name)
    return (found[1] if found is not None else name), name


def _names_of(wasm: bytes) -> tuple[list[tuple[str, int]], list[str]]:
    """Names and kinds of the imports, and names of the exports, of the outermost component.

    Raises:
        IndexError, ValueError: the bytes end too early or are none.
    """
    imports: list[tuple[str, int]] = []
    exports: list[str] = []
    reader = Reader(wasm, len(_COMPONENT), len(wasm))
    while reader.left():
        section = reader.byte()
        body = reader.part(reader.number())
        if section == _IMPORT:
            for _ in range(body.number()):
                imports.append((_name(body), body.byte()))
                if imports[-1][1] != _INSTANCE:
                    # It is refused for this one, whatever comes after it.
                    break
                body.number()
        elif section == _EXPORT:
            for _ in range(body.number()):
                exports.append(_name(body))
                if body.byte() == 0:
                    body.byte()
                body.number()
                if body.byte():
                    # An export with a type of its own; what that says is the engine's to check.
                    if body.byte() == 0:
                        body.byte()
                    body.number()
    return imports, exports


def _name(reader: Reader) -> str:
    if reader.byte() > 1:
        raise ValueError("a name of an unknown form")
    return reader.text()
