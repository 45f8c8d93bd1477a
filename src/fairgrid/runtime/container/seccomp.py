"""The system calls that a container may make: the list of the level ``process``, in the form that engines read.

The engines' own lists are made for people's services: they let a job make namespaces on some kernels, and sockets that
no network namespace holds (AF_VSOCK reaches the host of a virtual machine).
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any, Final

from fairgrid.runtime.process.system_calls import ALLOWED, REFUSED_AS_UNKNOWN

__all__ = ["seccomp_profile", "write_profile"]

_NEW_NAMESPACES: Final = 0x7E020000
_FAMILIES: Final = (1, 2, 10)
"""AF_UNIX, AF_INET, AF_INET6."""
_TERMINAL_AND_FILES: Final = (
    *(0x5401, 0x5402, 0x5403, 0x5404, 0x540F, 0x5410, 0x5411, 0x5413),  # TCGETS … TIOCGWINSZ, without TIOCSTI
    *(0x541B, 0x5421, 0x5429, 0x5450, 0x5451, 0x5452),  # FIONREAD, FIONBIO, TIOCGSID, FIONCLEX, FIOCLEX, FIOASYNC
)
_FILE_TYPES: Final = 0xF000
_PLAIN_OR_FIFO: Final = (0, 0x1000, 0x8000)


def seccomp_profile(*, has_gpus: bool = False) -> dict[str, Any]:
    """The profile; graphics cards are driven by requests to devices that no list could name."""
    rules = [_rule(ALLOWED), *(_rule(["socket"], _equal(0, family)) for family in _FAMILIES)]
    rules += [_rule(["clone"], _masked(0, _NEW_NAMESPACES, 0))]
    rules += [_rule(["mknod"], _masked(1, _FILE_TYPES, kind)) for kind in _PLAIN_OR_FIFO]
    rules += [_rule(["mknodat"], _masked(2, _FILE_TYPES, kind)) for kind in _PLAIN_OR_FIFO]
    rules += [_rule(["personality"], _equal(0, value)) for value in (0, 0xFFFFFFFF)]
    if has_gpus:
        rules.append(_rule(["ioctl"]))
    else:
        rules += [_rule(["ioctl"], _equal(1, request)) for request in _TERMINAL_AND_FILES]
    unknown = {"names": sorted(REFUSED_AS_UNKNOWN), "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [*rules, unknown],
    }


def write_profile(folder: Path, *, has_gpus: bool = False) -> Path:
    """The profile as a file."""
    path = folder / f"seccomp{'-gpus' if has_gpus else ''}.json"
    text = json.dumps(seccomp_profile(has_gpus=has_gpus))
    if not path.exists() or path.read_text() != text:
        new = path.with_name(f"{path.name}.{os.getpid()}")
        new.write_text(text)
        new.replace(path)
    return path


def _rule(names: Any, *arguments: dict[str, Any]) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": sorted(names), "action": "SCMP_ACT_ALLOW"}
    return rule | {"args": list(arguments)} if arguments else rule


def _equal(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def _masked(index: int, mask: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
