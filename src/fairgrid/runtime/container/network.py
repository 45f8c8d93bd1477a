"""The network of a container that may have one: made before it, with its proxy inside, and joined by the engine.

podman joins a network that the worker made. docker only joins that of another container: one that does nothing but
wait is started without any network, and the proxy's listener is opened in there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure, ManifestError
from fairgrid.runtime.cgroups.names import CONTAINER_PREFIX, next_number, numbered_name
from fairgrid.runtime.container.commands import waiting_command
from fairgrid.runtime.container.engines import Engine, EngineKind, call_program, is_root
from fairgrid.runtime.container.machine import ContainerMachine
from fairgrid.runtime.container.small_images import write_waiting_image
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.runtime.network.job_network import JobNetwork
from fairgrid.runtime.network.listener import listener_of_network, made_network
from fairgrid.runtime.uninterrupted import to_the_end

__all__ = ["ContainerNetwork", "container_network", "network_fault"]

_START_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class ContainerNetwork:
    """What a container joins, as the engine calls it; empty for a job without network."""

    name: str
    used: Callable[[], int]

    @property
    def used_bytes(self) -> int:
        """What went through, both ways."""
        return self.used()


async def network_fault(machine: ContainerMachine, engine: Engine) -> str:
    """Why jobs cannot have the network here; empty when they can. Takes the trouble to make one."""
    try:
        async with container_network(machine, engine, NetworkGrant(())):
            return ""
    except (HostFailure, OSError) as error:
        return str(error)


@asynccontextmanager
async def container_network(
    machine: ContainerMachine, engine: Engine, grant: NetworkGrant | None
) -> AsyncIterator[ContainerNetwork]:
    """The network of one container, while the block runs.

    Raises:
        HostFailure: it cannot be made, or the engine cannot join it.
    """
    if grant is None:
        yield ContainerNetwork("", lambda: 0)
        return
    if machine.is_gvisor:
        raise HostFailure("gVisor has a network stack of its own, which does not lead to a job's proxy")
    network = JobNetwork(grant)
    if engine.kind is EngineKind.DOCKER:
        async with _waiting_container(machine, engine) as (name, place):
            async with _served(network, ContainerNetwork(f"container:{name}", lambda: network.used_bytes)) as own:
                await network.serve(await listener_of_network(place))
                yield own
        return
    # Without root, containers live in a user namespace of the engine's: their network must be made in it.
    prefix = () if engine.is_root else tuple(engine.command("unshare"))
    async with made_network(prefix, engine.environment if prefix else None) as made:
        async with _served(network, ContainerNetwork(f"ns:{made.path}", lambda: network.used_bytes)) as own:
            await network.serve(made.listener)
            yield own


@asynccontextmanager
async def _served(network: JobNetwork, own: ContainerNetwork) -> AsyncIterator[ContainerNetwork]:
    try:
        yield own
    finally:
        await network.leave()


@asynccontextmanager
async def _waiting_container(machine: ContainerMachine, engine: Engine) -> AsyncIterator[tuple[str, Path]]:
    """Its name, and where docker keeps its network: a file that only root of this very machine can open."""
    if not is_root():
        raise HostFailure("only a worker that is root can open a proxy in a network of docker's")
    archive = engine.folder / f"waiting-{machine.architecture}.oci.tar"
    await to_the_end(asyncio.to_thread(write_waiting_image, archive, machine.architecture))
    name = numbered_name(next_number(), prefix=CONTAINER_PREFIX)
    try:
        async with machine.images(engine).held(archive) as image:
            try:
                command = waiting_command(engine, name, image.image_id)
                said = await to_the_end(call_program(command, engine.environment, _START_S))
                if said.status != 0:
                    raise HostFailure(f"docker cannot make a network for the job: {said.text}")
                asked = await engine.call("inspect", "--format", "{{.NetworkSettings.SandboxKey}}", name)
                place = asked.stdout.decode().strip()
                if asked.status != 0 or not place.startswith("/"):
                    raise HostFailure(f"docker does not say where the job's network is: {asked.text}")
                yield name, Path(place)
            finally:
                await to_the_end(machine.remove(engine, name))
    except ManifestError as error:
        raise HostFailure(f"the image of the container that waits is refused: {error}") from error
