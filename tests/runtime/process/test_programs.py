"""What is a program, and what is none for every machine or for this one only."""

from __future__ import annotations

import contextlib
import io
import platform
import stat
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairgrid.errors import HostFailure
from fairgrid.runtime.process import programs
from fairgrid.runtime.process.programs import NotAProgram, lay_out_program

ARCHITECTURE = platform.machine()


def lay_out(tmp_path: Path, content: bytes, name: str = "program") -> programs.Program:
    script = tmp_path / name
    script.write_bytes(content)
    return lay_out_program(script, tmp_path / "laid", ARCHITECTURE)


def zipped(*entries: tuple[str, bytes], mode: int = 0o100755) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def test_a_script_is_copied_and_may_be_executed(tmp_path: Path) -> None:
    program = lay_out(tmp_path, b"#!/bin/sh\ntrue\n", "a.sh")
    assert program.command == "/app/a.sh"
    assert stat.S_IMODE((program.folder / "a.sh").stat().st_mode) == 0o755
    assert (tmp_path / "a.sh").stat().st_mode & 0o111 == 0


def test_a_zip_is_unpacked_and_its_file_run_is_the_program(tmp_path: Path) -> None:
    program = lay_out(tmp_path, zipped(("run", b"#!/bin/sh\n"), ("data/words.txt", b"one\n")))
    assert program.command == "/app/run"
    assert (program.folder / "data" / "words.txt").read_bytes() == b"one\n"


def test_this_python_is_an_executable_and_one_of_another_architecture_is_not(tmp_path: Path) -> None:
    content = Path(sys.executable).resolve().read_bytes()
    lay_out(tmp_path, content)
    other = bytearray(content)
    other[18:20] = b"\x08\x00"
    with pytest.raises(NotAProgram, match="not an executable for"):
        lay_out_program(_written(tmp_path / "other", bytes(other)), tmp_path / "other-laid", ARCHITECTURE)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "neither"),
        (b"print('hello')\n", "neither"),
        (b"#!\n", "first line"),
        (b"#!/opt/me/python\n", "below /usr"),
        (b"#!/usr/../opt/me/python\n", "below /usr"),
        (b"\x7fELF\x02\x01", "cut off"),
        (b"PK\x03\x04 and then nothing", "cannot be read"),
        (zipped(("other", b"#!/bin/sh\n")), "no file `run`"),
        (zipped(("../run", b"#!/bin/sh\n")), "cannot be unpacked"),
        (zipped(("/run", b"#!/bin/sh\n")), "cannot be unpacked"),
        (zipped(("run", b"/etc/passwd"), mode=0o120777), "a link"),
        (zipped(("run", b"#!/bin/sh\n"), ("run/inside", b"")), "twice, or as a file and a folder"),
    ],
)
def test_what_is_no_program_is_none_for_every_machine(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(NotAProgram, match=why):
        lay_out(tmp_path, content)
    assert not (tmp_path / "run").exists()


def test_a_zip_that_grows_beyond_the_limit_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "MAX_UNPACKED_BYTES", 1 << 20)
    bomb = zipped(("run", b"#!/bin/sh\n"), ("zeros", bytes(3 << 20)))
    assert len(bomb) < 10_000
    with pytest.raises(NotAProgram, match="more than 1048576 bytes"):
        lay_out(tmp_path, bomb)


def test_a_zip_whose_directory_lies_about_sizes_is_measured_by_what_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "MAX_UNPACKED_BYTES", 1 << 20)
    bomb = bytearray(zipped(("run", bytes(3 << 20))))
    place = bomb.rindex(b"PK\x01\x02")
    bomb[place + 24 : place + 28] = (100).to_bytes(4, "little")
    with pytest.raises(NotAProgram):
        lay_out(tmp_path, bytes(bomb))


def test_a_zip_of_too_many_files_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "MAX_UNPACKED_FILES", 3)
    with pytest.raises(NotAProgram, match="more than 3 files"):
        lay_out(tmp_path, zipped(*((f"file-{number}", b"") for number in range(4))))


def test_an_interpreter_that_this_machine_lacks_is_this_machines_affair(tmp_path: Path) -> None:
    with pytest.raises(HostFailure, match="no /usr/bin/no-such-interpreter"):
        lay_out(tmp_path, b"#!/usr/bin/no-such-interpreter\n")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"\x7fELF\x02\x01", b"#!", b"PK\x03\x04", b""]), st.booleans())
def test_any_bytes_are_a_program_or_none_and_nothing_else_happens(rest: bytes, start: bytes, native: bool) -> None:
    head = start + rest
    if native and start.startswith(b"\x7fELF"):
        machine = {"x86_64": 62, "aarch64": 183}[ARCHITECTURE].to_bytes(2, "little")
        head = start + bytes(10) + b"\x02\x00" + machine + rest
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(NotAProgram, HostFailure):
        lay_out(Path(folder), head)
