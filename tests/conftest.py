"""Fixtures that every room may use: a real local chain."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from fairgrid.localnet.anvil import AnvilOptions, AnvilProcess, ensure_anvil, start_anvil
from fairgrid.localnet.processes import Guardian
from tests.postgres import PostgresServer, running_postgres
from tests.suites import suite_table

# How long an example takes says nothing on a machine that others share; a test's time limit is pytest's.
settings.register_profile("fairgrid", deadline=None)
settings.load_profile("fairgrid")

# Where bytecode may not be written, as in many containers, each of the thousands of processes that tests start would
# compile hundreds of modules anew, and pytest every test file.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Tests make many objects and few cycles: looked for rarely, they cost a fifth less processor time.
gc.set_threshold(100_000, 50, 100)


@pytest.fixture(scope="session")
def anvil_binary() -> Path:
    """The anvil binary, fetched on first use."""
    return ensure_anvil()


@pytest.fixture(scope="session")
def guardian() -> Iterator[Guardian]:
    """Ends what tests started, even when the test run is killed."""
    watcher = Guardian()
    yield watcher
    watcher.close()


def _started(options: AnvilOptions, binary: Path, guardian: Guardian) -> AnvilProcess:
    """Started in a thread, so that a test's running event loop is not in the way."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(start_anvil(options, binary=binary, guardian=guardian))).result()


@pytest.fixture
def anvil(anvil_binary: Path, guardian: Guardian, tmp_path: Path) -> Iterator[AnvilProcess]:
    """A fresh chain that mines a block for each transaction; its ten accounts are those of `dev_signer`."""
    options = AnvilOptions(block_time=None, log=tmp_path / "anvil.log")
    chain = _started(options, anvil_binary, guardian)
    yield chain
    chain.stop_now()


@pytest.fixture(scope="module")
def module_anvil(
    anvil_binary: Path, guardian: Guardian, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AnvilProcess]:
    """Like `anvil`, one for all tests of a module."""
    options = AnvilOptions(block_time=None, log=tmp_path_factory.mktemp("anvil") / "anvil.log")
    chain = _started(options, anvil_binary, guardian)
    yield chain
    chain.stop_now()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL server."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """An empty PostgreSQL database."""
    with postgres.fresh_database() as url:
        yield url


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many cases of each level and engine ran."""
    reports = [
        report
        for kind in ("passed", "failed", "skipped")
        for report in terminalreporter.stats.get(kind, [])
        if report.when == "call" or report.skipped
    ]
    lines = suite_table(reports)
    if lines:
        terminalreporter.section("cases by isolation level and engine")
        for line in lines:
            terminalreporter.line(line)
