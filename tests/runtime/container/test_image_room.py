"""Room for images: the least recently used go, those of running jobs and those of others stay. Real engines."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fairgrid.runtime.container.engines import Engine, find_engine
from fairgrid.runtime.container.images import ImageStore
from fairgrid.runtime.container.oci_writer import ImageFile, RunConfig, write_archive
from fairgrid.runtime.container.sandbox import ContainerSandbox
from fairgrid.runtime.container.settings import ContainerSettings
from fairgrid.runtime.interface import Stop
from tests.containers import ARCHITECTURE, home, new_provider
from tests.needs import need
from tests.runtime.container.conftest import APPLETS, Jobs

pytestmark = pytest.mark.timeout(180)

_TAG = "localhost/fairgrid/image"
_PADDING = 3 << 20


@pytest.fixture(params=["podman", "docker"])
async def engine(request: pytest.FixtureRequest) -> Engine:
    """One of the engines, without any image of ours."""
    new_provider(request.param)
    found = await find_engine(request.param, home() / request.param[0])
    shutil.rmtree(found.folder / f"images-{found.kind}", ignore_errors=True)
    await ImageStore(found, ContainerSettings(), ARCHITECTURE)._remove_strays()
    assert await ours(found) == set()
    return found


@pytest.fixture
def image(tmp_path: Path) -> Callable[[str], Path]:
    """Makes images of a shell and 3 MiB, each other than the others."""
    busybox = shutil.which("busybox")
    need(busybox, "busybox is not installed (make system-deps)")

    @functools.cache
    def make(name: str) -> Path:
        (tmp_path / name).write_bytes(name.encode() + bytes(_PADDING))
        files = [ImageFile("bin/busybox", Path(str(busybox)), executable=True), ImageFile("data", tmp_path / name)]
        files += [ImageFile(f"bin/{applet}", None, link="busybox") for applet in APPLETS]
        target = tmp_path / f"{name}.oci.tar"
        write_archive(target, files, RunConfig(entrypoint=("/bin/sh",)), architecture=ARCHITECTURE)
        return target

    return make


def sandbox_with(engine: Engine, cache_bytes: int) -> ContainerSandbox:
    found = new_provider(engine.kind.value, cache_bytes=cache_bytes).sandbox()
    assert isinstance(found, ContainerSandbox)
    return found


async def ours(engine: Engine) -> set[str]:
    """Tags of the images that the engine has of ours."""
    said = await engine.call("images", "--format", "{{.Repository}}:{{.Tag}}")
    return {tag.removeprefix(f"{_TAG}:") for tag in said.stdout.decode().split() if tag.startswith(f"{_TAG}:")}


def marked(engine: Engine) -> set[str]:
    return {path.name for path in (engine.folder / f"images-{engine.kind}").iterdir()}


async def test_the_image_that_was_not_used_for_longest_goes_and_others_images_stay(
    engine: Engine, jobs: Jobs, image: Callable[[str], Path]
) -> None:
    # Room for two: each takes the padding and a busybox.
    sandbox = sandbox_with(engine, 2 * (_PADDING + (4 << 20)))
    tags: dict[str, str] = {}
    for name in ("first", "second", "first", "third"):
        before = await ours(engine)
        outcome = await sandbox.run(jobs.job("head -c 5 /data", program=image(name)))
        assert (outcome.stop, outcome.stdout.decode()) == (Stop.EXITED, name[:5]), outcome.stderr
        if name not in tags:
            (tags[name],) = await ours(engine) - before
        if name == "first":
            await engine.call("tag", f"{_TAG}:{tags[name]}", "localhost/owner/image:1")
        # Marks of use are told apart by their time.
        await asyncio.sleep(0.02)
    assert await ours(engine) == {tags["first"], tags["third"]}
    assert {name[:32] for name in marked(engine)} == {tags["first"], tags["third"]}
    again = await sandbox.run(jobs.job("head -c 5 /data", program=image("second")))
    assert (again.stop, again.stdout) == (Stop.EXITED, b"secon")
    # The first went this time; the name that somebody else gave its content is still there.
    assert await ours(engine) == {tags["third"], tags["second"]}
    said = await engine.call("images", "--format", "{{.Repository}}:{{.Tag}}")
    assert "localhost/owner/image:1" in said.stdout.decode().split()
    await engine.call("rmi", "localhost/owner/image:1")


async def test_the_image_of_a_job_that_runs_stays_however_little_room_there_is(
    engine: Engine, jobs: Jobs, image: Callable[[str], Path]
) -> None:
    sandbox, other = sandbox_with(engine, 1), sandbox_with(engine, 1)
    job = jobs.job(
        ": > /iexec_out/on; while [ ! -e /iexec_out/stop ]; do sleep 0.1; done; head -c 4 /data", program=image("used")
    )
    running = asyncio.ensure_future(sandbox.run(job))
    async with asyncio.timeout(90):
        while not list(job.output_folder.parent.glob("scratch-*/out")) or not await ours(engine):
            assert not running.done(), await running
            await asyncio.sleep(0.1)
    (used,) = await ours(engine)
    # Of the same worker, and of another one, which knows nothing of the job.
    for number, worker in enumerate((sandbox, other)):
        outcome = await worker.run(jobs.job("true", program=image(f"next-{number}")))
        assert outcome.stop is Stop.EXITED, outcome
        if worker is sandbox:
            assert used in await ours(engine)
    scratch = next(iter(job.output_folder.parent.glob("scratch-*/out")))
    (scratch / "stop").touch()
    outcome = await running
    assert (outcome.stop, outcome.stdout) == (Stop.EXITED, b"used"), outcome
    last = await sandbox.run(jobs.job("true", program=image("last")))
    assert last.stop is Stop.EXITED and len(await ours(engine)) == 1 and used not in await ours(engine)


async def test_what_a_killed_worker_loaded_without_a_mark_is_removed_by_the_next(
    engine: Engine, jobs: Jobs, image: Callable[[str], Path]
) -> None:
    first = await sandbox_with(engine, 1 << 30).run(jobs.job("true", program=image("stray")))
    assert first.stop is Stop.EXITED
    for mark in (engine.folder / f"images-{engine.kind}").iterdir():
        mark.unlink()
    # A mark that was half written when its worker was killed is none.
    (engine.folder / f"images-{engine.kind}" / f"{'0' * 64}.{os.getpid()}.new").write_text("")
    (stray,) = await ours(engine)
    second = await sandbox_with(engine, 1 << 30).run(jobs.job("true", program=image("kept")))
    assert second.stop is Stop.EXITED
    assert stray not in await ours(engine) and len(await ours(engine)) == 1
