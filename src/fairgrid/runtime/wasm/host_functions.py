"""The functions that a module imports, made before it runs and without an object for each value that passes.

The engine's Python package makes such objects, which takes several times as long as most system calls, and an
interpreter makes hundreds of calls before a script's first line.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import wasmtime
from wasmtime import _ffi as ffi

__all__ = ["Answer", "HostFunctions"]

Answer: TypeAlias = Callable[..., int | None]
"""Gets the parameters as unsigned integers; returns the result, None where there is none. An exception ends the
module."""

_MASKS: Final = {"i32": 0xFFFF_FFFF, "i64": 0xFFFF_FFFF_FFFF_FFFF}
_WORDS: Final = ctypes.sizeof(ffi.wasmtime_val_raw_t) // ctypes.sizeof(ctypes.c_uint64)
"""A value lies in the first of so many words of 64 bits, a small one in its lower half."""
# Addresses as numbers: a pointer object for each would be made at every call.
_CALLBACK: Final = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_NOBODY: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)()
_TRAP_WORDS: Final = b"the host ended the call"


class HostFunctions:
    """What one module imports; who answers is said when it runs. Has to outlive every call of the module."""

    def __init__(self, engine: wasmtime.Engine, module: wasmtime.Module) -> None:
        self._module = module
        self._linker = wasmtime.Linker(engine)
        # Go's programs import some calls more than once.
        self._linker.allow_shadowing = True
        self._callbacks: list[Any] = []
        self._answers: list[Answer] = []
        self._failure: BaseException | None = None
        self._names: list[tuple[str, str]] = []
        for wanted in module.imports:
            self._names.append((wanted.module, wanted.name or ""))
            if isinstance(wanted.type, wasmtime.FuncType):
                self._define(len(self._names) - 1, wanted.type)

    @contextlib.contextmanager
    def answered_by(self, find: Callable[[str, str], Answer]) -> Iterator[None]:
        """Let the functions that ``find`` gives for a module's name and its function's name answer in this context.

        An exception of theirs leaves it as it was raised, in place of the engine's own.
        """
        self._answers, self._failure = [find(*name) for name in self._names], None
        try:
            yield
        except (wasmtime.Trap, wasmtime.WasmtimeError):
            failure, self._failure = self._failure, None
            if failure is None:
                raise
            raise failure from None

    def instantiate(self, store: wasmtime.Store) -> wasmtime.Instance:
        """A new instance of the module, whose start function has run."""
        return self._linker.instantiate(store, self._module)

    def _define(self, position: int, kind: wasmtime.FuncType) -> None:
        masks = [_MASKS[str(parameter)] for parameter in kind.params]
        # Parameters and results lie in the same place.
        place = ctypes.c_uint64 * (_WORDS * max(len(masks), len(kind.results), 1))
        inputs = slice(0, _WORDS * len(masks), _WORDS)

        def called(_environment: int, _caller: int, values_at: int, _count: int) -> int:
            try:
                values = place.from_address(values_at)
                answer = self._answers[position]
                result = answer(*[value & mask for value, mask in zip(values[inputs], masks, strict=True)])
                if result is not None:
                    values[0] = result
            except BaseException as error:
                self._failure = error
                trap = ffi.wasmtime_trap_new(_TRAP_WORDS, len(_TRAP_WORDS))
                return ctypes.cast(trap, ctypes.c_void_p).value or 0
            return 0

        callback = _CALLBACK(called)
        self._callbacks.append(callback)
        names = [name.encode() for name in self._names[position]]
        error = ffi.wasmtime_linker_define_func_unchecked(
            self._linker.ptr(),
            *(part for name in names for part in (ctypes.create_string_buffer(name), len(name))),
            kind.ptr(),
            ctypes.cast(callback, ffi.wasmtime_func_unchecked_callback_t),
            None,
            _NOBODY,
        )
        if error:
            raise wasmtime.WasmtimeError._from_ptr(error)
