"""A virtual image, built once by the example's recipe, and a short way to run a script in it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fairgrid.runtime.interface import Limits, Outcome, SandboxJob
from fairgrid.runtime.vm.provider import provider
from fairgrid.runtime.vm.runtimes import VM_RUNTIMES
from fairgrid.runtime.vm.sandbox import VmSandbox
from tests.needs import need

RECIPE = Path(__file__).parents[3] / "examples" / "virtual_image"
RunMachine = Callable[..., Awaitable[Outcome]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A machine is emulated here, about ten times slower than the real one."""
    for item in items:
        if "run_machine" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``image.vm.json``, ``vmlinuz``, ``initrd.img``."""
    need(shutil.which("qemu-system-x86_64"), "no qemu-system-x86_64 (make system-deps)")
    need(shutil.which("busybox") and shutil.which("apt-get"), "no busybox and apt-get to build the image with")
    folder = tmp_path_factory.mktemp("image")
    done = subprocess.run([RECIPE / "build.sh", folder], capture_output=True, text=True, timeout=200, check=False)
    need(done.returncode == 0, f"the image cannot be built here: {done.stderr[-500:]}")
    return folder


@pytest.fixture
def sandbox(image_folder: Path) -> VmSandbox:
    """Emulated: the same on every machine."""
    found = provider(VM_RUNTIMES[0]).sandbox()
    assert isinstance(found, VmSandbox)
    return found


@pytest.fixture
def job_for(image_folder: Path, tmp_path: Path) -> Callable[..., SandboxJob]:
    """A job that runs a shell script in the image."""

    def make(script: str, **change: Any) -> SandboxJob:
        for name in ("app", "in", "out"):
            (tmp_path / name).mkdir()
        shutil.copy(image_folder / "image.vm.json", tmp_path / "app")
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy(image_folder / name, tmp_path / "in")
        (tmp_path / "in" / "main.sh").write_text(script)
        limits = {"memory_bytes": 128 << 20, "output_bytes": 4 << 20, "wall_s": 200.0} | change.pop("limits", {})
        fields: dict[str, Any] = {
            "arguments": ("a b", "ü"),
            "environment": {"IEXEC_IN": "/iexec_in", "IEXEC_OUT": "/iexec_out", "QUOTED": "it's $HOME"},
        }
        return SandboxJob(
            script=tmp_path / "app" / "image.vm.json",
            input_folder=tmp_path / "in",
            output_folder=tmp_path / "out",
            seed=bytes(range(32)),
            limits=Limits(fuel=1, **limits),
            **(fields | change),
        )

    return make


@pytest.fixture
def run_machine(sandbox: VmSandbox, job_for: Callable[..., SandboxJob]) -> RunMachine:
    """Run a shell script in a machine."""

    async def run(script: str, **change: Any) -> Outcome:
        return await sandbox.run(job_for(script, **change))

    return run
