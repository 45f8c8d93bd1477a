"""A bag of 200 tasks through the batch lane of a real network: computed, verified, paid and collected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fairgrid.localnet.options import honest_workers
from tests.e2e.network import Network, running_network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SQUARE = """
import os, sys
number = int(sys.argv[1])
with open(os.path.join(os.environ["IEXEC_OUT"], "square.txt"), "w") as file:
    file.write(str(number * number))
if number == 13:
    raise SystemExit(3)
"""


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Three honest workers of three owners."""
    folder, scratch = tmp_path_factory.mktemp("lane"), tmp_path_factory.mktemp("scratch")
    with running_network(folder, scratch, workers=honest_workers(3), policy={"batch_run_s": 200.0}) as network:
        yield network


def test_a_bag_of_200_tasks_costs_hardly_more_gas_than_one_task_and_every_result_is_there(
    three: Network, tmp_path: Path
) -> None:
    three.scratch = tmp_path
    (tmp_path / "arguments.txt").write_text("".join(f"{number}\n" for number in range(200)))
    script = three.script("square.py", SQUARE)
    answer = three.fairgrid(
        "run", script, "--each", "arguments.txt", "--trust", "0.7", "--out", "out", "--json", timeout_s=560
    )
    assert answer.code == 1, answer.stderr
    document = answer.document
    assert (document["lane"], document["tasks"], document["completed"], document["refunded"]) == ("batch", 200, 200, [])
    assert [result["index"] for result in document["results"] if result["jobError"]] == [13]
    for number in range(200):
        name = "error.json" if number == 13 else "square.txt"
        text = (tmp_path / "out" / str(number) / name).read_text()
        assert number == 13 or text == str(number * number)
    assert all(len(run["workers"]) >= 2 for run in document["runs"])
    assert sum(line["net"] for line in document["payments"]) == 0
    assert document["gas"]["perTask"] < 20_000
    made = three.fairgrid("task", "materialise", document["dealId"], "7", "--yes", "--json")
    assert made.code == 0, made.stderr
    assert made.document["digest"] == document["results"][7]["digest"]
