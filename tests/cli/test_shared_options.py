"""What users write, read the same way by every command."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairgrid.cli.shared_options import read_address, read_password
from fairgrid.errors import UsageError

LOWER = "0x" + "ab" * 20


def test_an_address_gets_its_checksum() -> None:
    assert read_address(LOWER) != LOWER and read_address(LOWER).lower() == LOWER


@pytest.mark.parametrize("text", ["", "0x12", "somebody", LOWER + "00"])
def test_what_is_no_address_is_refused_with_what_was_written(text: str) -> None:
    with pytest.raises(UsageError, match=f"{text!r} is no address"):
        read_address(text)


def test_a_password_file_loses_its_line_end_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(" secret \r\n")
    assert read_password(file) == " secret "


def test_a_password_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"password file .*gone"):
        read_password(tmp_path / "gone")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"password file .*binary"):
        read_password(tmp_path / "binary")
