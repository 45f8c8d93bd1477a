"""gVisor under podman and docker: which of its platforms works is found by running it, never by what files exist."""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.container.engines import Engine, call_program, is_root

__all__ = ["GVISOR_PLATFORMS", "gvisor_runtime", "write_wrapper"]

GVISOR_PLATFORMS: Final = ("systrap", "ptrace")
"""Tried in this order. Never KVM: a /dev/kvm that opens may still hang for ever."""
_TRIAL_S: Final = 20.0
_DOCKER_NAMES: Final = ("fairgrid-runsc", "runsc")


async def gvisor_runtime(engine: Engine) -> str:
    """What to give to the engine as OCI runtime. Takes a second when it is asked for the first time.

    Raises:
        HostFailure: gVisor is not here, docker's daemon was not told of it, or none of its platforms works.
    """
    if not engine.wrapper_runtimes:
        for name in _DOCKER_NAMES:
            if name in engine.runtimes:
                return name
        raise HostFailure(
            'docker\'s daemon knows no runtime "runsc"; add {"runtimes": {"runsc": {"path": "/usr/bin/runsc", '
            '"runtimeArgs": ["--platform=systrap"]}}} to its daemon.json (ptrace for gVisor before 2023)'
        )
    program = shutil.which("runsc")
    if program is None:
        raise HostFailure("gVisor (runsc) is not installed")
    platform = await _working_platform(program)
    return str(write_wrapper(engine.folder, program, platform))


@lru_cache(maxsize=1)
def _platforms() -> dict[str, str]:
    """By program: found once in the life of this process."""
    return {}


async def _working_platform(program: str) -> str:
    known = _platforms()
    faults = []
    for platform in () if program in known else GVISOR_PLATFORMS:
        options = () if is_root() else ("--rootless",)
        try:
            said = await call_program(
                [program, *options, "--network=none", f"--platform={platform}", "do", "true"], os.environ, _TRIAL_S
            )
        except HostFailure as error:
            faults.append(f"{platform}: {error}")
            continue
        if said.status == 0:
            known[program] = platform
            break
        faults.append(f"{platform}: {said.text}")
    if program not in known:
        raise HostFailure(f"No platform of gVisor works here ({'; '.join(faults)})")
    return known[program]


def write_wrapper(folder: Path, program: str, platform: str) -> Path:
    """A runtime is called without options of ours, so a script adds them."""
    path = folder / f"runsc-{platform}"
    text = f'#!/bin/sh\nexec {program} --platform={platform} --network=none "$@"\n'
    if not path.exists() or path.read_text() != text:
        new = path.with_name(f"{path.name}.{os.getpid()}")
        new.write_text(text)
        new.chmod(0o700)
        new.replace(path)
    return path
