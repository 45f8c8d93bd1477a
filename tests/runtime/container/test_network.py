"""Containers with a network: through the proxy to public places, and to nothing near."""

from __future__ import annotations

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


ON_PODMAN = pytest.mark.parametrize("level", ["podman"], indirect=True)
WITHOUT = pytest.mark.parametrize("level", ["docker", "gvisor"], indirect=True)


@ON_PODMAN
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


@ON_PODMAN
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
    assert b"nameserver" not in outcome.stdout
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


@ON_PODMAN
def test_podman_says_that_it_gives_the_network(level: Level) -> None:
    assert level.probe.network
    assert "network for jobs that ask for it" in level.probe.detail


@WITHOUT
async def test_an_engine_that_cannot_keep_a_job_from_the_machine_says_so_and_refuses(level: Level, jobs: Jobs) -> None:
    assert not level.probe.network
    assert "no network for jobs" in level.probe.detail
    with pytest.raises(HostFailure, match=r"joins no network|network stack of its own"):
        await level.sandbox.run(replace(jobs.job("true"), network=GRANT))
