"""Lists of bytes between Python and a component at the speed of memory.

The engine's Python package moves such a list one object at a time, a thousand times slower than the work that the
component pays for. Everything else is left to it.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

from wasmtime import _ffi as ffi
from wasmtime.component import ListType

__all__ = ["move_bytes_fast"]

_SIZE: Final = ctypes.sizeof(ffi.wasmtime_component_val_t)
_VALUE_AT: Final = ffi.wasmtime_component_val_t.of.offset
_KIND: Final = bytes([ffi.WASMTIME_COMPONENT_U8.value])
_plain_to_c: Final = ListType.convert_to_c
_plain_from_c: Final = ListType.convert_from_c


def move_bytes_fast() -> None:
    """Do so from now on, in this process. Calling it again changes nothing."""
    ListType.convert_to_c = _to_c
    ListType.convert_from_c = _from_c


def _to_c(self: ListType, store: Any, value: Any, pointer: Any) -> None:
    if not isinstance(value, bytes) or not self._is_bytes():
        _plain_to_c(self, store, value, pointer)
        return
    made = bytearray(len(value) * _SIZE)
    made[::_SIZE] = _KIND * len(value)
    made[_VALUE_AT::_SIZE] = value
    raw = ffi.wasmtime_component_vallist_t()
    ffi.wasmtime_component_vallist_new_uninit(raw, len(value))
    if made:
        ctypes.memmove(raw.data, (ctypes.c_char * len(made)).from_buffer(made), len(made))
    pointer.contents.kind = ffi.WASMTIME_COMPONENT_LIST
    pointer.contents.of.list = raw


def _from_c(self: ListType, value: Any) -> Any:
    if not self._is_bytes():
        return _plain_from_c(self, value)
    raw = value.of.list
    try:
        return ctypes.string_at(raw.data, raw.size * _SIZE)[_VALUE_AT::_SIZE] if raw.size else b""
    finally:
        ffi.wasmtime_component_vallist_delete(ctypes.byref(raw))
