"""Lies are possible on a throw-away chain, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairgrid.errors import UsageError
from fairgrid.worker.computing.misbehave import Misbehaviour, allowed, flip_byte, flip_last_byte


@pytest.mark.parametrize("misbehaviour", list(Misbehaviour))
def test_a_lie_is_refused_on_every_chain_but_the_local_one(misbehaviour: Misbehaviour) -> None:
    assert allowed(misbehaviour, 31337) is misbehaviour
    for chain_id in (1, 134, 421614, 31338, 0):
        with pytest.raises(UsageError, match=f"not on chain {chain_id}"):
            allowed(misbehaviour, chain_id)


def test_honesty_is_allowed_everywhere() -> None:
    assert allowed(None, 1) is None


def test_exactly_one_byte_of_the_first_file_with_content_changes(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name, content in (("a.txt", b""), ("b/b.txt", b"result"), ("c.txt", b"other")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "b/b.txt").chmod(0o444)
    assert flip_byte(tmp_path) == tmp_path / "b/b.txt"
    assert (tmp_path / "b/b.txt").read_bytes() == b"sesult"
    assert (tmp_path / "a.txt").read_bytes() == b"" and (tmp_path / "c.txt").read_bytes() == b"other"


def test_an_empty_output_is_changed_too(tmp_path: Path) -> None:
    assert flip_byte(tmp_path).name == "stdout.txt"
    assert (tmp_path / "stdout.txt").read_bytes() == b"!"
    (tmp_path / "stdout.txt").write_bytes(b"")
    flip_byte(tmp_path)
    assert (tmp_path / "stdout.txt").read_bytes() == b"!"


@pytest.mark.parametrize("data", [b"", b"\x00", b"abc"])
def test_callback_data_is_changed_in_one_byte(data: bytes) -> None:
    flipped = flip_last_byte(data)
    assert flipped != data and len(flipped) == max(len(data), 1) and flipped[:-1] == data[:-1]
