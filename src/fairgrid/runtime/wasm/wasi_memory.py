"""The guest's linear memory, as the host calls see it: every access is checked against its present size."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from fairgrid.runtime.wasm.guest_faults import Errno, GuestError

__all__ = ["GuestMemory"]

_U32, _U64 = ctypes.c_uint32.__ctype_le__, ctypes.c_uint64.__ctype_le__
_MAX_VECTORS = 1024
_MAX_TEXT_BYTES = 1 << 16


class GuestMemory:
    """Reads and writes little-endian values at guest addresses; an address outside is the guest's error FAULT."""

    def __init__(self, locate: Callable[[], tuple[int, int]]) -> None:
        """``locate`` gives the memory's present host address and its length in bytes."""
        self._locate = locate

    def check(self, address: int, length: int) -> None:
        """FAULT unless all of it is inside."""
        self._host_address(address, length)

    def read(self, address: int, length: int) -> bytes:
        """Copy ``length`` bytes out of the guest."""
        return ctypes.string_at(self._host_address(address, length), length)

    def write(self, address: int, data: bytes) -> None:
        """Copy ``data`` into the guest."""
        ctypes.memmove(self._host_address(address, len(data)), data, len(data))

    def write_u32(self, address: int, value: int) -> None:
        """Store an unsigned 32-bit number."""
        _U32.from_address(self._host_address(address, 4)).value = value

    def write_u64(self, address: int, value: int) -> None:
        """Store an unsigned 64-bit number."""
        _U64.from_address(self._host_address(address, 8)).value = value

    def text(self, address: int, length: int) -> str:
        """UTF-8 text of the guest without NUL; other bytes are ILSEQ."""
        if length > _MAX_TEXT_BYTES:
            raise GuestError(Errno.NAMETOOLONG)
        try:
            text = self.read(address, length).decode()
        except UnicodeDecodeError:
            raise GuestError(Errno.ILSEQ) from None
        if "\0" in text:
            raise GuestError(Errno.INVAL)
        return text

    def windows(self, vectors: int, count: int) -> list[memoryview]:
        """Writable views of the ``count`` buffers that the vector list at ``vectors`` names, empty ones left out."""
        if count > _MAX_VECTORS:
            raise GuestError(Errno.INVAL)
        raw = self.read(vectors, 8 * count)
        views = []
        for position in range(count):
            address = int.from_bytes(raw[8 * position : 8 * position + 4], "little")
            length = int.from_bytes(raw[8 * position + 4 : 8 * position + 8], "little")
            if length:
                buffer = (ctypes.c_ubyte * length).from_address(self._host_address(address, length))
                views.append(memoryview(buffer).cast("B"))
        return views

    def _host_address(self, address: int, length: int) -> int:
        base, size = self._locate()
        if address + length > size:
            raise GuestError(Errno.FAULT)
        return base + address
