"""Does a machine really run here, and with which accelerator? A file ``/dev/kvm`` that opens proves nothing.

A boot sector of ten bytes of code writes to a port by which QEMU ends with a status of its own. Where that status does
not come within seconds, no guest runs.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.runtime.children import end_child, start_child
from fairgrid.runtime.vm.qemu import Accelerator, find_qemu, self_test_command

__all__ = ["Found", "find_accelerator"]

# mov dx, 0x501; mov al, 0x10; out dx, al; hlt; jmp to the hlt
_CODE: Final = bytes.fromhex("ba0105b010eef4ebfd")
_BOOT_SECTOR: Final = _CODE.ljust(510, b"\0") + b"\x55\xaa"
_RAN: Final = 0x10 << 1 | 1
_KVM_S: Final = 3.0
_TCG_S: Final = 30.0
_WORDS: Final = {"kvm": "hardware virtualisation (KVM)", "tcg": "emulation (TCG), about ten times slower"}
_found: dict[str, Found] = {}


@dataclass(frozen=True, slots=True)
class Found:
    """How machines run here. ``accelerator`` is empty if they do not; ``detail`` says what was tried."""

    accelerator: Accelerator
    start_ms: float
    detail: str


async def find_accelerator(qemu: str | None = None) -> Found:
    """Try KVM, then emulation; remembered for the life of the process."""
    qemu = qemu or find_qemu()
    if qemu is None:
        return Found("", 0.0, "there is no qemu-system-x86_64")
    if qemu not in _found:
        _found[qemu] = await _try(qemu)
    return _found[qemu]


async def _try(qemu: str) -> Found:
    said = []
    for accelerator, within_s in (("kvm", _KVM_S), ("tcg", _TCG_S)):
        if accelerator == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            said.append("no /dev/kvm that this user may use")
            continue
        start_ms, fault = await _boot(qemu, accelerator, within_s)
        if not fault:
            return Found(accelerator, start_ms, "; ".join([_WORDS[accelerator], *said]))
        said.append(f"{accelerator}: {fault}")
    return Found("", 0.0, "; ".join(said))


async def _boot(qemu: str, accelerator: Accelerator, within_s: float) -> tuple[float, str]:
    """Milliseconds, and why it did not boot; an empty text if it did."""
    with tempfile.TemporaryDirectory(prefix="fairgrid-vm-") as folder:
        sector = Path(folder) / "boot.img"
        sector.write_bytes(_BOOT_SECTOR)
        started = time.monotonic()
        process = await start_child(
            *self_test_command(qemu, accelerator, sector),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.defpath, "TMPDIR": folder},
        )
        try:
            _, said = await asyncio.wait_for(process.communicate(), within_s)
        except TimeoutError:
            return 0.0, f"a guest of ten bytes did not run within {within_s:.0f} s"
        finally:
            await end_child(process)
        took_ms = (time.monotonic() - started) * 1000
        if process.returncode == _RAN:
            return took_ms, ""
        first = said.decode(errors="replace").strip().partition("\n")[0][:200]
        return took_ms, first or f"QEMU ended with status {process.returncode}"
