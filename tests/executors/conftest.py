"""A stage for executors, and executors on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fairgrid.executors.executor import Executor
from tests.executors.simple_calls import NEVER
from tests.executors.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Runs on this machine, kept in a scratch folder."""
    return Stage(tmp_path)


@pytest.fixture
def ex(stage: Stage) -> Iterator[Executor]:
    """An executor on that stage."""
    with stage.executor() as made:
        yield made


@pytest.fixture
def still(stage: Stage) -> Iterator[Executor]:
    """An executor that gathers calls for ever."""
    made = stage.executor(timing=NEVER)
    yield made
    made.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """One executor for all tests of a module."""
    with Stage(tmp_path_factory.mktemp("stage")).executor() as made:
        yield made
