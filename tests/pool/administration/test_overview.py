"""Which alerts an operator sees, and in which order; and how workers are sorted."""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.pool.administration.operations import Drain
from fairgrid.pool.administration.operator_views import (
    ChainView,
    DrainView,
    GasView,
    PoolStatus,
    ProcessView,
    WorkerRow,
)
from fairgrid.pool.administration.overview import (
    WORKER_SORTS,
    WorkerFilter,
    alerts,
    oldest_wait,
    worker_page,
    worker_states,
)
from fairgrid.pool.core.events import WorkerDrained
from tests.pool.fakes import Fake, honest
from tests.pool.support import World

GAS = GasView(
    address="0xgas", balance_wei="1", transactions_left=900, transactions_last_day=90, days_left=10.0, low=False
)
CHAIN = ChainView(time=1, block=1, lag_s=1.0, silence_s=1.0)
STANDBY = ProcessView(address="http://b", version="1", fit=True)


def status(**changes: Any) -> PoolStatus:
    good: dict[str, Any] = {
        "workerpool": "0x",
        "chain_id": 1,
        "hub": "0x",
        "version": "1",
        "epoch": 1,
        "leader": "http://a",
        "standby": [STANDBY],
        "draining": None,
        "chain": CHAIN,
        "gas": GAS,
        "workers": {"ready": 9, "away": 5},
        "owners": 9,
        "slots": 9,
        "free_slots": 9,
        "tasks": {},
        "live_tasks": 1,
        "waiting_for_workers": 1,
        "not_begun": 0,
        "oldest_wait_s": 3.0,
        "transactions_under_way": 0,
        "bans": 0,
        "alerts": [],
    }
    return PoolStatus(**good | changes)


def test_a_pool_in_order_has_no_alert() -> None:
    assert alerts(status(), several=True) == []


@pytest.mark.parametrize(
    ("changes", "name", "severity", "text"),
    [
        ({"chain": CHAIN.model_copy(update={"silence_s": 45.0})}, "chain_silent", "critical", "45 s"),
        ({"chain": CHAIN.model_copy(update={"lag_s": 300.0})}, "chain_behind", "warning", "300 s old"),
        ({"gas": GAS.model_copy(update={"transactions_left": 0})}, "gas_empty", "critical", "cannot pay"),
        ({"gas": GAS.model_copy(update={"low": True})}, "gas_low", "warning", "about 10.0 day(s)"),
        ({"workers": {"away": 5}}, "no_workers", "critical", "1 task(s) wait"),
        ({"oldest_wait_s": 3_600.0}, "long_wait", "warning", "60 min"),
        ({"standby": []}, "no_standby", "warning", "No process"),
        ({"standby": [STANDBY.model_copy(update={"fit": False})]}, "no_standby", "warning", "No process"),
        ({"draining": DrainView(who="0x", reason="disks", at=1.0)}, "drained", "warning", "disks"),
        ({"workers": {"ready": 3, "quarantined": 1, "away": 50}}, "many_faults", "warning", "1 of 4"),
    ],
)
def test_each_trouble_has_its_own_alert_with_its_number_and_a_remedy(
    changes: dict[str, Any], name: str, severity: str, text: str
) -> None:
    (alert,) = alerts(status(**changes), several=True)
    assert (alert.name, alert.severity) == (name, severity) and text in alert.text and len(alert.remedy) > 10


def test_a_pool_of_one_process_misses_no_standby_and_an_idle_one_no_workers() -> None:
    assert alerts(status(standby=[]), several=False) == []
    assert alerts(status(workers={}, waiting_for_workers=0), several=True) == []


def test_what_is_critical_comes_first() -> None:
    seen = status(standby=[], workers={}, gas=GAS.model_copy(update={"low": True, "transactions_left": 3}))
    assert [alert.severity for alert in alerts(seen, several=True)] == ["critical", "warning", "warning"]


def test_rows_tell_drained_and_busy_workers_and_every_order_is_total() -> None:
    busy, drained = Fake("busy", "busy", seals=False), Fake("drained", "drained")
    world = World([busy])
    world.deal(1)
    world.run()
    world.fakes[drained.address] = drained
    world.join(drained)
    world.feed(WorkerDrained(drained.address, True))
    drains = {drained.address: Drain(drained.address, "0x", "hot", 1.0)}
    heard = {busy.address: world.now - 7, drained.address: world.now}
    book = world.machine.book

    def listed(**wanted: str) -> list[WorkerRow]:
        count, rows = worker_page(
            book, WorkerFilter(**wanted), drains=drains, heard=heard, now=world.now, limit=9, offset=0
        )
        assert count == len(rows)
        return rows

    rows = listed()
    states = {row.worker: (row.state, row.running, row.last_heard_s, row.reason) for row in rows}
    assert states == {busy.address: ("busy", 1, 7.0, ""), drained.address: ("drained", 0, 0.0, "hot")}
    for sort in WORKER_SORTS:
        assert {row.worker for row in listed(sort=sort)} == set(states)
    assert [row.state for row in listed(sort="running")] == ["busy", "drained"]
    assert [row.worker for row in listed(sort="heard")] == [drained.address, busy.address]
    assert listed(state="busy", owner=drained.address) == [] and len(listed(owner=rows[0].owner)) == 1
    assert listed(label="eu") == [] and worker_states(book, drains) == {"busy": 1, "drained": 1}
    second = worker_page(book, WorkerFilter(), drains=drains, heard=heard, now=world.now, limit=1, offset=1)
    assert second == (2, rows[1:])


def test_the_oldest_wait_counts_what_no_worker_has_and_nothing_else() -> None:
    world = World(honest(1))
    assert oldest_wait(world.machine.book) == 0
    world.deal(1, name="taken")
    world.run()
    world.tick(100)
    assert oldest_wait(world.machine.book) == 0
    world.lose(next(iter(world.fakes.values())))
    world.deal(1, name="waits")
    world.run()
    world.tick(50)
    assert oldest_wait(world.machine.book) == 50
