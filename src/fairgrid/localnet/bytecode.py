"""Python bytecode for the processes of a local network: a dozen of them must not each compile the same 800 modules.

That takes each of them two CPU-seconds, where nothing was compiled at installation, or where
``PYTHONDONTWRITEBYTECODE`` is set, as it often is in containers.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from fairgrid.localnet.download import cache_folder

__all__ = ["bytecode_environment", "compile_once"]

_MODULES = (
    "fairgrid.cli.pool",
    "fairgrid.cli.services",
    "fairgrid.cli.worker",
    "fairgrid.market.app",
    "fairgrid.pool.service",
    "fairgrid.storage.app",
    "fairgrid.worker.setup.opening",
)
_SAMPLES = ("sqlalchemy", "fairgrid")


def bytecode_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child: where ours forbids bytecode beside the sources, it goes to our cache folder."""
    child = dict(environment)
    if child.pop("PYTHONDONTWRITEBYTECODE", ""):
        child.setdefault("PYTHONPYCACHEPREFIX", str(cache_folder() / "bytecode"))
    return child


def compile_once() -> None:
    """Compile the services' modules unless that was done; blocks for seconds. A failure is left to the services."""
    environment = bytecode_environment(os.environ)
    if all(_is_compiled(package, environment.get("PYTHONPYCACHEPREFIX")) for package in _SAMPLES):
        return
    command = [sys.executable, "-c", f"import {', '.join(_MODULES)}"]
    subprocess.run(command, env=environment, check=False, capture_output=True, timeout=120)


def _is_compiled(package: str, prefix: str | None) -> bool:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return False
    source = Path(spec.origin)
    folder = Path(prefix) / source.parent.relative_to(source.anchor) if prefix else source.parent / "__pycache__"
    return (folder / f"{source.stem}.{sys.implementation.cache_tag}.pyc").exists()
