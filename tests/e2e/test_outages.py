"""Services, workers and the chain go down, at the worst moments: the job completes, or the money comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import pytest

from fairgrid.localnet.options import honest_workers
from fairgrid.protocol.views import TaskStatus
from tests.e2e.acts import (
    Books,
    Started,
    advance_chain_to,
    books,
    check_money,
    everybody_is_back,
    frozen,
    pool_document,
    process,
    started,
    stop_and_wait,
    story,
    task_on_chain,
    until,
)
from tests.e2e.network import Answer, Network, running_network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

WORKERS = honest_workers(5)
IMPATIENT = {"reconnect_grace_s": 3.0, "restart_grace_s": 60.0, "authorisation_timeout_s": 20.0}
"""Trust 10 takes four of the five workers; one that is gone for three seconds is replaced by the fifth."""

FOUR_AGREE = ("--trust", "0.9")
WORK = """
import os
total = 0
for number in range({steps}):
    total = (total * 31 + number) % 1_000_003
with open(os.path.join(os.environ["IEXEC_OUT"], "total.txt"), "w") as file:
    file.write(str(total))
"""
BRIEF, LONG = 1_000, 5_000_000
"""Steps of a job that takes a moment, and of one that takes some seconds."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Five honest workers."""
    folder, scratch = tmp_path_factory.mktemp("outages"), tmp_path_factory.mktemp("scratch")
    with running_network(folder, scratch, workers=WORKERS, policy=IMPATIENT) as network:
        yield network


@pytest.fixture
def network(stage: Network, tmp_path: Path) -> Iterator[Network]:
    """The stage, with a scratch folder of the test's own; afterwards all runs again, and so does a small job."""
    stage.scratch = tmp_path
    yield stage
    for name in stage.local.ended():
        stage.wait(stage.local.restart(name))
    everybody_is_back(stage)
    answer = stage.fairgrid("run", _script(stage, BRIEF), "--trust", "0.5", "--out", "afterwards", "--json")
    assert answer.code == 0, f"the network no longer works: {answer.stdout} {answer.stderr}"


@pytest.mark.parametrize("service", ["market", "storage", "pool", "anvil"])
def test_service_that_is_down_when_asked_is_named_and_nothing_is_paid(network: Network, service: str) -> None:
    before = books(network)
    stop_and_wait(network, service)
    answer = network.fairgrid("run", _script(network, BRIEF), "--trust", "0", "--json")
    network.wait(network.local.restart(service))
    assert answer.code == 4
    message = answer.document["message"]
    assert f"The {'chain' if service == 'anvil' else service} at http://127.0.0.1:" in message
    assert "does not answer" in message
    assert "`fairgrid status`" in message
    assert books(network) == before


def test_storage_killed_while_workers_fetch_the_job_is_waited_for(network: Network) -> None:
    before = books(network)
    with _job(network, BRIEF, *FOUR_AGREE) as command:
        _wait_for_phase(network, command, "sealing")
        stop_and_wait(network, "storage", kill=True)
        time.sleep(3)
        network.wait(network.local.restart("storage"))
        answer = command.finish()
    _completed(network, answer, BRIEF)
    check_money(network, before, answer.document)


def test_storage_killed_while_workers_compute_is_waited_for_with_the_result(network: Network) -> None:
    before = books(network)
    with _job(network, LONG, *FOUR_AGREE) as command:
        task = _wait_for_phase(network, command, "sealing")
        until(lambda: _all_compute(network, task), "computing")
        stop_and_wait(network, "storage", kill=True)
        until(lambda: _is_in_phase(network, command, "uploading", task), "the upload's turn")
        time.sleep(3)
        assert command.running() and task_on_chain(network, task).status is TaskStatus.REVEALING
        network.wait(network.local.restart("storage"))
        answer = command.finish()
    _completed(network, answer, LONG)
    check_money(network, before, answer.document)


@pytest.mark.parametrize("phase", ["sealing", "contributing", "revealing"])
def test_pool_killed_in_any_phase_goes_on_after_its_restart_and_pays_once(network: Network, phase: str) -> None:
    before = books(network)
    steps = LONG if phase == "sealing" else BRIEF
    with _job(network, steps, *FOUR_AGREE) as command:
        with _held_in_phase(network, command, phase) as task:
            stop_and_wait(network, "pool", kill=True)
            status = task_on_chain(network, task).status
            if phase == "contributing":  # the contribution that was on its way may be the last that is needed
                assert status in (TaskStatus.ACTIVE, TaskStatus.REVEALING)
            else:
                assert status is (TaskStatus.REVEALING if phase == "revealing" else TaskStatus.ACTIVE)
        network.wait(network.local.restart("pool"))
        answer = command.finish()
    _completed(network, answer, steps)
    after = check_money(network, before, answer.document)
    assert not any(after.locked.values())
    workers = [line["worker"] for line in answer.document["contributions"]]
    assert len(workers) == len(set(workers)) == 4
    steps_on_chain = [line["step"] for line in answer.document["gas"]["transactions"]]
    assert sorted(steps_on_chain) == sorted(
        ["matchOrders", "initialize", *["contribute"] * 4, *["reveal"] * 4, "finalize"]
    )


