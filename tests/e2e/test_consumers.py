"""A contract asks, strangers compute, the verified answer is in its storage: `examples/consumers`, as users run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fairgrid.client.apps.templates import CONSUMER_TEMPLATES, make_project
from fairgrid.protocol.views import TaskStatus
from tests.e2e.acts import on_chain, task_on_chain
from tests.e2e.network import Answer, Network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

EXAMPLE = Path(__file__).parents[2] / "examples" / "consumers"
RISE_IN_MICRO_PPMV_A_YEAR = 1_342_917


@pytest.mark.parametrize("compiler", ["vyper", "solidity"])
def test_contract_pays_workers_compute_and_the_answer_arrives_in_its_storage(network: Network, compiler: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "ask.py"), "--contract", compiler, "--dir", network.local.folder.path, "--json"],
        env=network.environment,
        cwd=network.scratch,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = Answer(done.returncode, done.stdout, done.stderr).document
    assert document["answer"] == RISE_IN_MICRO_PPMV_A_YEAR
    task = task_on_chain(network, document["taskId"])
    assert task.status is TaskStatus.COMPLETED
    assert task.results_callback == RISE_IN_MICRO_PPMV_A_YEAR.to_bytes(32, "big")
    assert len(task.contributors) == 3
    deal = on_chain(network, lambda chain: chain.view_deal(task.deal_id))
    assert deal is not None
    assert deal.requester == deal.callback == document["contract"]
    account = on_chain(network, lambda chain: chain.view_account(document["contract"]))
    assert (account.stake, account.locked) == (0, 0)
    assert document["spent"] == deal.app.price + deal.workerpool.price


def test_project_of_consumer_init_passes_its_own_test_on_the_network(network: Network) -> None:
    folder = network.scratch / "price-median"
    make_project(CONSUMER_TEMPLATES["vyper"], folder, name="price-median")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--fairgrid-network", network.local.folder.path],
        env=network.environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=220,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
