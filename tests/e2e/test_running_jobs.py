"""What a requester sees of a job that runs, and what becomes of it when its machine pauses or is killed."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from fairgrid.localnet.options import honest_workers
from fairgrid.worker.core.machine import KEEP_BLOCKS
from tests.e2e.acts import (
    Started,
    books,
    check_money,
    everybody_is_back,
    on_chain,
    pool_document,
    process,
    started,
    stop_and_wait,
    story,
    until,
)
from tests.e2e.network import Network, running_network
from tests.runtime.modules import command as command_module

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

POLICY = {"reconnect_grace_s": 60.0, "restart_grace_s": 60.0}
"""Who is started again within a minute keeps its lease."""
STEPS = 16
LOOPS = 480_000
"""How long a step is: enough to be caught at work by a process that is started meanwhile."""
JOB = """
import json, os
place = os.path.join(os.environ["FAIRGRID_CHECKPOINT"], "state.json")
state = {"step": 0, "total": 0}
if os.path.exists(place):
    with open(place) as file:
        state = json.load(file)
while state["step"] < 16:
    for number in range(LOOPS):
        state["total"] = (state["total"] * 31 + number) % 1_000_003
    state["step"] += 1
    print("step", state["step"], flush=True)
    with open(os.environ["FAIRGRID_PROGRESS"], "a") as progress:
        progress.write(f"{state['step'] / 16} step {state['step']}\\n")
    with open(os.path.join(os.environ["IEXEC_OUT"], "so-far.txt"), "w") as file:
        file.write("step %d" % state["step"])
    with open(place + ".new", "w") as file:
        json.dump(state, file)
    os.replace(place + ".new", place)
if os.path.exists(os.path.join(os.environ["IEXEC_OUT"], "so-far.txt")):
    os.remove(os.path.join(os.environ["IEXEC_OUT"], "so-far.txt"))
with open(os.path.join(os.environ["IEXEC_OUT"], "total.txt"), "w") as file:
    file.write(str(state["total"]))
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Two honest workers."""
    folder, scratch = tmp_path_factory.mktemp("running"), tmp_path_factory.mktemp("scratch")
    with running_network(folder, scratch, workers=honest_workers(2), policy=POLICY) as network:
        yield network


@pytest.fixture
def network(stage: Network, tmp_path: Path) -> Iterator[Network]:
    """The stage, with a scratch folder of the test's own; afterwards all run again."""
    stage.scratch = tmp_path
    yield stage
    for name in stage.local.ended():
        stage.wait(stage.local.restart(name))
    everybody_is_back(stage)


def test_requester_follows_a_job_of_trust_1_and_fetches_what_it_has_written_so_far(network: Network) -> None:
    long = 3 * LOOPS  # more would run out of the category's fuel
    with _job(network, "--trust", "0", "--follow", loops=long) as command:
        until(lambda: _shows(command, "stdout| step 2"), "live output", within_s=90)
        with started(network, "task", "live", command.task()) as watching:
            so_far = network.fairgrid("task", "partial", command.task(), "--out", "so-far", "--json")
            assert so_far.code == 0, so_far.stderr
            assert so_far.document["verified"] is False and so_far.document["files"] == ["so-far.txt"]
            answer = command.finish()
            watched = watching.finish(30)
    _completed(network, answer.code, answer.stderr, loops=long)
    shown = [line for line in answer.stderr.splitlines() if line.startswith("stdout| step ")]
    assert shown == [f"stdout| step {number}" for number in range(1, STEPS + 1)]
    assert watched.code == 0 and watched.stdout.splitlines() == [f"step {number}" for number in range(1, STEPS + 1)]
    assert (network.scratch / "so-far" / "so-far.txt").read_text().startswith("step ")
    assert "step 3" in answer.stderr and answer.document["files"] == ["stdout.txt", "total.txt"]


def test_requester_and_owner_are_told_that_a_program_is_compiled_that_is_new_to_the_machine(network: Network) -> None:
    # Never the same twice: what was compiled before is in the cache of whoever runs this.
    more = f'(data (i32.const 8) "{secrets.token_hex(8)}")'
    body = "(block " * 900 + ")" * 900
    functions = "".join(f'(func (export "f{number}") {body})' for number in range(4_000))
    (network.scratch / "new.wasm").write_bytes(command_module("", more=more + functions))
    with started(network, "run", "new.wasm", "--trust", "0", "--out", "out", "--json") as command:
        task = command.task()

        def told() -> bool:
            assert command.running(), command.said
            why = network.fairgrid("task", "why", task, "--json")
            return why.code == 0 and "compiling its program of " in json.dumps(why.document)

        until(told, "what the requester is told", within_s=90)
        folders = [_folder(network, worker.name) for worker in honest_workers(2)]
        rows = [network.fairgrid("worker", "status", "--dir", folder, "--json").document["held"] for folder in folders]
        answer = command.finish()
    assert any("compiling its program of " in text for held in rows for line in held for text in line["story"]), rows
    assert answer.code == 0, answer.stderr


def test_above_trust_1_nothing_of_a_job_is_shown_before_its_workers_agreed(network: Network) -> None:
    with _job(network, "--trust", "0.5", "--follow") as command:
        _computing(network, command.task())
        refused = network.fairgrid("task", "partial", command.task(), "--out", "so-far", "--json")
        answer = command.finish()
    assert refused.code == 4 and "nothing is shown before its workers agreed" in refused.document["message"]
    assert not (network.scratch / "so-far" / "so-far.txt").exists()
    _completed(network, answer.code, answer.stderr)
    assert "stdout|" not in answer.stderr and "nothing of the job is shown" in answer.stderr


