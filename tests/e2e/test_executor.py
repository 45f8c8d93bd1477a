"""Python calls on a real network: 300 of them in few deals, one that fails, one that is cancelled, a killed process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fairgrid
from fairgrid.client.blocking import BlockingClient
from fairgrid.client.follow import Ending
from fairgrid.client.journal import Journal
from fairgrid.errors import BudgetExceeded, TrustUnreachable
from fairgrid.executors.timing import Timing
from fairgrid.localnet.accounts import REQUESTER
from fairgrid.protocol.certificate_check import check_certificate
from tests.e2e.network import Network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

KILLED = """
import sys, time
import fairgrid
from pathlib import Path
from tests.e2e.test_executor import cube
executor = fairgrid.Executor(Path(sys.argv[1]), budget="0.5 RLC", trust=0.5)
print(executor.run_id, flush=True)
futures = list(executor.futures(cube, range(3), chunksize=3))
time.sleep(600)
"""


@fairgrid.remote
def square(x: int) -> int:
    if x == 13:
        raise ValueError("unlucky")
    return x * x


def cube(x: int) -> int:
    return x**3


def test_calls_come_back_verified_and_a_killed_run_is_resumed_without_paying_again(network: Network) -> None:
    folder = network.local.folder.path
    journal = Journal(next((folder / "deals").iterdir())) if (folder / "deals").is_dir() else None
    before = len(journal.all()) if journal is not None else 0
    run_id = killed_after_its_signature(folder)
    with fairgrid.Executor.resume(run_id, folder) as again:
        futures = list(again.futures(cube, range(3), chunksize=3))
        with fairgrid.Executor(folder, budget="2 RLC", trust=0.7, timing=Timing(window=0.5)) as ex:
            dropped = ex.submit(square, 1_000)
            assert dropped.cancel()
            quote = ex.quote(square, range(300))
            assert quote.is_covered and quote.workers_per_task == 2
            results = list(ex.futures(square, range(300)))
            failed = results.pop(13).exception()
            assert [future.result() for future in results] == [x * x for x in range(300) if x != 13]
        assert isinstance(failed, ValueError)
        assert "raise ValueError" in str(failed.__cause__)
        assert [future.result() for future in futures] == [0, 1, 8]
        certified = futures[0]
    receipt = ex.receipt()
    assert quote.price_per_task * receipt.deals[0].tasks == receipt.deals[0].price
    certificate = certified.certificate()
    assert certificate in again.certificates()
    assert check_certificate(certificate).digest == certificate.digest
    assert len(receipt.deals) <= 3
    assert sum(deal.calls for deal in receipt.deals) == 300
    assert (receipt.spent, receipt.open) == (receipt.signed, 0)
    assert receipt.budget == receipt.spent + receipt.left
    assert [deal.calls for deal in again.receipt().deals] == [3]
    requester = network.local.accounts[REQUESTER]
    with BlockingClient.connect(
        network.local.network, requester, journal_folder=folder / "deals" / requester.address
    ) as c:
        (last,) = [record for record in c.journal.all() if record.deal_id == receipt.deals[0].deal_id]
        with c.bag(last) as follower:
            assert c.wait(follower.wait(lambda told: None)) is Ending.COMPLETED
            assert c.bag_settlement(last, follower).gas_used > 0
        assert c.account().locked == 0
    made = Journal(next((folder / "deals").iterdir())).all()[before:]
    assert {record.job_name for record in made if record.mined} == {
        deal.job_name for deal in (*receipt.deals, *again.receipt().deals)
    }


def test_what_cannot_be_reached_or_paid_is_refused_before_anything_is_signed(network: Network) -> None:
    folder = network.local.folder.path
    with pytest.raises(TrustUnreachable):
        fairgrid.Executor(folder, budget="2 RLC", trust=0.999999)
    with pytest.raises(BudgetExceeded):
        fairgrid.Executor(folder, budget="1 nRLC", trust=0.5)


def killed_after_its_signature(folder: Path) -> str:
    """A process that is killed as soon as its deal is in the journal; gives the name of its run."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder)], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        end = time.monotonic() + 120
        while not any(f'"{run_id}.1.py"' in file.read_text() for file in (folder / "deals").glob("*/0x*.json")):
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    return run_id
