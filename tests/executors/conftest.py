"""A stage for executors."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.executors.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Runs on this machine, kept in a scratch folder."""
    return Stage(tmp_path)
