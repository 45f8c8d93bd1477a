"""Fuel and memory of a store, asked of the engine's library with addresses as plain numbers.

The engine's Python package makes several objects for each such question, and every system call of a guest asks four.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

import wasmtime
from wasmtime import _ffi as ffi

__all__ = ["FuelExhausted", "FuelMeter", "MemoryPlace"]

_POINTER: Final = ctypes.c_void_p
_get_fuel: Final = ctypes.CFUNCTYPE(_POINTER, _POINTER, _POINTER)(("wasmtime_context_get_fuel", ffi.dll))
_set_fuel: Final = ctypes.CFUNCTYPE(_POINTER, _POINTER, ctypes.c_uint64)(("wasmtime_context_set_fuel", ffi.dll))
_memory_data: Final = ctypes.CFUNCTYPE(_POINTER, _POINTER, _POINTER)(("wasmtime_memory_data", ffi.dll))
_memory_size: Final = ctypes.CFUNCTYPE(ctypes.c_size_t, _POINTER, _POINTER)(("wasmtime_memory_data_size", ffi.dll))


class FuelExhausted(Exception):
    """Something cost more than was left."""


class FuelMeter:
    """The fuel of a store whose engine is metered."""

    def __init__(self, store: wasmtime.Store) -> None:
        self._store = store
        self._context = _context_of(store)
        self._left = ctypes.c_uint64()
        self._left_at = ctypes.addressof(self._left)

    def left(self) -> int:
        """What is left."""
        _check(_get_fuel(self._context, self._left_at))
        return self._left.value

    def set(self, fuel: int) -> None:
        """From now on ``fuel`` is left."""
        _check(_set_fuel(self._context, fuel))

    def charge(self, cost: int) -> None:
        """Take ``cost`` away.

        Raises:
            FuelExhausted: less was left; now nothing is.
        """
        # Said again and not through `left` and `set`: every system call of every guest passes here.
        if error := _get_fuel(self._context, self._left_at):
            _check(error)
        left = self._left.value
        if cost > left:
            self.set(0)
            raise FuelExhausted
        if error := _set_fuel(self._context, left - cost):
            _check(error)


class MemoryPlace:
    """Where a guest's memory lies in this process just now."""

    def __init__(self, store: wasmtime.Store, memory: wasmtime.Memory) -> None:
        self._store, self._memory = store, memory
        self._context = _context_of(store)
        self._memory_at = ctypes.addressof(memory._memory)

    def now(self) -> tuple[int, int]:
        """Its address and its length in bytes: they hold until the guest runs again."""
        return _memory_data(self._context, self._memory_at) or 0, _memory_size(self._context, self._memory_at)


def _context_of(store: wasmtime.Store) -> int:
    return ctypes.cast(store._context(), _POINTER).value or 0


def _check(error: Any) -> None:
    if error:
        raise wasmtime.WasmtimeError._from_ptr(ctypes.cast(error, ctypes.POINTER(ffi.wasmtime_error_t)))