def test_worker_killed_while_it_computes_is_replaced(network: Network) -> None:
    before = books(network)
    with _job(network, LONG, *FOUR_AGREE) as command:
        task = _wait_for_phase(network, command, "sealing")
        victim = until(lambda: _computing(network, task), "a worker at work")
        stop_and_wait(network, victim, kill=True)
        answer = command.finish()
    _completed(network, answer, LONG)
    document = answer.document
    check_money(network, before, document)
    killed = network.local.accounts[victim].address
    contributors = {line["worker"] for line in document["contributions"]}
    assert len(contributors) == 4 and killed not in contributors
    view = pool_document(network, f"/tasks/{task}")
    assert view is not None
    lost = [replica["worker"] for replica in view["replicas"] if replica["phase"] == "lost"]
    assert killed in lost
    # On a machine with more to do than it can, another one's heartbeats may be late as well: it is replaced, too.
    assert sum("Leased to a worker" in line for line in story(network, task)) == 4 + len(lost)


@pytest.mark.parametrize("phase", ["sealing", "revealing"])
def test_chain_stopped_in_the_middle_goes_on_where_it_was(network: Network, phase: str) -> None:
    before = books(network)
    steps = LONG if phase == "sealing" else BRIEF
    with _job(network, steps, *FOUR_AGREE) as command:
        with _held_in_phase(network, command, phase):
            stop_and_wait(network, "anvil")
        network.wait(network.local.restart("anvil"))
        answer = command.finish()
    _completed(network, answer, steps)
    check_money(network, before, answer.document)


def test_run_gets_its_money_back_when_the_pool_is_gone_for_good(network: Network) -> None:
    before = books(network)
    with _job(network, LONG, *FOUR_AGREE) as command:
        task = _wait_for_phase(network, command, "sealing")
        stop_and_wait(network, "pool", kill=True)
        _pass_final_deadline(network, task)
        answer = command.finish()
    assert answer.code == 4
    message = answer.document["message"]
    assert "are back in your escrow" in message and "before its deadline" in message
    assert task_on_chain(network, task).status is TaskStatus.FAILED
    _refunded(network, before)
    again = network.fairgrid("claim", "last", "--json")
    assert again.code == 2
    assert "is over" in again.document["message"]


@pytest.mark.parametrize("command_line", [["claim", "last"], ["result", "last"]])
def test_money_of_a_deal_left_behind_can_be_taken_back(network: Network, command_line: list[str]) -> None:
    before = books(network)
    with _job(network, LONG, *FOUR_AGREE) as command:
        task = _wait_for_phase(network, command, "sealing")
        stop_and_wait(network, "pool", kill=True)
    early = network.fairgrid("claim", "last", "--json")
    assert early.code == 2
    assert "deadline" in early.document["message"]
    _pass_final_deadline(network, task)
    answer = network.fairgrid(*command_line, "--json")
    if command_line[0] == "claim":
        assert (answer.code, answer.document["status"]) == (0, "refunded"), answer.stderr
    else:
        assert answer.code == 4
        assert "are back in your escrow" in answer.document["message"]
    _refunded(network, before)


def _script(network: Network, steps: int) -> Path:
    return network.script("work.py", WORK.replace("{steps}", str(steps)))


def _job(network: Network, steps: int, *options: str) -> AbstractContextManager[Started]:
    return started(network, "run", _script(network, steps), *options, "--out", "out", "--json")


def _wait_for_phase(network: Network, command: Started, phase: str) -> str:
    """The job's task, as soon as the pool says that it is in ``phase``."""
    task = command.task()
    until(lambda: _is_in_phase(network, command, phase, task), f"phase {phase}", every_s=0.02)
    return task


def _is_in_phase(network: Network, command: Started, phase: str, task: str | None = None) -> bool:
    assert command.running(), f"it ended before it was {phase}: {command.said}"
    document = pool_document(network, f"/tasks/{task or command.task()}")
    return document is not None and document["phase"] == phase


@contextmanager
def _held_in_phase(network: Network, command: Started, phase: str) -> Iterator[str]:
    """The job's task, which stays ``revealing`` on chain for the time of the block if that is the phase."""
    if phase != "revealing":
        yield _wait_for_phase(network, command, phase)
        return
    task = command.task()
    first = until(lambda: task_on_chain(network, task).contributors, "a contribution")[0]
    with frozen(network, first):  # all others reveal, and wait for this one
        until(lambda: task_on_chain(network, task).status is TaskStatus.REVEALING, "consensus")
        yield task


def _all_compute(network: Network, task: str) -> bool:
    """True when four workers have all that they need."""
    document = pool_document(network, f"/tasks/{task}")
    phases = [replica["phase"] for replica in document["replicas"]] if document else []
    return len(phases) == 4 and set(phases) <= {"computing", "sealed"}


def _computing(network: Network, task: str) -> str | None:
    """A worker that computes this task: its sandbox runs, a process of its own, and left no result yet."""
    for worker in network.local.workers:
        folder = network.local.folder.worker(worker.name) / "tasks" / task
        try:
            at_work = psutil.Process(process(network, worker.name).pid).children()
        except psutil.NoSuchProcess:
            continue
        if at_work and (folder / "work").exists() and not (folder / "result").exists():
            return worker.name
    return None


def _completed(network: Network, answer: Answer, steps: int) -> None:
    assert answer.code == 0, answer.stdout + answer.stderr
    total = 0
    for number in range(steps):
        total = (total * 31 + number) % 1_000_003
    assert (network.scratch / "out" / "total.txt").read_text() == str(total)


def _pass_final_deadline(network: Network, task: str) -> None:
    view = task_on_chain(network, task)
    assert view.status is TaskStatus.ACTIVE
    advance_chain_to(network, view.final_deadline + 1)


def _refunded(network: Network, before: Books) -> None:
    """The requester has all of its money again, and none of it is locked."""
    requester = network.local.accounts["requester"].address
    after = books(network)
    assert (after.totals[requester], after.locked[requester]) == (before.totals[requester], 0)
    assert sum(after.totals.values()) == after.hub_holds
