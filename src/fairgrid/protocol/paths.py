"""Relative paths that may appear in manifests, trees and archives."""

from __future__ import annotations

import os

__all__ = ["MAX_PATH_BYTES", "path_fault"]

MAX_PATH_BYTES = 1024
_MAX_PART_BYTES = 255


def path_fault(path: str) -> str | None:
    """Why ``path`` may not name a file of a job, or None if it may.

    Good paths are relative, use ``/``, have no empty, ``.`` or ``..`` part, no control characters up to U+001F, are
    valid UTF-8, at most 1,024 bytes long and 255 a part, and mean the same place on this machine.
    """
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    if not path:
        return "it is empty"
    if len(encoded) > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    if path.startswith("/"):
        return "it is absolute"
    if any(character < " " for character in path):
        return "it holds a control character"
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return f"it holds an empty part, '.' or '..' ({part!r})"
        if len(part.encode()) > _MAX_PART_BYTES:
            return f"a part is longer than {_MAX_PART_BYTES} bytes"
        if os.path.basename(part) != part or os.path.splitdrive(part)[0]:
            return f"the part {part!r} is not a plain name on this machine"
    return None
