"""Each rule of the owner allows at its number and denies just beyond, and says both numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fairgrid.worker.owner.availability import Readings, Rule, availability_of
from fairgrid.worker.owner.policy import WorkerPolicy

MONDAY_NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
CALM = Readings(
    idle_s=600,
    idle_source="terminals",
    other_load_percent=25,
    on_mains=True,
    temperature_c=70,
    free_disk_bytes=1 << 30,
    used_disk_bytes=1 << 20,
)
STRICT = WorkerPolicy(
    hours=("mon 10:00-12:01",),
    time_zone="UTC",
    only_when_idle=True,
    idle_minutes=10,
    max_other_load_percent=25,
    only_on_mains=True,
    max_temperature_c=70,
    min_free_disk_bytes=1 << 30,
    disk_bytes=1 << 20,
)


def rule(name: str, policy: WorkerPolicy, readings: Readings, now: float = MONDAY_NOON) -> Rule:
    return next(found for found in availability_of(policy, readings, now).rules if found.name == name)


def test_a_machine_at_every_limit_works() -> None:
    verdict = availability_of(STRICT, CALM, MONDAY_NOON)
    assert verdict.takes_work and verdict.may_run and verdict.reason == ""
    assert len(verdict.rules) == 7


@pytest.mark.parametrize(
    ("name", "readings", "words"),
    [
        ("only_when_idle", replace(CALM, idle_s=599.0), ["599 s", "idle_minutes is 10"]),
        ("max_other_load_percent", replace(CALM, other_load_percent=25.6), ["26 %", "is 25"]),
        ("only_on_mains", replace(CALM, on_mains=False), ["battery"]),
        ("max_temperature_c", replace(CALM, temperature_c=71), ["71 °C", "70 °C"]),
    ],
)
def test_beyond_its_number_a_rule_denies_and_suspends(name: str, readings: Readings, words: list[str]) -> None:
    verdict = availability_of(STRICT, readings, MONDAY_NOON)
    assert not verdict.takes_work and not verdict.may_run
    assert [found.name for found in verdict.rules if not found.allowed] == [name]
    assert all(word in verdict.reason for word in words)


@pytest.mark.parametrize(
    ("name", "readings"),
    [
        ("min_free_disk_bytes", replace(CALM, free_disk_bytes=(1 << 30) - 1)),
        ("disk_bytes", replace(CALM, used_disk_bytes=(1 << 20) + 1)),
    ],
)
def test_a_full_disk_keeps_new_tasks_away_and_lets_what_runs_go_on(name: str, readings: Readings) -> None:
    verdict = availability_of(STRICT, readings, MONDAY_NOON)
    assert not verdict.takes_work and verdict.may_run
    assert [found.name for found in verdict.rules if not found.allowed] == [name]


@pytest.mark.parametrize(
    ("name", "readings"),
    [
        ("only_when_idle", replace(CALM, idle_s=None, idle_source="nobody tells")),
        ("max_other_load_percent", replace(CALM, other_load_percent=None)),
        ("only_on_mains", replace(CALM, on_mains=None)),
        ("max_temperature_c", replace(CALM, temperature_c=None)),
    ],
)
def test_what_cannot_be_known_denies_and_is_said(name: str, readings: Readings) -> None:
    found = rule(name, STRICT, readings)
    assert not found.allowed and ("cannot be known" in found.text or "No temperature sensor" in found.text)


def test_out_of_hours_the_next_opening_is_named() -> None:
    found = rule("hours", STRICT, CALM, MONDAY_NOON + 60)
    assert not found.allowed and found.text.endswith("The next begin Mon 10:00.")


def test_rules_that_the_owner_did_not_set_do_not_exist() -> None:
    verdict = availability_of(WorkerPolicy(min_free_disk_bytes=0), Readings(), MONDAY_NOON)
    assert verdict.rules == () and verdict.takes_work


def test_a_paused_worker_neither_takes_nor_runs() -> None:
    verdict = availability_of(WorkerPolicy(), CALM, MONDAY_NOON, paused="Paused by its owner.")
    assert not verdict.takes_work and not verdict.may_run and verdict.reason == "Paused by its owner."


def test_where_nobody_can_use_the_machine_it_is_idle() -> None:
    assert rule("only_when_idle", STRICT, replace(CALM, idle_s=float("inf"))).allowed
