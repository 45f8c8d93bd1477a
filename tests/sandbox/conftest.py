"""The attacks, compiled once, and the levels that take part."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import cast

import pytest

from tests.needs import need
from tests.sandbox.attacks import LEVELS, SECRET, Bait, LevelUnderTest, baited, compile_attacks


@pytest.fixture(scope="session")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The attacks as one static program."""
    compiled = compile_attacks(tmp_path_factory.mktemp("attacks"))
    need(compiled, "the escape suite needs a C compiler (cc)")
    assert compiled is not None
    return compiled


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.timeout(400)) for name in LEVELS])
def level(request: pytest.FixtureRequest) -> LevelUnderTest:
    """Each level that takes part."""
    return cast(LevelUnderTest, import_module(f"tests.sandbox.level_{request.param}").level())


@pytest.fixture
def bait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bait]:
    """Something to steal, and somebody to reach."""
    monkeypatch.setenv("FAIRGRID_TEST_SECRET", SECRET)
    with baited(tmp_path) as bait:
        yield bait
