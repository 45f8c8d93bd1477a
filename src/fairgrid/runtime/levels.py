"""The seam between a runtime and those who use it: what a runtime is, whether it works here, and its sandbox.

A *runtime* is what a manifest names (``wasmtime-49/py312/deterministic``); each belongs to one isolation level. A
level is a room beside this module, with a `RuntimeProvider` for each of its runtimes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import rfc8785

from fairgrid.protocol.app_types import APP_TYPES, Level
from fairgrid.protocol.cid import cid_of
from fairgrid.runtime.interface import Sandbox

__all__ = ["Content", "Probe", "RuntimeInfo", "RuntimeProvider", "described"]


@dataclass(frozen=True, slots=True)
class Content:
    """What the generic app of a runtime names on chain (decision 44): an interpreter, or a description."""

    cid: str
    sha256: str
    """0x-hex."""


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """One runtime: what everybody knows of it, whether or not it works on this machine."""

    runtime_id: str
    """Engine, version and class (decision 13)."""
    level: Level
    summary: str
    """One line for people."""
    program: str
    """What a program for it is, for people: "a Python script"."""
    suffixes: tuple[str, ...]
    """Endings of programs that mean this runtime when nobody names one (``.py``); empty: it must be named."""
    content: Content
    deterministic: bool
    """True: any two machines that run a job in it agree bit for bit, whatever the program does."""
    description: bytes = b""
    """The file behind ``content`` where it is a description and not an interpreter."""

    @property
    def app_type(self) -> str:
        """Type of its generic app on chain."""
        return APP_TYPES[self.level]


@dataclass(frozen=True, slots=True)
class Probe:
    """What a runtime's trial on this machine showed."""

    works: bool
    start_ms: float = 0.0
    """Measured: from the call to the end of a job that does nothing."""
    detail: str = ""
    """What was found (versions, classes of limits), or why it does not work."""
    remedy: str = ""
    """What its owner can do to get it, or to get more of it."""


class RuntimeProvider(Protocol):
    """One runtime on this machine."""

    @property
    def info(self) -> RuntimeInfo: ...

    async def probe(self) -> Probe:
        """Try it: run a job that does nothing, within seconds. Never raises; a machine without it is a `Probe`, too."""
        ...

    def sandbox(self, *, ready: int = 0) -> Sandbox:
        """Its sandbox, which is the caller's to close. Where the level can, it keeps ``ready`` processes started for
        the jobs to come.

        Raises:
            HostFailure: the runtime is not installed here.
        """
        ...


def described(
    runtime_id: str,
    level: Level,
    *,
    summary: str,
    program: str,
    suffixes: tuple[str, ...] = (),
    deterministic: bool = False,
) -> RuntimeInfo:
    """A runtime without an interpreter: its generic app names a small description, the same bytes everywhere."""
    description = rfc8785.dumps({"fairgrid": "runtime/1", "level": level.value, "runtime": runtime_id})
    content = Content(cid_of(description), "0x" + hashlib.sha256(description).hexdigest())
    return RuntimeInfo(runtime_id, level, summary, program, suffixes, content, deterministic, description)
