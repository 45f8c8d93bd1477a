"""Workers that lie: first, last, together, after an honest past, at the reveal and at the upload."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fairgrid.localnet.options import honest_workers
from fairgrid.protocol.views import TaskStatus
from tests.e2e.acts import (
    address,
    advance_chain_to,
    books,
    check_money,
    frozen,
    on_chain,
    recast,
    started,
    story,
    task_on_chain,
    until,
)
from tests.e2e.network import Network, running_network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

WORKERS = honest_workers(8)
EVERYBODY_IN_ORDER = {
    "first_round_replicas": len(WORKERS),
    "fill_wait_s": 10.0,
    "authorisation_order": [worker.name for worker in WORKERS],
    "upload_timeout_s": 30.0,
    "first_quarantine_s": 0.0,
    "longest_quarantine_s": 0.0,
}
"""All eight compute every task, and contribute in the order of their numbers: `worker-1` first, `worker-8` last. Who
lied in one test plays another part in the next, so nobody is put in quarantine."""

SUM = """
import os
with open(os.path.join(os.environ["IEXEC_OUT"], "sum.txt"), "w") as file:
    file.write(str(sum(range(1000))))
print("summed")
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Eight workers that tests tell to lie or to be honest."""
    folder, scratch = tmp_path_factory.mktemp("liars"), tmp_path_factory.mktemp("scratch")
    with running_network(folder, scratch, workers=WORKERS, policy=EVERYBODY_IN_ORDER) as network:
        yield network


@pytest.fixture
def network(stage: Network, tmp_path: Path) -> Network:
    """The stage, with a scratch folder of the test's own."""
    stage.scratch = tmp_path
    return stage


def test_liar_that_contributes_first_loses_its_stake_and_the_honest_are_paid(network: Network) -> None:
    recast(network, {"worker-1": "flip-byte"})
    before = books(network)
    document = _run(network, trust="0.9")
    liar = address(network, "worker-1")
    assert document["contributions"][0]["worker"] == liar
    assert [line["agreed"] for line in document["contributions"]] == [False] + [True] * 5
    after = check_money(network, before, document)
    assert after.totals[liar] == before.totals[liar] - _worker_stake(network, document)
    _agreeing_gained(document)
    assert not any(after.locked.values())


def test_liar_whose_turn_never_comes_changes_nothing_and_the_honest_are_paid(network: Network) -> None:
    recast(network, {"worker-8": "flip-byte"})
    before = books(network)
    document = _run(network, trust="0.9")
    liar = address(network, "worker-8")
    assert len(document["contributions"]) == 4
    assert all(line["agreed"] and line["worker"] != liar for line in document["contributions"])
    after = check_money(network, before, document)
    assert (after.totals[liar], after.scores[liar]) == (before.totals[liar], before.scores[liar])
    _agreeing_gained(document)


def test_two_liars_that_agree_and_come_first_are_outvoted_by_six_and_both_lose(network: Network) -> None:
    recast(network, {"worker-1": "flip-byte", "worker-2": "flip-byte"})
    before = books(network)
    document = _run(network, trust="0.9")
    lies = document["contributions"][:2]
    assert [line["worker"] for line in lies] == [address(network, "worker-1"), address(network, "worker-2")]
    assert len({line["resultHash"] for line in lies}) == 1, "they must tell the same lie"
    assert [line["agreed"] for line in document["contributions"]] == [False, False] + [True] * 6
    after = check_money(network, before, document)
    stake = _worker_stake(network, document)
    for liar in (line["worker"] for line in lies):
        assert after.totals[liar] == before.totals[liar] - stake
    _agreeing_gained(document)
    assert not any(after.locked.values())


def test_lie_after_an_honest_past_costs_a_third_of_the_score(network: Network) -> None:
    recast(network, {})
    worker, other = address(network, "worker-1"), address(network, "worker-2")
    while (history := books(network)).scores[worker] < 2:
        document = _run(network, trust="0.7")  # a task of one contributor raises no score
        assert [line["worker"] for line in document["contributions"]] == [worker, other]
        assert check_money(network, history, document).scores[worker] == history.scores[worker] + 1
    recast(network, {"worker-1": "flip-byte"})
    document = _run(network, trust="0.9")
    after = check_money(network, history, document)
    assert history.scores[worker] >= 2
    assert after.scores[worker] == history.scores[worker] * 2 // 3
    assert after.totals[worker] == history.totals[worker] - _worker_stake(network, document)


