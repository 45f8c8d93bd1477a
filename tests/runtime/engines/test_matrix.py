"""One program, one digest: `examples/word_count` for each isolation level that its C compiles for, and on two engines.

Only WebAssembly promises it whatever a program does. This program keeps the promise by itself, as its page says.
"""

from __future__ import annotations

import asyncio
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.manifest import FileRef, Manifest, Resources
from fairgrid.runtime.catalogue import CATALOGUE
from fairgrid.runtime.container.build import build_image, here
from fairgrid.runtime.container.provider import ContainerProvider
from fairgrid.runtime.container.settings import ContainerSettings
from fairgrid.runtime.engines.local import LocalEngine
from fairgrid.runtime.engines.sandbox import EngineSandbox
from fairgrid.runtime.interface import Sandbox
from fairgrid.runtime.job import TaskContext, run_job
from fairgrid.runtime.providers import provider_of
from tests.needs import need

pytestmark = pytest.mark.timeout(240)
SOURCE = Path(__file__).parents[3] / "examples" / "word_count" / "word_count.c"
BOOK = b"The grid, the GRID and\nthe rest of it: it is a grid.\n" * 200
CONTEXT = TaskContext(deal_id="0x" + "11" * 32, task_id="0x" + "22" * 32, index=0, bot_first=0, bot_size=1)
PODMAN = ContainerSettings(engine="podman")
DIGEST = "0x3127860c40eb48f79691574734a7d51146e56fbc93c92f959da12db24bd7aa33"
"""Of the result of every case."""


def compiled(*command: str) -> None:
    subprocess.run([*command, str(SOURCE)], check=True, timeout=120, capture_output=True)


def for_wasm(folder: Path) -> Path:
    clang = shutil.which("clang")
    need(clang and Path("/usr/lib/wasm32-wasi").exists(), "clang with wasi-libc: make system-deps")
    compiled(str(clang), "--target=wasm32-wasi", "-O2", "-o", str(folder / "word_count.wasm"))
    return folder / "word_count.wasm"


def for_this_processor(folder: Path) -> Path:
    compiler = shutil.which("cc")
    need(compiler, "a C compiler: make system-deps")
    compiled(str(compiler), "-static", "-O2", "-o", str(folder / "word_count.elf"))
    return folder / "word_count.elf"


def as_an_image(folder: Path) -> Path:
    (folder / "image").mkdir()
    for_this_processor(folder).rename(folder / "image" / "word_count")
    build_image(folder / "image", folder / "word_count.oci.tar", architecture=here(), entrypoint=("/word_count",))
    return folder / "word_count.oci.tar"


LEVELS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "wasm": ("wasmtime-49/wasi/deterministic", for_wasm),
    "wasm, not metered": ("wasmtime-49/wasi/fast", for_wasm),
    "process": (f"process/linux-{platform.machine()}", for_this_processor),
    "podman": (f"oci/linux-{platform.machine()}", as_an_image),
}


@pytest.mark.parametrize("engine", ["this machine", "a cell"])
@pytest.mark.parametrize("level", LEVELS)
async def test_the_same_program_gives_the_same_digest(level: str, engine: str, tmp_path: Path) -> None:
    runtime_id, make = LEVELS[level]
    info = CATALOGUE[runtime_id]
    provider = ContainerProvider(info, PODMAN) if level == "podman" else provider_of(info)
    probe = await provider.probe()
    need(probe.works, f"{level} does not work here: {probe.detail}")
    program = await asyncio.to_thread(make, tmp_path)
    cells = LocalEngine()
    sandbox: Sandbox = provider.sandbox()
    if engine == "a cell":
        sandbox = EngineSandbox(cells, runtime_id, containers=PODMAN)
    try:
        assert await digest_of(program, sandbox, tmp_path) == DIGEST
    finally:
        await sandbox.close()
        await cells.close()


async def digest_of(program: Path, sandbox: Sandbox, folder: Path) -> str:
    """Run the program on one input, with one argument."""
    book = folder / "book.txt"
    book.write_bytes(BOOK)
    given = {path: FileRef(path.name, cid_of(path.read_bytes()), path.stat().st_size) for path in (program, book)}
    manifest = Manifest(
        script=given[program],
        runtime=sandbox.runtime_id,
        resources=Resources(fuel=30_000_000_000, memory_bytes=256 << 20),
        arguments=("3",),
        inputs=(given[book],),
    )
    result = await run_job(
        manifest,
        manifest.cid(),
        CONTEXT,
        inputs={reference.cid: path for path, reference in given.items()},
        workdir=folder / "work",
        sandbox=sandbox,
        wall_s=100.0,
    )
    assert result.error is None and result.exit_code == 0
    words = (result.result_folder / "words.csv").read_text().splitlines()
    assert len(words) == 4 and "the,600" in words, words
    return result.digest
