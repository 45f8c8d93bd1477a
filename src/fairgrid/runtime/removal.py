"""Removing what a job left behind, whatever it left."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from typing import Final

__all__ = ["make_anew", "remove_tree"]

_BY_DESCRIPTOR: Final = {os.open, os.rename, os.rmdir, os.unlink, os.chmod} <= os.supports_dir_fd
_FOLDER: Final = (
    os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
)


def make_anew(folder: Path) -> None:
    """Make an empty folder, whatever was there before. Blocking.

    Raises:
        OSError: it cannot be made, or what was there cannot be removed.
    """
    remove_tree(folder)
    folder.mkdir(parents=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is below it; links are removed and not followed. Blocking; never raises.

    It may be deeper than a path can be long, and its folders may be closed to their owner: `shutil.rmtree` recurses
    and fails on both. What cannot be removed stays.
    """
    if not _BY_DESCRIPTOR:
        with contextlib.suppress(RecursionError):
            shutil.rmtree(folder, ignore_errors=True)
        return
    if folder.is_symlink() or not folder.is_dir():
        return
    try:
        folder.chmod(0o700)
        root = os.open(folder, _FOLDER)
    except OSError:
        return
    try:
        _empty(root)
    finally:
        os.close(root)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _empty(root: int) -> None:
    """Every folder is brought up to the top before it is emptied: nothing is ever more than two levels deep."""
    prefix = f".{secrets.token_hex(8)}-"
    left = _emptied(root, root, prefix, 0)
    brought = len(left)
    while left:
        name = left.pop()
        try:
            descriptor = os.open(name, _FOLDER, dir_fd=root)
        except OSError:
            continue
        try:
            found = _emptied(descriptor, root, prefix, brought)
        finally:
            os.close(descriptor)
        brought += len(found)
        left += found
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=root)


def _emptied(folder: int, root: int, prefix: str, brought: int) -> list[str]:
    """Remove what is no folder; the new names of those folders in ``root``."""
    found: list[str] = []
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            try:
                os.unlink(name, dir_fd=folder)
                continue
            except FileNotFoundError:
                continue
            except OSError:
                # A folder, as a rule: the error's number differs between systems.
                pass
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=folder)
                continue
            with contextlib.suppress(OSError):
                new = f"{prefix}{brought + len(found)}"
                os.chmod(name, 0o700, dir_fd=folder)
                os.rename(name, new, src_dir_fd=folder, dst_dir_fd=root)
                found.append(new)
    return found
