"""Whose compiled interpreters this machine runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure
from fairgrid.runtime.wasm.native_code import check_native_code


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    path = tmp_path / "x.cwasm"
    path.write_bytes(b"code")
    path.chmod(0o444)
    return path


def test_own_read_only_file_is_accepted(compiled: Path) -> None:
    check_native_code(compiled)


@pytest.mark.parametrize("mode", [0o464, 0o446, 0o666])
def test_file_that_others_can_write_is_refused(compiled: Path, mode: int) -> None:
    compiled.chmod(mode)
    with pytest.raises(HostFailure, match="can be written by others"):
        check_native_code(compiled)


def test_file_of_somebody_else_is_refused(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = compiled.stat().st_uid
    if owner == 0:
        os.chown(compiled, 12345, 12345)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(HostFailure, match="belongs to user"):
        check_native_code(compiled)


def test_link_is_refused(compiled: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(compiled)
    with pytest.raises(HostFailure, match="not a regular file"):
        check_native_code(link)


def test_missing_file_names_the_command_that_installs_it(tmp_path: Path) -> None:
    with pytest.raises(HostFailure, match="fairgrid runtime install"):
        check_native_code(tmp_path / "none")
