"""`fairgrid pool usage`: sums for people, machines and spreadsheets, and clear words for what cannot be read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from fairgrid.cli.csv_text import csv_text
from fairgrid.cli.main import main
from fairgrid.pool.core.accounts import Account, Correction
from fairgrid.pool.records.account_store import AccountKeeper, write_corrections
from fairgrid.pool.records.bulk import written_at_once
from fairgrid.pool.records.store import PoolStore

ALICE, BOB = "0x" + "a1" * 20, "0x" + "b0" * 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pool's folder with two days of accounts."""
    store = PoolStore.open(tmp_path / "pool.db")
    keeper = AccountKeeper()
    with store.engine.begin() as connection:
        keeper.prepare(connection, "2026-01-01", [Account("requester", ALICE, tasks=2, completed=1, nrlc=10)])
        keeper.prepare(
            connection,
            "2026-01-02",
            [
                Account("requester", ALICE, tasks=1, completed=1, cpu_ms=1_500, peak_memory_bytes=1 << 20, nrlc=5),
                Account("requester", BOB, tasks=9, completed=9, nrlc=10**18),
                Account("worker", BOB, tasks=9, completed=9, nrlc=9),
            ],
        )
        with written_at_once(connection) as batch:
            keeper.write(batch)
    store.close()
    return tmp_path


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["pool", "usage", *(str(argument) for argument in arguments)])
    return int(ended.value.code or 0)


def test_json_has_each_subjects_sums_the_highest_amount_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--dir", folder, "--since", "2026-01-01", "--until", "2026-01-31", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["status"], document["by"]) == ("ok", "requester")
    bob, alice = document["accounts"]
    assert (bob["subject"], bob["nrlc"]) == (BOB, 10**18)
    assert (alice["tasks"], alice["completed"], alice["cpu_ms"], alice["nrlc"]) == (3, 2, 1_500, 15)


def test_days_limit_what_is_summed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--dir", folder, "--since", "2026-01-02", "--until", "2026-01-02", "--by", "worker", "--json") == 0
    assert [row["tasks"] for row in json.loads(capsys.readouterr().out)["accounts"]] == [9]
    assert run("--dir", folder, "--since", "2026-02-01", "--until", "2026-02-02") == 0
    assert "Nothing was used from 2026-02-01 to 2026-02-02" in capsys.readouterr().err


def test_csv_has_a_line_for_each_day_and_can_be_read_again(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "usage.csv"
    assert run("--dir", folder, "--since", "2026-01-01", "--until", "2026-01-02", "--daily", "--csv", file) == 0
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [(row["day"], row["subject"], row["nrlc"]) for row in rows] == [
        ("2026-01-01", ALICE, "10"),
        ("2026-01-02", ALICE, "5"),
        ("2026-01-02", BOB, str(10**18)),
    ]


def test_people_see_amounts_in_rlc(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--dir", folder, "--since", "2026-01-01", "--until", "2026-01-02") == 0
    told = capsys.readouterr().err
    assert "1000000000 RLC" in told and "0.000000015 RLC" in told


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =HYPERLINK(1)", "|calc", "%x"])
def test_text_never_becomes_a_formula(cell: str) -> None:
    (_, (first, second)) = list(csv.reader(csv_text(["a", "b"], [(cell, -5)]).splitlines(keepends=True)))
    assert first.startswith("'") and first[1:] == cell
    assert second == "-5", "a number stays a number"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--since", "yesterday"], "--since takes a day as 2026-01-31"),
        (["--since", "2026-02-02", "--until", "2026-02-01"], "is after"),
        (["--csv", "/nowhere/at/all.csv"], "cannot be written"),
    ],
)
def test_bad_input_is_told(folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], text: str) -> None:
    assert run("--dir", folder, *options) == 2
    assert text in capsys.readouterr().err


def test_a_folder_without_a_pool_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--dir", tmp_path) == 2
    assert "There is no pool's database" in capsys.readouterr().err
    (tmp_path / "pool.db").write_bytes(b"this is no database" * 100)
    assert run("--dir", tmp_path) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_what_was_taken_off_is_in_the_sums_and_listed_with_its_task_and_reason(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, reason = "0x" + "7a" * 32, "The chain took it back: COMPLETED became ACTIVE."
    store = PoolStore.open(folder / "pool.db")
    taken = Correction(task, reason, (Account("requester", ALICE, tasks=1, completed=1, nrlc=10),))
    with store.engine.begin() as connection:
        write_corrections(connection, 1_767_312_000.0, [taken])
    store.close()
    days = ("--since", "2026-01-01", "--until", "2026-01-31")
    assert run("--dir", folder, *days, "--json") == 0
    alice = next(row for row in json.loads(capsys.readouterr().out)["accounts"] if row["subject"] == ALICE)
    assert (alice["tasks"], alice["nrlc"]) == (2, 5)
    assert run("--dir", folder, *days, "--corrections", "--json") == 0
    (line,) = json.loads(capsys.readouterr().out)["corrections"]
    assert (line["day"], line["taskId"], line["reason"]) == ("2026-01-02", task, reason)
    assert (line["subject"], line["nrlc"], line["tasks"]) == (ALICE, -10, -1)
    assert run("--dir", folder, *days, "--corrections", "--csv", tmp_path / "off.csv") == 0
    assert reason in capsys.readouterr().err
    (row,) = csv.DictReader((tmp_path / "off.csv").read_text().splitlines())
    assert (row["task"], row["nrlc"]) == (task, "-10")
    assert run("--dir", folder, "--since", "2026-02-01", "--until", "2026-02-02", "--corrections") == 0
    assert "Nothing was taken off." in capsys.readouterr().err
    assert run("--dir", folder, *days, "--corrections", "--daily") == 2
    assert "leave out --daily" in capsys.readouterr().err
