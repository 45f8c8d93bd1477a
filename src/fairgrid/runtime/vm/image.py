"""What a virtual image is: a disk that boots by itself, or a small description that names its kernel and its disks.

The parts are inputs of the job like any other, so each travels by CID and is fetched once. Nothing that a part says
is believed before it was looked at here: a disk may name files of the host in its header.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fairgrid.errors import UsageError
from fairgrid.protocol.bounded_json import load_json

__all__ = ["VirtualImage", "disk_fault", "disk_format", "kernel_fault", "parts_beside", "read_image"]

_MAX_DESCRIPTION_BYTES: Final = 16_384
_KEYS: Final = {"fairgrid", "kernel", "initrd", "disk", "append"}
_FORMAT: Final = "vm/1"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", re.ASCII)
_APPEND: Final = re.compile(r"[ -~]{0,1024}", re.ASCII)
_QCOW2: Final = b"QFI\xfb"
_EXTERNAL_DATA: Final = 1 << 2
"""Incompatible feature bit of qcow2: the data lies in another file, which the header names."""
_HEADER_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class VirtualImage:
    """Names of parts, all of them inputs of the job, or the program itself. At least a kernel or a disk."""

    kernel: str = ""
    initrd: str = ""
    disk: str = ""
    append: str = ""
    """Words for the kernel, after those that the machine needs."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that there are."""
        return tuple(name for name in (self.kernel, self.initrd, self.disk) if name)


def read_image(program: Path) -> VirtualImage:
    """What a program of this level says of itself.

    Raises:
        UsageError: it is not a description of an image; the text says what is wrong with it.
    """
    if not program.name.endswith(".json"):
        return VirtualImage(disk=program.name)
    data = program.read_bytes()
    if len(data) > _MAX_DESCRIPTION_BYTES:
        raise UsageError(f"The image description {program.name} has more than {_MAX_DESCRIPTION_BYTES} bytes.")
    try:
        wire: Any = load_json(data)
    except ValueError as error:
        raise UsageError(f"The image description {program.name} is not JSON: {error}.") from error
    if not isinstance(wire, dict) or wire.get("fairgrid") != _FORMAT or not set(wire) <= _KEYS:
        raise UsageError(
            f'The image description {program.name} must be an object with "fairgrid": "{_FORMAT}" and of the keys '
            f"kernel, initrd, disk, append."
        )
    fields = {key: wire.get(key, "") for key in ("kernel", "initrd", "disk", "append")}
    for key, value in fields.items():
        rule = _APPEND if key == "append" else _NAME
        if not isinstance(value, str) or (value and rule.fullmatch(value) is None):
            raise UsageError(f"In the image description {program.name}, {key} is not usable: {value!r}.")
    image = VirtualImage(**fields)
    if not image.kernel and not image.disk:
        raise UsageError(f"The image description {program.name} names neither a kernel nor a disk to boot from.")
    if not image.kernel and (image.initrd or image.append):
        raise UsageError(f"In the image description {program.name}, initrd and append need a kernel.")
    return image


def parts_beside(program: Path) -> tuple[Path, ...]:
    """The files of an image's parts that lie beside its description, for whoever sends it.

    Raises:
        UsageError: the description is wrong.
    """
    if not program.name.endswith(".json"):
        return ()
    found = (program.parent / name for name in read_image(program).parts)
    return tuple(path for path in found if path.is_file())


def kernel_fault(path: Path) -> str | None:
    """Why a file is no Linux kernel that can be booted; None if it is one."""
    with path.open("rb") as file:
        header = file.read(0x206)
    return None if header[0x202:0x206] == b"HdrS" else "it has not the header of a Linux kernel (bzImage)"


def disk_fault(path: Path) -> str | None:
    """Why a disk is not given to a machine; None if it may be. A disk that leans on other files is none of those.

    Bytes of the header: the qcow2 specification.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if not path.name.endswith(".qcow2"):
        return "it says that it is qcow2; give it that ending" if header.startswith(_QCOW2) else None
    if not header.startswith(_QCOW2) or len(header) < 104:
        return "it has not the header of a qcow2 disk"
    (version,) = struct.unpack_from(">I", header, 4)
    if version not in (2, 3):
        return f"it is qcow2 of version {version}"
    (backing,) = struct.unpack_from(">Q", header, 8)
    if backing:
        return "it leans on another file (a backing file); flatten it with `qemu-img convert`"
    if version == 3:
        (incompatible,) = struct.unpack_from(">Q", header, 72)
        if incompatible & _EXTERNAL_DATA:
            return "its data lies in another file; convert it with `qemu-img convert`"
        if incompatible & ~0b11:
            return "it uses features that are not known here"
    return None


def disk_format(path: Path) -> str:
    """``qcow2`` or ``raw``: said by the ending and checked by `disk_fault`, never guessed from the content."""
    return "qcow2" if path.name.endswith(".qcow2") else "raw"
