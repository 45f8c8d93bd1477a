"""`fairgrid.LocalNetwork` for real: it starts, serves, and leaves no process and no folder, however it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import fairgrid
from fairgrid.errors import ServiceError, UsageError
from tests.docs.blocks import block
from tests.e2e.network import Network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

SCRIPT = """
import signal
import time
import fairgrid

# Whoever started the tests in the background of a shell let them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

def tell(sentence):
    print(sentence, flush=True)

with fairgrid.LocalNetwork(workers=0, progress=tell) as local:
    print("inside", local.folder, flush=True)
    time.sleep(600)
"""

PLUGIN_TESTS = """

def test_budget(fairgrid_executor):
    assert fairgrid_executor.receipt().budget == 3_000_000_000

def test_same_network(fairgrid_network, request):
    assert str(fairgrid_network.folder) == request.config.getoption("--fairgrid-network")
"""


def square(x: int) -> int:
    return x * x


def processes_in(folder: Path) -> list[str]:
    """Command lines of processes whose arguments or environment name ``folder``."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            found.append(" ".join(words))
    return found


async def test_calls_are_verified_and_an_exception_ends_the_network_which_goes_on_in_its_folder(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "net"
    with pytest.raises(LookupError, match="the body failed"):
        async with fairgrid.LocalNetwork(folder, workers=2) as local:
            assert {"anvil", "market", "storage", "pool", "worker-1", "worker-2"} == set(local.names())
            async with local.async_executor(budget="1 RLC") as ex:
                assert [value async for value in ex.map(square, range(10))] == [x * x for x in range(10)]
            receipt = ex.receipt()
            assert (receipt.open, receipt.spent + receipt.left) == (0, 10**9)
            async with local.client() as client:
                records = client.journal.all()
                account = await client.chain.view_account(client.address)
            assert [record.mined for record in records] == [True]
            assert account.locked == 0
            with pytest.raises(UsageError, match="entered already"):
                local.__enter__()
            with pytest.raises(UsageError, match="no process nonsense; it has anvil"):
                local.kill("nonsense")
            raise LookupError("the body failed")
    assert processes_in(tmp_path) == []
    assert (folder / "network.json").is_file()
    with pytest.raises(ServiceError, match="fairgrid up --dir"):
        async with fairgrid.LocalNetwork.running(folder):
            raise AssertionError("it does not run")


@pytest.mark.parametrize("when", ["inside", "Starting market"])
def test_nothing_is_left_after_ctrl_c_in_the_block_or_at_its_start(tmp_path: Path, when: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(when):
            break
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=180)
    assert (process.returncode, "KeyboardInterrupt" in said) == (-signal.SIGINT, True), said
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def test_fixtures_of_the_plugin_work_on_a_network_that_runs_and_leave_it_running(
    network: Network, tmp_path: Path
) -> None:
    (tmp_path / "test_mine.py").write_text(block("testing.md", "# test_mine.py").text + PLUGIN_TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfairgrid_budget = 3 RLC\nfairgrid_trust = 0.5\n")
    folder = str(network.local.folder.path)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-W",
            "error",
            "-p",
            "no:asyncio",
            "--fairgrid-network",
            folder,
            "test_mine.py",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    assert network.local.ended() == {}
