"""Containers with a network: through the proxy to public places, and to nothing near."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.interface import Stop
from fairgrid.runtime.network.grant import PROXY_PORT, NetworkGrant
from tests.internet import PUBLIC_NAME, Internet, internet, own_addresses
from tests.runtime.container.conftest import Jobs, Level

GRANT = NetworkGrant(("*",))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Internet]:
    with internet(monkeypatch) as world:
        yield world


NETWORKED = pytest.mark.parametrize("level", ["podman", "docker"], indirect=True)


@NETWORKED
async def test_a_container_with_network_reaches_a_public_name_through_its_proxy(
    level: Level, jobs: Jobs, world: Internet
) -> None:
    script = f"wget -q -O /iexec_out/page http://{PUBLIC_NAME}/data?x=1 && cat /iexec_out/page"
    job = replace(jobs.job(script), network=GRANT)
    outcome = await level.sandbox.run(job)
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 0), outcome.stderr
    assert outcome.stdout == b"greetings from afar\n"
    assert [path for path, _ in world.asked] == ["/data?x=1"]
    assert outcome.network_bytes > len(outcome.stdout)


@NETWORKED
async def test_a_container_with_network_reaches_nothing_near_neither_by_its_proxy_nor_beside_it(
    level: Level, jobs: Jobs, world: Internet
) -> None:
    port = world.bait_port
    places = [*own_addresses(), "localhost", "169.254.169.254", "10.0.0.1", "192.168.0.1", "[::1]"]
    by_proxy = "\n".join(f"wget -q -O - http://{place}:{port}/ && echo REACHED {place}" for place in places)
    beside = "\n".join(
        f"nc -w 2 {place} {port} < /dev/null && echo REACHED {place}" for place in places if place != "[::1]"
    )
    script = f"{by_proxy}\nunset http_proxy HTTP_PROXY\n{beside}\ncat /etc/resolv.conf\nexit 0"
    job = replace(jobs.job(script), network=NetworkGrant(("*", f"*:{port}")))
    outcome = await level.sandbox.run(job)
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 0), outcome.stderr
    assert b"REACHED" not in outcome.stdout
    # Docker wants a resolver to be named: nobody answers on the job's own loopback.
    assert [line for line in outcome.stdout.split(b"\n") if line.startswith(b"nameserver")] in (
        [],
        [b"nameserver 127.0.0.1"],
    )
    assert outcome.stderr.count(b"403") == len(places), outcome.stderr
    assert world.arrived == []
    assert world.dialled == []


async def test_a_container_without_network_finds_no_proxy(level: Level, jobs: Jobs) -> None:
    outcome = await level.sandbox.run(
        jobs.job(f"env; nc -w 2 127.0.0.1 {PROXY_PORT} < /dev/null && echo REACHED; true")
    )
    assert (outcome.stop, outcome.exit_code) == (Stop.EXITED, 0), outcome.stderr
    assert b"REACHED" not in outcome.stdout and b"PROXY" not in outcome.stdout.upper()
    assert outcome.network_bytes == 0


@NETWORKED
def test_every_engine_says_that_it_gives_the_network(level: Level) -> None:
    assert level.probe.network
    assert "network for jobs that ask for it" in level.probe.detail


@pytest.mark.parametrize("level", ["gvisor"], indirect=True)
async def test_gvisor_says_that_it_gives_none_and_refuses(level: Level, jobs: Jobs) -> None:
    assert not level.probe.network
    assert "no network for jobs" in level.probe.detail
    with pytest.raises(HostFailure, match="network stack of its own"):
        await level.sandbox.run(replace(jobs.job("true"), network=GRANT))


@NETWORKED
async def test_nothing_is_left_of_a_networked_job_that_is_cancelled_at_any_moment(level: Level, jobs: Jobs) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for seconds in (0.05, 0.4, 1.5):
        running = asyncio.ensure_future(level.sandbox.run(replace(jobs.job("sleep 300"), network=GRANT)))
        await asyncio.sleep(seconds)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert not [name for name in level.containers() if f"-{os.getpid()}-" in name]
    assert len(os.listdir("/proc/self/fd")) <= len(before)


@pytest.mark.parametrize("level", ["docker"], indirect=True)
async def test_docker_gives_no_network_to_a_worker_that_is_not_root_and_says_so(
    level: Level, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairgrid.runtime.container.network.is_root", lambda: False)
    with pytest.raises(HostFailure, match="only a worker that is root"):
        await level.sandbox.run(replace(jobs.job("true"), network=GRANT))
    assert (await level.provider.probe()).detail.endswith(
        "no network for jobs (only a worker that is root can open a proxy in a network of docker's)"
    )
