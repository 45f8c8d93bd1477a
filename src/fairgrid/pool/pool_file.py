"""`pool.toml`: what one process of a pool is started with, and the pool's policy."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

from fairgrid.errors import UsageError

__all__ = ["POOL_FILE", "policy_keys"]

POOL_FILE: Final = "pool.toml"


def policy_keys(path: Path) -> dict[str, Any]:
    """The keys of a policy file, or of the ``[policy]`` of a `pool.toml`; they are not checked.

    Raises:
        UsageError: it cannot be read, or is not TOML.
    """
    document = _document(path)
    keys = document.get("policy", {}) if "start" in document else document
    if not isinstance(keys, dict):
        raise UsageError(f"In {path}, policy must be a table: write [policy] above its keys.")
    return keys


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}. `fairgrid pool init` writes a pool.toml.") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error}). Mend it; it is TOML.") from error
