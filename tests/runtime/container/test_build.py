"""`fairgrid app build`: the same bytes twice, with and without a tool."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure, UsageError
from fairgrid.runtime.container.build import build_image
from fairgrid.runtime.container.containerfile import read_recipe
from fairgrid.runtime.container.image_check import Image, check_image
from fairgrid.runtime.container.image_files import ArchiveFiles
from fairgrid.runtime.interface import Stop
from tests.containers import ARCHITECTURE
from tests.needs import need
from tests.runtime.container.conftest import Jobs, Level


def context(folder: Path, containerfile: str) -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "program").write_bytes(b"\x7fELF")
    (folder / "program").chmod(0o755)
    (folder / "sub" / "data").write_text("data")
    (folder / "Containerfile").write_text(containerfile)
    return folder


def checked(path: Path) -> Image:
    with ArchiveFiles.opened(path) as files:
        return check_image(files, architecture=ARCHITECTURE)


def names_in(path: Path) -> list[str]:
    import tarfile

    image = checked(path)
    with ArchiveFiles.opened(path) as files, tarfile.open(fileobj=files.open_blob(image.layers[0].digest)) as layer:
        return layer.getnames()


def test_files_from_scratch_need_no_tool_and_make_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    text = (
        "# a comment\nFROM scratch\nCOPY program /bin/\nCOPY sub \\\n  /data\nCOPY sub/data program /both/\n"
        'WORKDIR /work\nCOPY program here\nENV A=1 B="two words"\nENTRYPOINT ["/bin/program"]\nCMD ["-x"]\n'
    )
    archives = []
    for name, at in (("one", 1_000), ("two", 2_000_000)):
        folder = context(tmp_path / name, text)
        os.utime(folder / "program", (at, at))
        image, by = build_image(folder, tmp_path / f"{name}.oci.tar", architecture=ARCHITECTURE)
        assert by == "python"
        archives.append((tmp_path / f"{name}.oci.tar").read_bytes())
    assert archives[0] == archives[1]
    found = checked(tmp_path / "one.oci.tar")
    assert (found.entrypoint, found.command, found.digest) == (("/bin/program",), ("-x",), image.digest)
    files = ["bin", "bin/program", "both", "both/data", "both/program", "data", "data/data", "work", "work/here"]
    assert names_in(tmp_path / "one.oci.tar") == files


def test_without_a_containerfile_the_folder_is_the_root_and_the_entry_point_is_asked_for(tmp_path: Path) -> None:
    folder = context(tmp_path / "root", "")
    (folder / "Containerfile").unlink()
    with pytest.raises(UsageError, match="--entrypoint"):
        build_image(folder, tmp_path / "x.oci.tar", architecture=ARCHITECTURE)
    build_image(folder, tmp_path / "x.oci.tar", architecture=ARCHITECTURE, entrypoint=("/program", "-v"))
    assert checked(tmp_path / "x.oci.tar").entrypoint == ("/program", "-v")
    assert names_in(tmp_path / "x.oci.tar") == ["program", "sub", "sub/data"]


@pytest.mark.parametrize(
    "line",
    [
        "RUN true",
        "ADD https://example.org/x /x",
        "COPY --from=0 a b",
        "COPY * /",
        "ENTRYPOINT program",
        "ARG A",
        "COPY $A /x",
    ],
)
def test_whatever_is_more_than_files_is_left_to_a_tool(tmp_path: Path, line: str) -> None:
    folder = context(tmp_path / "x", "")
    assert read_recipe(f"FROM scratch\n{line}\n", folder) is None
    assert read_recipe("FROM debian\nCOPY program /\n", folder) is None
    assert read_recipe("FROM scratch\nFROM scratch\n", folder) is None


@pytest.mark.parametrize("source", ["missing", "../outside"])
def test_a_file_that_is_not_in_the_folder_is_refused(tmp_path: Path, source: str) -> None:
    (tmp_path / "outside").write_text("x")
    folder = context(tmp_path / "x", f"FROM scratch\nCOPY {source} /x\n")
    with pytest.raises(UsageError, match="is not in"):
        build_image(folder, tmp_path / "x.oci.tar", architecture=ARCHITECTURE)


def test_a_containerfile_that_needs_a_tool_says_which_when_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = context(tmp_path / "x", "FROM scratch\nRUN true\n")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(HostFailure, match="buildah"):
        build_image(folder, tmp_path / "x.oci.tar", architecture=ARCHITECTURE)


@pytest.mark.timeout(180)
async def test_buildah_builds_the_same_twice_and_it_runs(level: Level, jobs: Jobs, tmp_path: Path) -> None:
    need(shutil.which("buildah"), "buildah is not installed (make system-deps)")
    busybox = shutil.which("busybox")
    assert busybox is not None
    archives = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(busybox, folder / "busybox")
        (folder / "Containerfile").write_text(
            'FROM scratch\nCOPY busybox /bin/sh\nRUN echo made > /made\nENTRYPOINT ["/bin/sh"]\n'
        )
        _, by = build_image(folder, tmp_path / f"{name}.oci.tar", architecture=ARCHITECTURE)
        assert by == "buildah"
        archives.append((tmp_path / f"{name}.oci.tar").read_bytes())
    assert archives[0] == archives[1]
    job = jobs.job("read word < /made; echo $word", program=tmp_path / "one.oci.tar")
    outcome = await level.sandbox.run(job)
    assert (outcome.stop, outcome.stdout) == (Stop.EXITED, b"made\n"), outcome.stderr
