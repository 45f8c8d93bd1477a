"""The network of a container that may have one: made before it, with its proxy inside, and joined by the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fairgrid.errors import HostFailure
from fairgrid.runtime.container.engines import Engine, EngineKind
from fairgrid.runtime.network.grant import NetworkGrant
from fairgrid.runtime.network.job_network import JobNetwork
from fairgrid.runtime.network.listener import made_network

__all__ = ["ContainerNetwork", "container_network", "network_fault"]


@dataclass(frozen=True, slots=True)
class ContainerNetwork:
    """What a container joins. ``path`` is empty for a job without network."""

    path: str
    used: Callable[[], int]

    @property
    def used_bytes(self) -> int:
        """What went through, both ways."""
        return self.used()


async def network_fault(engine: Engine, *, is_gvisor: bool) -> str:
    """Why jobs cannot have the network here; empty when they can. Takes the trouble to make one."""
    try:
        async with container_network(engine, NetworkGrant(()), is_gvisor=is_gvisor):
            return ""
    except (HostFailure, OSError) as error:
        return str(error)


@asynccontextmanager
async def container_network(
    engine: Engine, grant: NetworkGrant | None, *, is_gvisor: bool
) -> AsyncIterator[ContainerNetwork]:
    """The network of one container, while the block runs.

    Raises:
        HostFailure: it cannot be made, or the engine cannot join it.
    """
    if grant is None:
        yield ContainerNetwork("", lambda: 0)
        return
    if engine.kind is not EngineKind.PODMAN:
        raise HostFailure(f"{engine.kind} joins no network that was made before it; podman does")
    if is_gvisor:
        raise HostFailure("gVisor has a network stack of its own, which does not lead to a job's proxy")
    # Without root, containers live in a user namespace of the engine's: their network must be made in it.
    prefix = () if engine.is_root else tuple(engine.command("unshare"))
    network = JobNetwork(grant)
    async with made_network(prefix, engine.environment if prefix else None) as own:
        try:
            await network.serve(own.listener)
            yield ContainerNetwork(own.path, lambda: network.used_bytes)
        finally:
            await network.leave()
