"""From the owner's policy to what the level ``container`` is told."""

from __future__ import annotations

from fairgrid.runtime.container.settings import ContainerSettings
from fairgrid.worker.owner.policy import WorkerPolicy

__all__ = ["container_settings"]


def container_settings(policy: WorkerPolicy, *, insecure_loopback: bool = False) -> ContainerSettings:
    """What the owner says of containers; ``insecure_loopback`` on local networks."""
    return ContainerSettings(
        engine=policy.container_engine,
        registries=policy.container_registries,
        cache_bytes=policy.container_cache_bytes,
        insecure_loopback=insecure_loopback,
    )
