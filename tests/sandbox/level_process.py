"""The level ``process`` in the escape suite."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from fairgrid.errors import FairgridError
from fairgrid.runtime.interface import Sandbox
from fairgrid.runtime.process.provider import provider
from fairgrid.runtime.process.runtimes import PROCESS_RUNTIMES
from tests.needs import need
from tests.sandbox.attacks import LevelUnderTest

__all__ = ["level"]


def level() -> LevelUnderTest:
    """Native programs of this machine."""
    return LevelUnderTest("process", _sandbox, _program)


def _sandbox() -> Sandbox:
    found = [info for info in PROCESS_RUNTIMES if info.runtime_id.endswith(platform.machine())]
    need(found, f"native programs cannot run on {platform.machine()}")
    try:
        return provider(found[0]).sandbox()
    except FairgridError as error:
        need(False, str(error))
        raise


def _program(executable: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    return Path(shutil.copyfile(executable, folder / "attack.elf"))
