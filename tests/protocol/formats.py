"""The committed vectors of manifest, digest, seal and archive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["VECTORS", "write_files"]

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).with_name("vectors") / "result-formats.json").read_text(encoding="utf-8")
)


def write_files(folder: Path, files: dict[str, str]) -> Path:
    """Write text files below ``folder``; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder
