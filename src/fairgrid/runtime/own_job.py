"""Jobs of our own that try or measure a sandbox: a small program without inputs, whose output nobody keeps."""

from __future__ import annotations

from pathlib import Path

from fairgrid.runtime.interface import Limits, SandboxJob
from fairgrid.runtime.network.grant import NetworkGrant

__all__ = ["own_job"]


def own_job(
    folder: Path, name: str, *, limits: Limits, arguments: tuple[str, ...] = (), network: NetworkGrant | None = None
) -> SandboxJob:
    """A job in the folders that it makes in ``folder``; the program is to be put at its ``script``, called ``name``.

    Raises:
        OSError: the folders are there already, or cannot be made.
    """
    for part in ("app", "in", "out"):
        (folder / part).mkdir(parents=True)
    return SandboxJob(
        script=folder / "app" / name,
        arguments=arguments,
        input_folder=folder / "in",
        output_folder=folder / "out",
        environment={},
        seed=bytes(32),
        limits=limits,
        network=network,
    )
