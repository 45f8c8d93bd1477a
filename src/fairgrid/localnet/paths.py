"""Where a local network keeps its state (decision 54)."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["default_directory", "key_folder", "requester_folder"]


def default_directory() -> Path:
    """``~/.fairgrid/local``, or what ``$FAIRGRID_DIR`` says."""
    return Path(os.environ.get("FAIRGRID_DIR") or Path.home() / ".fairgrid" / "local")


def key_folder(directory: Path, role: str) -> Path:
    """Folder of the key of a role (``requester``, ``pool-owner``, …)."""
    return directory / "keys" / role


def requester_folder(directory: Path) -> Path:
    """Folder of the key that `fairgrid run` signs with."""
    return key_folder(directory, "requester")
