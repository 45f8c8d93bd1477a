"""Lies on purpose, for demonstrations and tests (decision 50): only on a throw-away chain."""

from __future__ import annotations

import stat
from enum import StrEnum
from pathlib import Path
from typing import Final

from fairgrid.errors import UsageError

__all__ = ["LOCAL_CHAIN_ID", "Misbehaviour", "allowed", "flip_byte", "flip_last_byte"]

LOCAL_CHAIN_ID: Final = 31337


class Misbehaviour(StrEnum):
    """How a worker lies."""

    FLIP_BYTE = "flip-byte"
    """Changes one byte of its output before the digest, and stands by it from then on."""
    UPLOAD_OTHER = "upload-other"
    """Contributes and reveals honestly, then uploads something else."""
    NO_REVEAL = "no-reveal"
    """Contributes honestly and never reveals."""


def allowed(misbehaviour: Misbehaviour | None, chain_id: int) -> Misbehaviour | None:
    """``misbehaviour`` itself.

    Raises:
        UsageError: the chain is a real one.
    """
    if misbehaviour is not None and chain_id != LOCAL_CHAIN_ID:
        raise UsageError(
            f"--misbehave works on a local test chain ({LOCAL_CHAIN_ID}) only, not on chain {chain_id}: "
            f"a lie costs the stake. Leave the option out."
        )
    return misbehaviour


def flip_byte(folder: Path) -> Path:
    """Change the first byte of the first non-empty file in ``folder`` or below, in the order of names; gives its path.

    If all are empty, the first one gets a byte; if there are none, a file ``stdout.txt`` is made.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    target = next((file for file in files if file.stat().st_size), files[0] if files else folder / "stdout.txt")
    if target.exists():
        target.chmod(target.stat().st_mode | stat.S_IWUSR)
    content = bytearray(target.read_bytes() if target.exists() else b"")
    if content:
        content[0] ^= 0x01
    else:
        content = bytearray(b"!")
    target.write_bytes(content)
    return target


def flip_last_byte(data: bytes) -> bytes:
    """``data`` with its last byte changed; one byte if it was empty."""
    return data[:-1] + bytes([data[-1] ^ 0x01]) if data else b"\x01"
