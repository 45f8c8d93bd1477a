from __future__ import annotations

import json

import pytest

from bench import scheduler


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


def test_a_bag_is_accepted_before_its_tasks_begin(capsys: pytest.CaptureFixture[str]) -> None:
    scheduler.main(["bag", "--bag", "5000", "--database", "sqlite"])
    (row,) = _rows(capsys)[1:]
    assert row["name"] == "bag of 5000, sqlite"
    assert {"acceptedSeconds", "firstOutSeconds"} <= set(row)


def test_every_task_of_the_latency_run_is_dispatched(capsys: pytest.CaptureFixture[str]) -> None:
    scheduler.main(["latency", "--idle", "50", "--rate", "40", "--seconds", "0.5", "--database", "sqlite"])
    assert _rows(capsys)[1]["tasks"] == 20


def test_the_database_is_filled_as_far_as_was_asked(capsys: pytest.CaptureFixture[str]) -> None:
    scheduler.main(["flat", "--stored", "600", "700", "--tasks", "20", "--database", "sqlite"])
    assert [row["name"] for row in _rows(capsys)[1:]] == ["600 tasks stored, sqlite", "700 tasks stored, sqlite"]


def test_idle_workers_enrol_over_sockets_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    scheduler.main(["idle", "--idle", "3"])
    row = _rows(capsys)[1]
    assert str(row["name"]).startswith("3 idle workers")
