"""Removing what ordinary means cannot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fairgrid.runtime.removal import remove_tree

LEVELS = 3_000


def nest(folder: Path, levels: int, *, mode: int = 0o755) -> None:
    """Folders in folders, deeper than a path can be long; a file in each."""
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("deeper", dir_fd=here)
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
        inner = os.open("deeper", os.O_RDONLY, dir_fd=here)
        os.fchmod(here, mode)
        os.close(here)
        here = inner
    os.close(here)


def test_a_folder_of_three_thousand_levels_is_removed(tmp_path: Path) -> None:
    nest(tmp_path / "deep", LEVELS)
    remove_tree(tmp_path / "deep")
    assert list(tmp_path.iterdir()) == []


def test_folders_that_are_closed_to_their_owner_are_removed(tmp_path: Path) -> None:
    nest(tmp_path / "closed", 5, mode=0o000)
    remove_tree(tmp_path / "closed")
    assert list(tmp_path.iterdir()) == []


def test_what_a_link_names_stays(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    (tmp_path / "gone" / "inner").mkdir(parents=True)
    (tmp_path / "gone" / "inner" / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "gone" / "file").symlink_to(tmp_path / "kept" / "file")
    remove_tree(tmp_path / "gone")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "file").read_text() == "kept"


def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    remove_tree(tmp_path / "link")
    assert (tmp_path / "kept" / "file").read_text() == "kept"


@pytest.mark.parametrize("name", ["nothing", "file"])
def test_what_is_no_folder_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    remove_tree(tmp_path / name)
    assert (tmp_path / "file").read_text() == "x"
