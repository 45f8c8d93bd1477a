"""Where a local network keeps its state (decision 54)."""

from __future__ import annotations

from pathlib import Path

from fairgrid.chain.network_names import NetworkPlace
from fairgrid.seams.config_file import local_directory

__all__ = ["default_directory", "key_folder", "own_key_folder", "requester_folder"]


def default_directory() -> Path:
    """``~/.fairgrid/local``, or what ``$FAIRGRID_DIR`` says."""
    return local_directory()


def key_folder(directory: Path, role: str) -> Path:
    """Folder of the key of a role (``requester``, ``pool-owner``, …)."""
    return directory / "keys" / role


def requester_folder(directory: Path) -> Path:
    """Folder of the key that `fairgrid run` signs with."""
    return key_folder(directory, "requester")


def own_key_folder(place: NetworkPlace) -> Path | None:
    """Folder of the requester's key that a network has of its own; None for one of the config file: a wallet pays."""
    return None if place.named else requester_folder(place.folder)
