from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest

from bench import scheduler, scheduler_flat
from fairgrid.pool.records.store import PoolStore


def _rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_core_takes_every_task_through_its_whole_life_and_says_which_peers_are_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scheduler.main(["core", "--tasks", "30", "--database", "sqlite"])
    rows = _rows(capsys)
    assert [row["tasks"] for row in rows if "perSecond" in row] == [30, 30]
    assert [str(row["name"]) for row in rows if str(row.get("reason", "")).startswith("skipped")] == [
        "ray",
        "dask",
        "parsl",
    ]


def test_a_peer_that_does_not_run_is_skipped_with_its_name() -> None:
    row = scheduler.peer("ray", "/no/such/python", 10)
    assert "skipped: ray" in row["reason"]


def test_a_peer_that_is_not_installed_is_skipped_with_what_its_python_said() -> None:
    row = scheduler.peer("parsl", sys.executable, 10)
    assert "skipped: parsl" in row["reason"]
    assert "No module named 'parsl'" in row["reason"]


def test_a_bag_is_accepted_before_its_tasks_begin(capsys: pytest.CaptureFixture[str]) -> None:
    scheduler.main(["bag", "--bag", "5000", "--database", "sqlite"])
    (row,) = _rows(capsys)[1:]
    assert row["name"] == "bag of 5000, sqlite"
    assert {"acceptedSeconds", "firstOutSeconds"} <= set(row)


def test_every_task_of_the_latency_run_is_dispatched(capsys: pytest.CaptureFixture[str]) -> None:
    scheduler.main(["latency", "--idle", "50", "--rate", "40", "--seconds", "0.5", "--database", "sqlite"])
    assert _rows(capsys)[1]["tasks"] == 20


def test_databases_are_filled_as_far_as_was_asked_and_measured_by_turns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def round_of(url: Path, name: str, tasks: int) -> dict[str, float]:
        with contextlib.closing(PoolStore.open(url)) as store, store.engine.connect() as connection:
            seen.append(
                (
                    connection.exec_driver_sql("SELECT count(*) FROM pool_task").scalar_one(),
                    connection.exec_driver_sql("SELECT count(DISTINCT task_id) FROM pool_effect").scalar_one(),
                )
            )
        return scheduler_flat.measured_once(url, name, tasks)

    monkeypatch.setattr(scheduler_flat, "alone", round_of)
    scheduler.main(["flat", "--stored", "600", "700", "--tasks", "20", "--rounds", "2", "--database", "sqlite"])
    rows = _rows(capsys)[1:]
    assert [row["name"] for row in rows] == ["600 tasks stored, sqlite", "700 tasks stored, sqlite"]
    assert seen == [(600, 600), (700, 700)] * 2, "a round leaves nothing for the next"
    assert [row["rounds"] for row in rows] == [2, 2]
    assert rows[0]["cpuRatio"] == 1.0


def test_a_round_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    taken = scheduler_flat.alone(tmp_path / "pool.db", "round", 20)
    assert taken["perSecond"] > 0
    assert taken["cpuMicroseconds"] > 0


def test_idle_workers_enrol_over_sockets_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    scheduler.main(["idle", "--idle", "3"])
    row = _rows(capsys)[1]
    assert str(row["name"]).startswith("3 idle workers")
