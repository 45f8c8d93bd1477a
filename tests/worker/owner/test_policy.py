"""The owner's policy, and what is read from the chain, decide what is computed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol.app_document import AppDocument
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, checksum
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.manifest import FileRef
from fairgrid.protocol.runs import run_id
from fairgrid.protocol.views import AppInfo, Deal, Resource, TaskStatus
from fairgrid.worker.owner.policy import (
    PoolRecord,
    Terms,
    WorkerPolicy,
    refusal_of_app,
    refusal_of_deal,
    refusal_of_memory,
    refusal_of_network,
)
from tests.worker.machine_kit import DEADLINE, DEAL, NOW, task

APP, POOL_ADDRESS, OTHER = (checksum("0x" + digits * 20) for digits in ("a1", "b2", "c3"))
NOTHING = Resource(ZERO_ADDRESS, ZERO_ADDRESS, 0)
DEAL_VIEW = Deal(
    app=Resource(APP, OTHER, 0),
    dataset=NOTHING,
    workerpool=Resource(POOL_ADDRESS, OTHER, 100),
    trust=10,
    category=0,
    tag=ZERO32,
    requester=OTHER,
    beneficiary=OTHER,
    callback=ZERO_ADDRESS,
    params="",
    start_time=900,
    bot_first=3,
    bot_size=2,
    worker_stake=30,
    scheduler_reward_ratio=40,
    sponsor=OTHER,
)
RUNTIME = "wasmtime-49/py312/deterministic"
CID = "bafkreia"
SHA = "0x" + "ab" * 32
APP_VIEW = AppInfo(OTHER, RUNTIME, "WASM", f"/ipfs/{CID}".encode(), SHA, b"")
INSTALLED = {RUNTIME: ("WASM", CID, SHA)}


def terms(*, deal: Deal = DEAL_VIEW, index: int = 3, **change: Any) -> Terms:
    facts: dict[str, Any] = {
        "deal_id": DEAL,
        "leased_task_id": task_id(DEAL, index),
        "index": index,
        "deal": deal,
        "task": task(),
        "chain_time": NOW,
        "workerpool": POOL_ADDRESS,
        "spendable_stake": 30,
        "record": PoolRecord(0, 0),
    }
    return Terms(**(facts | change))


def test_a_task_with_a_consensus_may_be_computed_once_more_as_an_arbiter_of_an_audit() -> None:
    assert refusal_of_deal(WorkerPolicy(), terms(task=task(TaskStatus.REVEALING))) is None


@pytest.mark.parametrize("index", [3, 4])
def test_a_plain_task_is_taken(index: int) -> None:
    assert refusal_of_deal(WorkerPolicy(), terms(index=index)) is None


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (terms(index=2), "not of deal"),
        (terms(index=5), "not of deal"),
        (terms(index=2**63, deal=replace(DEAL_VIEW, bot_first=2**63)), "beyond"),
        (terms(leased_task_id="0x" + "00" * 32), "The task id"),
        (terms(workerpool=OTHER), "made with workerpool"),
        (terms(task=task(TaskStatus.COMPLETED)), "COMPLETED"),
        (terms(task=task(TaskStatus.UNSET)), "UNSET"),
        (terms(chain_time=DEADLINE), "deadline"),
        (terms(deal=replace(DEAL_VIEW, tag="0x" + "00" * 31 + "01")), "trusted execution"),
        (terms(deal=replace(DEAL_VIEW, tag="0x" + "00" * 31 + "08")), "trusted execution"),
        (terms(count=2), "not that of the deal, index and count"),
        (terms(count=3), "not of deal"),
        (terms(count=65_537, deal=replace(DEAL_VIEW, bot_size=1 << 20)), "larger than"),
        (terms(index=2**53 - 2, count=2, deal=replace(DEAL_VIEW, bot_first=2**53 - 4, bot_size=9)), "beyond"),
        (terms(deal=replace(DEAL_VIEW, dataset=Resource(APP, OTHER, 0))), "dataset"),
        (terms(spendable_stake=29), "Deposit more"),
    ],
)
def test_a_task_that_this_worker_cannot_do_is_refused_with_the_reason(facts: Terms, reason: str) -> None:
    refusal = refusal_of_deal(WorkerPolicy(), facts)
    assert refusal is not None and reason in refusal


def test_a_run_is_taken_if_the_deposit_covers_every_task() -> None:
    run = terms(count=2, leased_task_id=run_id(DEAL, 3, 2), spendable_stake=60)
    assert refusal_of_deal(WorkerPolicy(max_stake=60), run) is None
    assert "The stake is 60 nRLC" in str(refusal_of_deal(WorkerPolicy(max_stake=59), run))
    assert "Deposit more" in str(refusal_of_deal(WorkerPolicy(), replace(run, spendable_stake=59)))


@pytest.mark.parametrize(
    ("allows", "refuses", "record"),
    [
        (WorkerPolicy(max_stake=30), WorkerPolicy(max_stake=29), PoolRecord(0, 0)),
        (WorkerPolicy(min_worker_share=60), WorkerPolicy(min_worker_share=61), PoolRecord(0, 0)),
        (WorkerPolicy(apps=(APP,)), WorkerPolicy(apps=(OTHER,)), PoolRecord(0, 0)),
        (WorkerPolicy(refused_apps=(OTHER,)), WorkerPolicy(refused_apps=(APP,)), PoolRecord(0, 0)),
        (WorkerPolicy(refused_requesters=(APP,)), WorkerPolicy(refused_requesters=(OTHER,)), PoolRecord(0, 0)),
        (WorkerPolicy(min_finalize_percent=80), WorkerPolicy(min_finalize_percent=81), PoolRecord(8, 2)),
    ],
)
def test_each_rule_of_the_owner_refuses_just_beyond_its_limit(
    allows: WorkerPolicy, refuses: WorkerPolicy, record: PoolRecord
) -> None:
    assert refusal_of_deal(allows, terms(record=record)) is None
    assert refusal_of_deal(refuses, terms(record=record)) is not None


def test_a_pool_is_not_judged_by_fewer_than_ten_contributions() -> None:
    policy = WorkerPolicy(min_finalize_percent=100)
    assert refusal_of_deal(policy, terms(record=PoolRecord(0, 9))) is None
    assert refusal_of_deal(policy, terms(record=PoolRecord(0, 10))) is not None


def test_the_generic_app_of_an_installed_runtime_is_run() -> None:
    assert refusal_of_app(WorkerPolicy(), APP_VIEW, INSTALLED) is None
    assert refusal_of_app(WorkerPolicy(runtimes=(RUNTIME,)), APP_VIEW, INSTALLED) is None


@pytest.mark.parametrize(
    ("app", "policy", "reason"),
    [
        (replace(APP_VIEW, type="DOCKER"), WorkerPolicy(), "apps of WASM, PROCESS"),
        (replace(APP_VIEW, type="wasm"), WorkerPolicy(), "apps of WASM, PROCESS"),
        (replace(APP_VIEW, type="OCI"), WorkerPolicy(levels=()), "has type 'WASM'"),
        (replace(APP_VIEW, type="OCI"), WorkerPolicy(), "isolation level 'container'"),
        (replace(APP_VIEW, name="wasmtime-1/py2/none"), WorkerPolicy(), "not installed"),
        (replace(APP_VIEW, multiaddr=b"/ipfs/other"), WorkerPolicy(), "another content"),
        (replace(APP_VIEW, multiaddr=CID.encode()), WorkerPolicy(), "another content"),
        (replace(APP_VIEW, checksum=ZERO32), WorkerPolicy(), "another content"),
        (replace(APP_VIEW, mrenclave=b"x"), WorkerPolicy(), "enclave"),
        (APP_VIEW, WorkerPolicy(runtimes=("other",)), "policy does not list runtime"),
    ],
)
def test_an_app_that_is_not_exactly_the_installed_interpreter_is_refused(
    app: AppInfo, policy: WorkerPolicy, reason: str
) -> None:
    refusal = refusal_of_app(policy, app, INSTALLED)
    assert refusal is not None and reason in refusal


def test_a_published_app_is_run_in_the_runtime_of_its_document() -> None:
    app = replace(APP_VIEW, name="tool", multiaddr=b"/ipfs/other", checksum=ZERO32)
    document = AppDocument("tool", RUNTIME, FileRef("tool.py", CID, 1))
    assert refusal_of_app(WorkerPolicy(), app, INSTALLED, document) is None
    assert refusal_of_app(WorkerPolicy(runtimes=(RUNTIME,)), app, INSTALLED, document) is None
    for policy, changed, wanted, reason in (
        (WorkerPolicy(), app, replace(document, runtime="none/1"), "'none/1' is not installed"),
        (WorkerPolicy(runtimes=("other",)), app, document, "does not list runtime"),
        (WorkerPolicy(levels=()), replace(app, type="OCI"), document, "has type 'WASM'"),
        (WorkerPolicy(), replace(app, mrenclave=b"x"), document, "enclave"),
    ):
        assert reason in str(refusal_of_app(policy, changed, INSTALLED, wanted))


def test_an_unlisted_pool_and_a_price_below_the_least_are_refused() -> None:
    assert refusal_of_deal(WorkerPolicy(pools=(POOL_ADDRESS,), min_price=100), terms()) is None
    assert "does not list workerpool" in str(refusal_of_deal(WorkerPolicy(pools=(OTHER,)), terms()))
    assert "asks for 101" in str(refusal_of_deal(WorkerPolicy(min_price=101), terms()))


def test_a_level_that_the_owner_does_not_list_is_refused() -> None:
    assert refusal_of_app(WorkerPolicy(levels=("wasm",)), APP_VIEW, INSTALLED) is None
    assert "isolation level" in str(refusal_of_app(WorkerPolicy(levels=("vm",)), APP_VIEW, INSTALLED))


def test_a_job_gets_its_slots_share_of_the_memory() -> None:
    policy = WorkerPolicy(memory_bytes=4 << 30)
    assert refusal_of_memory(policy, 2 << 30, 2) is None
    assert "which is" in str(refusal_of_memory(policy, (2 << 30) + 1, 2))
    assert refusal_of_memory(WorkerPolicy(), 1 << 40, 1) is None


def test_a_job_that_asks_for_the_network_is_refused_unless_the_owner_allows_all_that_it_asks_for() -> None:
    assert refusal_of_network(WorkerPolicy(), ()) is None
    assert "gives none (allow_network)" in (refusal_of_network(WorkerPolicy(), ("*",)) or "")
    listed = WorkerPolicy(network_hosts=("example.org",))
    assert refusal_of_network(listed, ("example.org",)) is not None, "a list alone allows nothing"
    assert refusal_of_network(WorkerPolicy(allow_network=True), ("example.org", "*")) is None
    allowed = replace(listed, allow_network=True)
    assert refusal_of_network(allowed, ("example.org:443",)) is None
    assert "asks for *, b.org:22, which" in (refusal_of_network(allowed, ("example.org", "*", "b.org:22")) or "")
