"""The level ``vm`` in the escape suite: the attacks run as root of a machine of their own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from fairgrid.runtime.interface import Limits, Outcome, Sandbox, SandboxJob
from fairgrid.runtime.vm.provider import provider
from fairgrid.runtime.vm.runtimes import VM_RUNTIMES
from tests.needs import need
from tests.sandbox.attacks import ATTACKS, LevelUnderTest

__all__ = ["level"]

_RECIPE = Path(__file__).parents[2] / "examples" / "virtual_image"
_MAIN = 'cp $IEXEC_IN/attack /tmp/attack; chmod 755 /tmp/attack; exec /tmp/attack "$@"\n'
_TRIED = ("read-files", "find-secret", "connect", "kernel", "devices", "results")
_OWN = "the machine is the job's own: it may do there what it likes"
_FIXED = "its memory and its disks have sizes that it cannot change, and the wall clock ends it"
_IN_OTHER_TESTS = dict.fromkeys(
    ("memory-bomb", "disk-bomb", "file-bomb", "log-bomb"),
    "`tests/runtime/vm/test_machine.py` tries it, with limits that fit an emulated machine",
) | dict.fromkeys(("fork-bomb", "fork-for-ever", "scratch-bomb", "hidden-bomb"), _FIXED)


def level() -> LevelUnderTest:
    """Virtual machines, emulated where nothing better runs. An emulated machine boots in seconds, so few are booted."""
    elsewhere: Mapping[str, str] = {
        attack.name: _IN_OTHER_TESTS.get(attack.name, _OWN) for attack in ATTACKS if attack.name not in _TRIED
    }
    return LevelUnderTest("vm", _sandbox, _program, not_here=elsewhere, own_machine=True, tighter=_patient)


def _sandbox() -> Sandbox:
    need(shutil.which("qemu-system-x86_64"), "no qemu-system-x86_64 (make system-deps)")
    return _WithImage(provider(VM_RUNTIMES[0]).sandbox())


def _program(executable: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    shutil.copyfile(executable, folder / "attack")
    return Path(shutil.copyfile(_image() / "image.vm.json", folder / "image.vm.json"))


def _patient(limits: Limits) -> Limits:
    return replace(limits, wall_s=limits.wall_s + 200, memory_bytes=max(limits.memory_bytes, 128 << 20))


@cache
def _image() -> Path:
    need(shutil.which("busybox") and shutil.which("apt-get"), "no busybox and apt-get to build the image with")
    folder = Path(tempfile.mkdtemp(prefix="fairgrid-image-"))
    done = subprocess.run([_RECIPE / "build.sh", folder], capture_output=True, text=True, timeout=200, check=False)
    need(done.returncode == 0, f"the image cannot be built here: {done.stderr[-500:]}")
    return folder


class _WithImage:
    """Lays the parts of the image and the attack among the inputs of each job."""

    def __init__(self, inner: Sandbox) -> None:
        self._inner = inner

    @property
    def runtime_id(self) -> str:
        return self._inner.runtime_id

    async def close(self) -> None:
        await self._inner.close()

    def suspend(self) -> bool:
        return self._inner.suspend()

    def resume(self) -> None:
        self._inner.resume()

    async def run(self, job: SandboxJob) -> Outcome:
        for part in ("vmlinuz", "initrd.img"):
            shutil.copyfile(_image() / part, job.input_folder / part)
        shutil.copyfile(job.script.parent / "attack", job.input_folder / "attack")
        (job.input_folder / "main.sh").write_text(_MAIN)
        return await self._inner.run(job)
