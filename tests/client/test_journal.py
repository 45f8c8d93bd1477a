"""The journal: a deal that was signed is never lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.client.journal import DealRecord, Journal
from fairgrid.errors import UsageError


def record(number: int, *, started_at: float = 0.0) -> DealRecord:
    return DealRecord(
        deal_id=f"0x{number:064x}",
        task_ids=(f"0x{number + 0xF000:064x}",),
        manifest_cid="bafy",
        job_name="job.py",
        trust=10,
        price=101_000_000,
        match_tx="0x" + "11" * 32,
        match_raw="0x02",
        started_at=started_at,
    )


def test_record_is_read_back_as_it_was_written_also_by_another_journal(tmp_path: Path) -> None:
    written = record(1, started_at=1.5)
    Journal(tmp_path / "deals").write(written)
    assert Journal(tmp_path / "deals").all() == [written]
    assert not written.mined


def test_mined_record_replaces_the_older_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(record(1))
    mined = journal.mark_mined(record(1), 77)
    assert mined.mined
    assert journal.all() == [replace(record(1), block_number=77)]
    assert [file.name for file in tmp_path.iterdir()] == [f"{mined.deal_id}.json"]


def test_deals_are_listed_oldest_first_and_last_is_the_newest(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number, started_at in ((1, 30.0), (2, 10.0), (3, 20.0)):
        journal.write(record(number, started_at=started_at))
    assert [found.started_at for found in journal.all()] == [10.0, 20.0, 30.0]
    assert journal.find("last").deal_id == record(1).deal_id


def test_deal_is_found_by_the_beginning_of_its_own_or_its_tasks_id(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    first = replace(record(1), deal_id="0xaa" + "00" * 31)
    second = replace(record(2), deal_id="0xab" + "00" * 31, task_ids=("0xcc" + "00" * 31,))
    journal.write(first)
    journal.write(second)
    assert journal.find("0xaa") == first
    assert journal.find("0xcc") == second
    assert journal.find(second.deal_id) == second


@pytest.mark.parametrize(("prefix", "says"), [("0xa", "2 deals"), ("0xff", "No deal"), ("", "2 deals")])
def test_prefix_of_none_or_of_several_is_refused(tmp_path: Path, prefix: str, says: str) -> None:
    journal = Journal(tmp_path)
    journal.write(replace(record(1), deal_id="0xaa" + "00" * 31))
    journal.write(replace(record(2), deal_id="0xab" + "00" * 31))
    with pytest.raises(UsageError, match=says):
        journal.find(prefix)


def test_journal_without_deals_has_no_last_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "never")
    assert journal.all() == []
    with pytest.raises(UsageError, match="No deal"):
        journal.find("last")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"deal_id": "0x1"}', '{"task_ids": 3}'])
def test_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    journal = Journal(tmp_path)
    journal.write(record(1))
    file = tmp_path / f"{record(2).deal_id}.json"
    file.write_text(content)
    with pytest.raises(UsageError, match=file.name):
        journal.all()


def test_half_written_record_of_a_crash_is_not_a_deal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(record(1))
    (tmp_path / f"{record(2).deal_id}.partial").write_text('{"deal')
    assert journal.all() == [record(1)]
