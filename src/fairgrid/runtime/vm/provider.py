"""Virtual machines as a runtime of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Sandbox
from fairgrid.runtime.levels import Probe, RuntimeInfo
from fairgrid.runtime.vm.qemu import Accelerator, find_qemu
from fairgrid.runtime.vm.sandbox import VmSandbox
from fairgrid.runtime.vm.self_test import find_accelerator

__all__ = ["QemuProvider", "provider"]

_REMEDY: Final = "Install QEMU: apt install qemu-system-x86 (or `make system-deps`)."


def provider(info: RuntimeInfo) -> QemuProvider:
    """The provider of a runtime of this level."""
    return QemuProvider(info)


@dataclass(slots=True)
class QemuProvider:
    """QEMU with the accelerator that its self-test booted with."""

    info: RuntimeInfo
    accelerator: Accelerator = "tcg"
    """What the probe found, or emulation."""

    async def probe(self) -> Probe:
        """Boot a guest of ten bytes, under KVM if that runs here, else emulated."""
        found = await find_accelerator()
        if not found.accelerator:
            return Probe(False, detail=found.detail, remedy=_REMEDY if find_qemu() is None else "")
        self.accelerator = found.accelerator
        remedy = "" if found.accelerator == "kvm" else "KVM on this machine would make it about ten times faster."
        return Probe(True, found.start_ms, f"{found.detail}; an own kernel, no network card", remedy)

    def sandbox(self, *, ready: int = 0) -> Sandbox:
        """Its sandbox; emulated unless the probe found better.

        Raises:
            HostFailure: there is no QEMU here.
        """
        qemu = find_qemu()
        if qemu is None:
            raise HostFailure(f"There is no qemu-system-x86_64 on this machine. {_REMEDY}")
        return VmSandbox(qemu, self.accelerator, self.info.runtime_id)
