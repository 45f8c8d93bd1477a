"""`fairgrid run --after` on a real network: a job that starts when the results that it reads are there."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.e2e.network import Network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

MAP = """
import os
total = 0
for number in range(300_000):
    total += number
with open(os.path.join(os.environ["IEXEC_OUT"], "total.txt"), "w") as file:
    file.write(str(total))
"""
REDUCE = """
import os
with open(os.path.join(os.environ["IEXEC_IN"], "map", "total.txt")) as file:
    print("total", int(file.read()) + 1)
"""


def test_job_waits_for_a_task_that_still_runs_and_reads_its_verified_result(network: Network) -> None:
    command = network.command("run", network.script("map.py", MAP), "--trust", "0.5", "--out", "first", "--json")
    first = subprocess.Popen(
        command, env=network.environment, cwd=network.scratch, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        deals = network.local.folder.path / "deals"
        known = len(list(deals.rglob("0x*.json")))
        for _ in range(600):
            if len(list(deals.rglob("0x*.json"))) > known:
                break
            assert first.poll() is None
            time.sleep(0.1)
        script = network.script("reduce.py", REDUCE)
        answer = network.fairgrid(
            "run", script, "--after", "map=last", "--trust", "0.5", "--out", "second", "--json", timeout_s=170
        )
        assert answer.code == 0, answer.stderr
        assert (network.scratch / "second" / "stdout.txt").read_text() == f"total {sum(range(300_000)) + 1}\n"
        assert first.wait(60) == 0
    finally:
        first.kill()
        first.communicate()
    story = network.fairgrid("story", answer.document["taskIds"][0], "--json")
    assert "It waits for the results that it reads." in story.stdout


def test_job_after_a_failed_job_says_so_and_is_not_run(network: Network) -> None:
    bad = network.fairgrid("run", network.script("bad.py", "1 / 0"), "--trust", "0", "--out", "bad", "--json")
    assert bad.code == 1
    script = network.script("reduce.py", REDUCE)
    answer = network.fairgrid("run", script, "--after", "map=last", "--trust", "0", "--out", "out", "--json")
    assert answer.code == 1
    assert answer.document["jobError"]["kind"] == "dependency"
    assert bad.document["taskIds"][0] in answer.document["jobError"]["message"]


@pytest.mark.parametrize(
    ("after", "says"),
    [("map", "NAME=TASK"), ("a/b=last", "cannot be the name"), ("map=0x" + "77" * 32, "Nobody knows task")],
)
def test_dependency_that_cannot_be_is_refused_before_anything_is_signed(
    network: Network, after: str, says: str
) -> None:
    script = network.script("reduce.py", REDUCE)
    network.fairgrid("run", network.script("ok.py", "print(1)"), "--trust", "0", "--out", "out")
    answer = network.fairgrid("run", script, "--after", after, "--out", "out", "--json")
    assert answer.code == 2
    assert says in answer.stderr + answer.stdout
