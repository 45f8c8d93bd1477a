"""Native programs with a network: through the proxy to public places, and to nothing near."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Stop
from fairgrid.runtime.network.grant import PROXY_PORT, NetworkGrant
from fairgrid.runtime.network.listener import listener_of_process
from fairgrid.runtime.process.provider import provider
from fairgrid.runtime.process.runtimes import PROCESS_RUNTIMES
from fairgrid.runtime.process.sandbox import ProcessSandbox
from tests.internet import PUBLIC_NAME, Internet, internet, own_addresses
from tests.needs import need
from tests.runtime.process.conftest import native_job
from tests.sandbox.attacks import ATTACKS, baited, compile_attacks, job_for, told

FETCH = f"""\
#!/usr/bin/python3
import urllib.request
print(urllib.request.urlopen("http://{PUBLIC_NAME}/data", timeout=30).read().decode(), end="")
"""
NEAR = """\
#!/usr/bin/python3
import socket, sys, urllib.error, urllib.request
for address in sys.argv[2:]:
    try:
        urllib.request.urlopen(f"http://{address}:{sys.argv[1]}/", timeout=30)
        print("REACHED", address)
    except urllib.error.HTTPError as error:
        print("proxy", error.code)
    try:
        socket.create_connection((address.strip("[]"), int(sys.argv[1])), timeout=5)
        print("REACHED", address)
    except OSError as error:
        print("beside", type(error).__name__)
"""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Internet]:
    with internet(monkeypatch) as world:
        yield world


async def test_a_program_with_network_reaches_a_public_name_through_its_proxy(
    sandbox: ProcessSandbox, tmp_path: Path, world: Internet
) -> None:
    job = replace(native_job(tmp_path / "job", FETCH, name="fetch.py"), network=NetworkGrant((PUBLIC_NAME,)))
    outcome = await sandbox.run(job)
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 0), outcome.stderr
    assert outcome.stdout == b"greetings from afar\n"
    assert [path for path, _ in world.asked] == ["/data"]
    assert outcome.network_bytes > len(outcome.stdout)


async def test_a_program_with_network_reaches_nothing_near_neither_by_its_proxy_nor_beside_it(
    sandbox: ProcessSandbox, tmp_path: Path, world: Internet
) -> None:
    port = str(world.bait_port)
    near = (*own_addresses(), "localhost", "169.254.169.254", "10.0.0.1", "192.168.0.1", "[::1]")
    job = native_job(tmp_path / "job", NEAR, name="near.py", arguments=(port, *near))
    outcome = await sandbox.run(replace(job, network=NetworkGrant(("*", f"*:{port}"))))
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 0), outcome.stderr
    lines = outcome.stdout.decode().splitlines()
    assert lines.count("proxy 403") == len(near), lines
    assert len(lines) == 2 * len(near) and not any("REACHED" in line for line in lines)
    assert world.arrived == [] and world.dialled == []


async def test_every_way_out_that_the_escape_suite_knows_stays_shut_for_a_job_with_network(
    sandbox: ProcessSandbox, tmp_path: Path
) -> None:
    attack = next(attack for attack in ATTACKS if attack.name == "connect")
    program = compile_attacks(tmp_path)
    need(program, "the escape suite needs a C compiler (cc)")
    assert program is not None
    (tmp_path / "bait").mkdir()
    with baited(tmp_path / "bait") as bait:
        job = job_for(
            program.rename(tmp_path / "attack.elf"), tmp_path / "job", attack.limits, "connect", *attack.arguments(bait)
        )
        outcome = await sandbox.run(replace(job, network=NetworkGrant(("*",))))
        assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 0), told(outcome)
        assert b"ESCAPED" not in outcome.stdout and bait.arrived == []


async def test_a_program_without_network_finds_no_proxy(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    source = f"""\
    #!/usr/bin/python3
    import os, socket
    assert not any("proxy" in name.lower() for name in os.environ)
    try:
        socket.create_connection(("127.0.0.1", {PROXY_PORT}), timeout=5)
    except ConnectionRefusedError:
        print("nobody")
    """
    outcome = await sandbox.run(native_job(tmp_path / "job", source, name="none.py"))
    assert outcome.stdout == b"nobody\n", outcome.stderr
    assert outcome.network_bytes == 0


async def test_jobs_with_network_that_are_killed_at_random_moments_leave_no_helper_and_no_descriptor(
    sandbox: ProcessSandbox, tmp_path: Path
) -> None:
    moments = random.Random(7)

    async def kill_one(name: str) -> None:
        job = native_job(tmp_path / name, "#!/bin/sh\nsleep 300\n")
        task = asyncio.ensure_future(sandbox.run(replace(job, network=NetworkGrant(("*",)))))
        await asyncio.sleep(moments.random() * 0.4)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    # The first jobs start threads and fill caches, which stay.
    await asyncio.gather(*(kill_one(f"first-{number}") for number in range(4)))
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for group in range(2):
        await asyncio.gather(*(kill_one(f"{group}-{number}") for number in range(4)))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 2, "a leak would be of one a job, of eight"
    mine = [child.cmdline() for child in psutil.Process().children(recursive=True)]
    assert not [words for words in mine if any(word.endswith("inside.py") for word in words)]


async def test_the_machines_own_network_is_never_taken_for_a_jobs() -> None:
    with pytest.raises(HostFailure, match="machine's own"):
        await listener_of_process(os.getpid())
    with pytest.raises(HostFailure, match="cannot be found"):
        await listener_of_process(0)


async def test_the_probe_says_that_this_level_gives_the_network(sandbox: ProcessSandbox) -> None:
    info = next(info for info in PROCESS_RUNTIMES if info.runtime_id == sandbox.runtime_id)
    probe = await provider(info).probe()
    assert probe.network and "network for jobs that ask for it" in probe.detail


async def test_where_no_network_can_be_entered_the_probe_says_why_and_the_level_works_without(
    sandbox: ProcessSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(pid: int) -> None:
        raise HostFailure("The job's network cannot be entered: it is forbidden here.")

    monkeypatch.setattr("fairgrid.runtime.network.job_network.listener_of_process", refused)
    info = next(info for info in PROCESS_RUNTIMES if info.runtime_id == sandbox.runtime_id)
    probe = await provider(info).probe()
    assert probe.works and not probe.network
    assert "no network for jobs (The job's network cannot be entered: it is forbidden here.)" in probe.detail
