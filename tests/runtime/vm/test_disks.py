"""The two disks of a machine; the one that comes out was written by a stranger."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.runtime.interface import Limits, SandboxJob
from fairgrid.runtime.vm.disks import (
    MachineResult,
    ResultTooLarge,
    out_disk_bytes,
    read_out_disk,
    write_in_disk,
    write_out_disk,
)

LIMITS = Limits(fuel=1, output_bytes=10_000, output_files=5, log_bytes=100)
Member = tuple[str, bytes | str]
"""Name, and content; text instead of bytes: a symbolic link to it."""


def disk(path: Path, *members: Member, kind: bytes | None = None) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = kind or tarfile.SYMTYPE, content
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    with path.open("ab") as file:
        file.truncate(out_disk_bytes(LIMITS))
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_files_exit_code_and_stderr_are_taken(tmp_path: Path, out: Path) -> None:
    path = disk(tmp_path / "d", ("./exit", b"3\n"), ("stderr", b"oh"), ("./out/a/b.txt", b"12345"), ("out/c", b""))
    assert read_out_disk(path, LIMITS, out) == MachineResult(3, b"oh", 5)
    assert (out / "a/b.txt").read_bytes() == b"12345" and (out / "c").read_bytes() == b""


def test_an_untouched_disk_is_no_result(tmp_path: Path, out: Path) -> None:
    write_out_disk(tmp_path / "d", LIMITS)
    assert (tmp_path / "d").stat().st_blocks == 0
    assert read_out_disk(tmp_path / "d", LIMITS, out) is None


@pytest.mark.parametrize(
    "members",
    [
        [("out/a", b"1")],
        [("exit", b"three")],
        [("exit", b"-1")],
        [("exit", b"256")],
        [("exit", b"0"), ("out/../../evil", b"1")],
        [("exit", b"0"), ("out//etc/passwd", b"1")],
        [("exit", b"0"), ("out/a", b"1"), ("out/a", b"2")],
        [("exit", b"0"), ("out/a", b"1"), ("out/a/b", b"2")],
        [("exit", b"0"), ("out/a", ".."), ("out/a/b", b"2")],
    ],
)
def test_a_disk_that_cannot_be_a_result_is_none_and_nothing_leaves_the_folder(
    tmp_path: Path, out: Path, members: list[Member]
) -> None:
    before = {path for path in tmp_path.rglob("*") if "out" not in path.parts[len(tmp_path.parts) :]}
    path = disk(tmp_path / "d", *members)
    assert read_out_disk(path, LIMITS, out) is None
    after = {path for path in tmp_path.rglob("*") if "out" not in path.parts[len(tmp_path.parts) :]}
    assert after - before == {path}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_become_what_the_rules_of_results_refuse(tmp_path: Path, out: Path, kind: bytes) -> None:
    path = disk(tmp_path / "d", ("exit", b"0"), ("out/secret", "/etc/passwd"), kind=kind)
    assert read_out_disk(path, LIMITS, out) is not None
    assert (out / "secret").is_symlink() and not (out / "secret").exists()


def test_limits_of_bytes_and_files_are_exact(tmp_path: Path, out: Path) -> None:
    allowed = disk(tmp_path / "a", ("exit", b"0"), ("out/a", bytes(LIMITS.output_bytes)))
    assert read_out_disk(allowed, LIMITS, out) is not None
    beyond = disk(tmp_path / "b", ("exit", b"0"), ("out/x", bytes(LIMITS.output_bytes)), ("out/b", b"1"))
    with pytest.raises(ResultTooLarge, match="bytes"):
        read_out_disk(beyond, LIMITS, out)
    many = disk(tmp_path / "c", ("exit", b"0"), *((f"out/n{n}", b"") for n in range(LIMITS.output_files + 1)))
    with pytest.raises(ResultTooLarge, match="files"):
        read_out_disk(many, LIMITS, out)


@given(st.binary(max_size=3000))
def test_any_bytes_on_the_disk_are_a_result_or_none(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    folder = tmp_path_factory.mktemp("noise")
    (folder / "out").mkdir()
    whole = bytearray(disk(folder / "d", ("exit", b"0"), ("out/a", b"1" * 600)).read_bytes())
    whole[512 : 512 + len(noise)] = noise
    (folder / "d").write_bytes(whole)
    try:
        read_out_disk(folder / "d", LIMITS, folder / "out")
    except ResultTooLarge:
        pass
    assert {path.name for path in folder.iterdir()} == {"d", "out"}


def test_the_input_disk_holds_inputs_arguments_and_environment_but_no_parts_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("vmlinuz", "data.csv", "sub/vmlinuz"):
        (tmp_path / "in" / name).write_text(name)
    job = SandboxJob(
        script=tmp_path / "i.vm.json",
        arguments=("a b", "it's"),
        input_folder=tmp_path / "in",
        output_folder=tmp_path / "out",
        environment={"B": "x y", "A": "$(reboot)"},
        seed=bytes(32),
        limits=LIMITS,
    )
    write_in_disk(tmp_path / "in.img", job, leave_out=("vmlinuz",))
    assert (tmp_path / "in.img").stat().st_size % 512 == 0
    with tarfile.open(tmp_path / "in.img") as archive:
        found = {member.name: archive.extractfile(member).read().decode() for member in archive}  # type: ignore[union-attr]
    assert found == {
        "environment": "export A='$(reboot)'\nexport B='x y'\n",
        "arguments": "'a b' 'it'\"'\"'s'\n",
        "seed": "00" * 32 + "\n",
        "in/data.csv": "data.csv",
        "in/sub/vmlinuz": "sub/vmlinuz",
    }
