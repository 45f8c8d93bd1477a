"""Two processes with one key: the second says so and ends; a killed one leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from fairgrid.pool.processes.key_lock import KeyInUse, key_lock
from fairgrid.seams.database import open_engine
from tests.pool.grid import Grid

_SENDER = "0x" + "5e" * 20
_HOLDER = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from sqlalchemy import create_engine
    from fairgrid.pool.processes.key_lock import key_lock
    with key_lock(create_engine("sqlite://"), Path(sys.argv[1]), sys.argv[2]):
        print("held", flush=True)
        time.sleep(60)
""")


def _holder(folder: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(folder), _SENDER], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_process_is_told_who_has_the_key_and_gets_it_when_that_one_is_killed(tmp_path: Path) -> None:
    engine = create_engine("sqlite://")
    holder = _holder(tmp_path)
    try:
        with pytest.raises(KeyInUse, match=rf"pid {holder.pid}\) sends with the key {_SENDER}") as caught:
            key_lock(engine, tmp_path, _SENDER, patience_s=0.2).__enter__()
        assert caught.value.exit_code == 4
        with key_lock(engine, tmp_path, "0x" + "6f" * 20, patience_s=0):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with key_lock(engine, tmp_path, _SENDER, patience_s=5):
        pass


def test_on_postgresql_the_lock_counts_for_every_connection_to_the_database(postgres_url: str, tmp_path: Path) -> None:
    here, elsewhere = open_engine(postgres_url), open_engine(postgres_url)
    try:
        with key_lock(here, tmp_path, _SENDER), pytest.raises(KeyInUse, match="on this database"):
            key_lock(elsewhere, tmp_path / "other", _SENDER, patience_s=0.2).__enter__()
        with key_lock(elsewhere, tmp_path, _SENDER, patience_s=0):
            pass
    finally:
        here.dispose()
        elsewhere.dispose()


async def test_a_pool_whose_key_is_in_use_does_not_begin(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    engine = create_engine("sqlite://")
    with key_lock(engine, tmp_path, grid.scheduler.address), pytest.raises(KeyInUse):
        async with grid.pool():
            pass
    async with grid.pool():
        await grid.task(4)