def test_job_that_was_paused_and_whose_worker_was_killed_goes_on_from_its_checkpoint_and_is_paid(
    network: Network,
) -> None:
    before = books(network)
    with _job(network, "--trust", "0") as command:
        task = command.task()
        worker = until(lambda: _has_saved(network, task, 3), "a checkpoint", within_s=90)
        assert network.fairgrid("worker", "pause", "--dir", _folder(network, worker)).code == 0
        paused_at = _stands_still(network, worker, task)
        stop_and_wait(network, worker, kill=True)
        network.wait(network.local.restart(worker))
        assert _stands_still(network, worker, task) == paused_at, "a pause survives a restart"
        assert network.fairgrid("worker", "resume", "--dir", _folder(network, worker)).code == 0
        seen = [paused_at]
        while command.running():
            seen.append(_saved(network, worker, task) or seen[-1])
            time.sleep(0.05)
        answer = command.finish()
    _completed(network, answer.code, answer.stderr)
    assert seen == sorted(seen) and seen[-1] > paused_at, "it went on from its checkpoint"
    (line,) = answer.document["contributions"]
    assert line["worker"] == network.local.accounts[worker].address
    check_money(network, before, answer.document)
    until(lambda: _saved(network, worker, task) is None, "the checkpoint's end")


def test_result_is_kept_through_kills_until_no_reorganisation_can_ask_for_it(network: Network) -> None:
    before = books(network)
    with _job(network, "--trust", "0") as command:
        task = command.task()
        worker = until(lambda: _has_saved(network, task, 1), "a worker at work", within_s=90)
        stop_and_wait(network, "storage", kill=True)
        until(lambda: _phase(network, task) == "uploading", "the upload's turn", within_s=120)
        for name in (worker, "pool"):
            stop_and_wait(network, name, kill=True)
        assert _results(network, worker, task) == ["total.txt"]
        for name in ("storage", "pool", worker):
            network.wait(network.local.restart(name))
        answer = command.finish()
    _completed(network, answer.code, answer.stderr)
    assert sum("Leased to a worker" in line for line in story(network, task)) == 1, "it was computed once"
    check_money(network, before, answer.document)
    assert _results(network, worker, task) == ["total.txt"], "a reorganisation could still ask for it"
    on_chain(network, lambda chain: chain.rpc.request("anvil_mine", hex(KEEP_BLOCKS + 1)))
    until(lambda: not _results(network, worker, task), "the end of the acknowledged result")


def _job(network: Network, *options: str, loops: int = LOOPS) -> AbstractContextManager[Started]:
    script = network.script("steps.py", JOB.replace("LOOPS", str(loops)))
    return started(network, "run", script, "--checkpoint", *options, "--out", "out", "--json")


def _shows(command: Started, text: str) -> bool:
    assert command.running(), command.said
    return text in command.said


def _completed(network: Network, code: int, stderr: str, *, loops: int = LOOPS) -> None:
    assert code == 0, stderr
    total = 0
    for _ in range(STEPS):
        for number in range(loops):
            total = (total * 31 + number) % 1_000_003
    assert (network.scratch / "out" / "total.txt").read_text() == str(total)
    said = (network.scratch / "out" / "stdout.txt").read_text().splitlines()
    assert said == [f"step {number}" for number in range(1, STEPS + 1)], "the log of a run that was never stopped"


def _folder(network: Network, worker: str) -> Path:
    return network.local.folder.worker(worker)


def _phase(network: Network, task: str) -> str | None:
    document = pool_document(network, f"/tasks/{task}")
    return document["phase"] if document else None


def _computing(network: Network, task: str) -> None:
    def all_compute() -> bool:
        document = pool_document(network, f"/tasks/{task}")
        return document is not None and "computing" in [replica["phase"] for replica in document["replicas"]]

    until(all_compute, "a job that computes")


def _saved(network: Network, worker: str, task: str) -> int | None:
    """The step of the checkpoint that lies on the worker's disk."""
    folder = _folder(network, worker) / "checkpoints" / task
    try:
        version = (folder / "current").read_text().strip()
        return int(json.loads((folder / version / "files" / "state.json").read_text())["step"])
    except (OSError, ValueError, KeyError):
        return None  # none yet, or it is being replaced by a newer one


def _has_saved(network: Network, task: str, step: int) -> str | None:
    """The worker that has come so far."""
    for worker in network.local.workers:
        if (_saved(network, worker.name, task) or 0) >= step:
            return worker.name
    return None


def _stands_still(network: Network, worker: str, task: str) -> int:
    """The step at which a job stands still for two seconds."""

    def same() -> int | None:
        first = _saved(network, worker, task)
        time.sleep(2)
        return first if first is not None and first == _saved(network, worker, task) else None

    assert process(network, worker).running()
    return until(same, "a job that stands still")


def _results(network: Network, worker: str, task: str) -> list[str]:
    """Result files of the task that lie on the worker's disk."""
    folder = _folder(network, worker) / "tasks"
    return sorted({path.name for path in folder.rglob("total.txt")})