def test_worker_that_never_reveals_loses_its_stake_and_the_task_completes_after_the_reveal_deadline(
    network: Network,
) -> None:
    recast(network, {"worker-1": "no-reveal"})
    before = books(network)
    script = network.script("sum.py", SUM)
    with started(network, "run", script, "--trust", "0.9", "--out", "out", "--json") as command:
        task = command.task()
        until(lambda: any("is what was agreed" in line for line in story(network, task)), "a checked upload")
        view = task_on_chain(network, task)
        assert view.status is TaskStatus.REVEALING, "the others wait for the last reveal"
        advance_chain_to(network, view.reveal_deadline + 1)
        answer = command.finish()
    assert answer.code == 0, answer.stderr
    document = answer.document
    silent = document["contributions"][0]
    assert (silent["worker"], silent["agreed"], silent["status"]) == (
        address(network, "worker-1"),
        True,
        "CONTRIBUTED",
    )
    after = check_money(network, before, document)
    assert after.totals[silent["worker"]] == before.totals[silent["worker"]] - _worker_stake(network, document)
    gained = {line["account"] for line in document["payments"] if line["net"] > 0}
    assert {line["worker"] for line in document["contributions"][1:]} <= gained
    assert (network.scratch / "out" / "sum.txt").read_text() == "499500"


def test_ctrl_c_while_the_workers_reveal_keeps_the_result_for_later(network: Network) -> None:
    recast(network, {"worker-1": "no-reveal"})  # the task stays in this phase until the reveal deadline
    script = network.script("sum.py", SUM)
    with started(network, "run", script, "--trust", "0.9") as command:
        task = command.task()
        until(lambda: "revealing" in command.said, "the word that the workers reveal")
        command.interrupt()
        answer = command.finish()
    assert answer.code == 130, answer.stderr
    until(lambda: any("is what was agreed" in line for line in story(network, task)), "a checked upload")
    advance_chain_to(network, task_on_chain(network, task).reveal_deadline + 1)
    until(lambda: task_on_chain(network, task).status is TaskStatus.COMPLETED, "the task's end")
    fetched = network.fairgrid("result", "last", "--out", "later")
    assert fetched.code == 0, fetched.stderr
    assert (network.scratch / "later" / "sum.txt").read_text() == "499500"


def test_misbehaving_worker_is_refused_on_a_chain_that_is_not_local(network: Network) -> None:
    document = json.loads(network.local.folder.network.read_text()) | {"chainId": 1}
    foreign = network.scratch / "network.json"
    foreign.write_text(json.dumps(document))
    folder = network.scratch / "worker"
    answer = network.fairgrid("worker", "start", "--network", foreign, "--dir", folder, "--misbehave", "flip-byte")
    assert answer.code == 2
    assert "--misbehave works on a local test chain (31337) only, not on chain 1" in answer.stderr


def test_winner_that_uploads_something_else_is_caught_and_another_is_asked(network: Network) -> None:
    """Comes last: who is caught is banned from this pool for good."""
    recast(network, dict.fromkeys(("worker-2", "worker-3", "worker-4"), "upload-other"))
    honest = address(network, "worker-1")
    before = books(network)
    script = network.script("sum.py", SUM)
    with started(network, "run", script, "--trust", "0.9", "--out", "out", "--json") as command:
        task = command.task()
        until(lambda: honest in task_on_chain(network, task).contributors, "the first contribution", every_s=0.02)
        with frozen(network, honest):  # the pool asks whoever revealed first: one of the cheats
            until(lambda: _caught(network, task), "a cheat that is caught")
        answer = command.finish()
    assert answer.code == 0, answer.stderr
    assert (network.scratch / "out" / "sum.txt").read_text() == "499500"
    assert any("is what was agreed" in line for line in story(network, task))
    check_money(network, before, answer.document)


def _caught(network: Network, task: str) -> bool:
    return any("upload does not count: it has the digest" in line for line in story(network, task))


def _run(network: Network, *, trust: str) -> dict[str, Any]:
    """A job whose result is right, or the test fails."""
    script = network.script("sum.py", SUM)
    answer = network.fairgrid("run", script, "--trust", trust, "--out", "out", "--json")
    assert answer.code == 0, answer.stderr
    assert (network.scratch / "out" / "sum.txt").read_text() == "499500"
    assert (network.scratch / "out" / "stdout.txt").read_text() == "summed\n"
    return answer.document


def _worker_stake(network: Network, document: dict[str, Any]) -> int:
    deal = on_chain(network, lambda chain: chain.view_deal(document["dealId"]))
    assert deal is not None and deal.worker_stake > 0
    return deal.worker_stake


def _agreeing_gained(document: dict[str, Any]) -> None:
    gained = {line["account"] for line in document["payments"] if line["net"] > 0}
    assert {line["worker"] for line in document["contributions"] if line["agreed"]} <= gained
