"""Python calls in the Python of workers' machines, on a whole network: two owners agree, and reach what both allow."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import fairgrid
from fairgrid.errors import FairgridError
from fairgrid.localnet.options import LocalNetworkOptions, honest_workers
from fairgrid.protocol.certificate_check import check_certificate
from fairgrid.runtime.process.bubblewrap import find_bubblewrap
from tests.e2e.network import Network, running_network
from tests.e2e.test_network_job import data_server
from tests.needs import need

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def machine_and_sum(numbers: list[int]) -> tuple[str, str, int]:
    import os
    import sys

    return sys.platform, os.uname().nodename, sum(numbers)


@fairgrid.remote
def fetch(url: str) -> str:
    import urllib.request

    with urllib.request.urlopen(url, timeout=60) as answer:
        return str(answer.read().decode())


def refusals(network: Network, worker: str) -> str:
    """What keeps work from a worker, as its owner is told."""
    answer = network.fairgrid("worker", "why", "--dir", network.local.folder.worker(worker), "--json")
    return json.dumps(answer.document["poolRules"]) if answer.code == 0 else ""


def test_native_calls_come_back_from_two_owners_who_agree_and_reach_a_host_only_once_both_allow_it(
    tmp_path: Path,
) -> None:
    need(Path("/usr/bin/python3").exists(), "/usr/bin/python3 is what native calls run in (apt install python3)")
    try:
        find_bubblewrap()
    except FairgridError as error:
        need(False, str(error))
    workers = honest_workers(2)
    options = LocalNetworkOptions(levels=("wasm", "process"))
    with (
        data_server() as place,
        running_network(tmp_path / "net", tmp_path, workers=workers, options=options) as network,
    ):
        folder = network.local.folder.path
        wanted = {"budget": "2 RLC", "trust": 0.5, "workers_at_least": 2, "runtime": "native", "progress": False}
        with fairgrid.Executor(folder, **wanted) as executor:  # type: ignore[arg-type]
            (call,) = executor.futures(machine_and_sum, [[1, 2, 3]])
            platform, name, total = call.result(timeout=200)
            assert (platform, total) == ("linux", 6) and name != Path("/proc/sys/kernel/hostname").read_text().strip()
            assert len(check_certificate(call.certificate()).agreed) == 2
        with fairgrid.Executor(folder, reach=[place], **wanted) as executor:  # type: ignore[arg-type]
            (table,) = executor.futures(fetch, [f"http://{place}/table"])
            for worker in workers:
                while place not in (said := refusals(network, worker.name)):
                    time.sleep(0.2)
                assert "allow_network = true" in said
            first, second = (network.local.folder.worker(worker.name) / "policy.toml" for worker in workers)
            allowed = f'allow_network = true\nnetwork_hosts = ["{place}"]\n'
            first.write_text(first.read_text() + allowed)
            while place in refusals(network, workers[0].name):
                time.sleep(0.2)
            assert "allow_network = true" in refusals(network, workers[1].name) and not table.done()
            second.write_text(second.read_text() + allowed)
            assert table.result(timeout=200) == "rows of a public table\n"
            assert len(check_certificate(table.certificate()).agreed) == 2
