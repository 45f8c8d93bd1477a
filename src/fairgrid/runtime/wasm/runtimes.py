"""Runtimes of the level ``wasm``: each interpreter that is pinned by hash is one."""

from __future__ import annotations

from typing import Final

from fairgrid.protocol.app_types import Level
from fairgrid.runtime.levels import Content, RuntimeInfo
from fairgrid.runtime.wasm.interpreters import RUNTIMES

__all__ = ["WASM_RUNTIMES"]

WASM_RUNTIMES: Final[tuple[RuntimeInfo, ...]] = tuple(
    RuntimeInfo(
        runtime_id=spec.runtime_id,
        level=Level.WASM,
        summary=spec.summary,
        program="a Python script",
        suffixes=(".py",),
        content=Content(spec.wasm_cid, "0x" + spec.wasm_sha256),
        deterministic=True,
    )
    for spec in RUNTIMES.values()
)
