"""QEMU's command line for one job: a PC without a network card, with two disks and two serial lines."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.runtime.interface import Limits
from fairgrid.runtime.vm.image import disk_format

__all__ = ["Accelerator", "MachineFiles", "find_qemu", "machine_command", "self_test_command"]

_CLOCK: Final = "2023-11-14T22:13:20"
"""1,700,000,000 seconds after the epoch: where the clock of every job starts (decision 45)."""
_KERNEL_WORDS: Final = "console=ttyS0 panic=-1 reboot=t quiet mitigations=off random.trust_cpu=on no_timer_check"
"""On a busy host an emulated timer looks broken to the kernel, whose panic would pass for the job's own end: the last
word keeps it from judging."""
_LEAST_MEMORY_BYTES: Final = 64 << 20
_QUIET: Final = ("-nodefaults", "-no-user-config", "-nographic", "-no-reboot", "-monitor", "none")
_LOCKED: Final = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

Accelerator = str
"""``kvm`` or ``tcg``."""


@dataclass(frozen=True, slots=True)
class MachineFiles:
    """Files of one machine, on the host; what an image has not is None."""

    in_disk: Path
    out_disk: Path
    kernel: Path | None = None
    initrd: Path | None = None
    disk: Path | None = None
    append: str = ""


def find_qemu() -> str | None:
    """The emulator of PCs; None without it."""
    return shutil.which("qemu-system-x86_64")


def machine_command(
    qemu: str, accelerator: Accelerator, files: MachineFiles, limits: Limits, *, stdout_fd: int
) -> list[str]:
    """The command that boots the machine. The console comes on standard output, the job's on ``stdout_fd``.

    Paths must hold no comma: QEMU's options would end there. The caller's folders have none.
    """
    memory = max(limits.memory_bytes, _LEAST_MEMORY_BYTES) >> 20
    command = [
        qemu,
        *("-M", "pc,usb=off,vmport=off"),
        *_acceleration(accelerator),
        *("-m", str(memory), "-smp", str(limits.cpus)),
        *_QUIET,
        *("-sandbox", _LOCKED),
        *("-rtc", f"base={_CLOCK},clock=vm"),
        *("-serial", "stdio"),
        *("-chardev", f"file,id=job,path=/dev/fd/{stdout_fd}", "-serial", "chardev:job"),
    ]
    if files.disk is not None:
        # First, so that a disk that boots by itself is the machine's first disk. Writes go to a file that vanishes.
        command += _disk("image", files.disk, disk_format(files.disk), "snapshot=on", boot=files.kernel is None)
    command += _disk("fairgrid-in", files.in_disk, "raw", "readonly=on")
    command += _disk("fairgrid-out", files.out_disk, "raw", "cache=unsafe")
    if files.kernel is not None:
        command += ["-kernel", str(files.kernel), "-append", f"{_KERNEL_WORDS} {files.append}".strip()]
    if files.initrd is not None:
        command += ["-initrd", str(files.initrd)]
    return command


def self_test_command(qemu: str, accelerator: Accelerator, boot_sector: Path) -> list[str]:
    """The command that boots the self-test's sector; it ends with status 33 if the guest ran."""
    return [
        qemu,
        *("-M", "pc,usb=off,vmport=off"),
        *_acceleration(accelerator),
        *("-m", "16"),
        *_QUIET,
        *("-sandbox", _LOCKED),
        *("-device", "isa-debug-exit,iobase=0x501,iosize=0x04"),
        *("-drive", f"file={boot_sector},format=raw,if=ide,snapshot=on"),
    ]


def _acceleration(accelerator: Accelerator) -> Sequence[str]:
    if accelerator == "kvm":
        return ("-accel", "kvm", "-cpu", "host")
    return ("-accel", "tcg,thread=multi", "-cpu", "max")


def _disk(name: str, path: Path, kind: str, option: str, *, boot: bool = False) -> list[str]:
    first = ",bootindex=0" if boot else ""
    return [
        *("-drive", f"id={name},file={os.fspath(path)},format={kind},if=none,{option}"),
        *("-device", f"virtio-blk-pci,drive={name},serial={name}{first}"),
    ]
