"""The tree digest against its definition, and its proofs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.errors import VerificationError
from fairgrid.protocol.digest import (
    Entry,
    Sibling,
    entries_of_folder,
    merkle_proof,
    proof_holds,
    tree_digest,
    tree_digest_of_folder,
)
from fairgrid.protocol.hexes import keccak
from tests.protocol.formats import VECTORS, write_files

NAMES = st.text(st.characters(min_codepoint=32, exclude_characters="/", exclude_categories=["Cs"]), min_size=1)
PATHS = st.lists(
    NAMES.filter(lambda name: name not in (".", "..") and len(name.encode()) < 100), min_size=1, max_size=3
)
TREES = st.dictionaries(PATHS.map("/".join), st.binary(max_size=40), max_size=20)


def entries_of(files: dict[str, bytes]) -> list[Entry]:
    return [Entry(path, len(content), hashlib.sha256(content).digest()) for path, content in files.items()]


def definition(files: dict[str, bytes]) -> str:
    """Decision 39, written down once more: halves at the largest power of two, which promotes odd nodes."""
    leaves = [
        keccak(
            b"\x00"
            + keccak(path.encode())
            + (0o100644).to_bytes(4, "big")
            + len(content).to_bytes(8, "big")
            + hashlib.sha256(content).digest()
        )
        for path, content in sorted(files.items(), key=lambda item: item[0].encode())
    ]

    def root(nodes: list[bytes]) -> bytes:
        if len(nodes) == 1:
            return nodes[0]
        half = 1 << ((len(nodes) - 1).bit_length() - 1)
        return keccak(b"\x01" + root(nodes[:half]) + root(nodes[half:]))

    return "0x" + (root(leaves) if leaves else keccak(b"\x02")).hex()


@pytest.mark.parametrize("vector", VECTORS["digest"], ids=lambda vector: f"{len(vector['files'])}-files")
def test_committed_vectors_hold(vector: dict[str, Any], tmp_path: Path) -> None:
    files = {path: content.encode() for path, content in vector["files"].items()}
    assert tree_digest(entries_of(files)) == vector["digest"] == definition(files)
    assert tree_digest_of_folder(write_files(tmp_path / "f", vector["files"])) == vector["digest"]


@given(TREES)
def test_digest_is_the_one_of_the_definition(files: dict[str, bytes]) -> None:
    assert tree_digest(entries_of(files)) == definition(files)
    assert tree_digest(reversed(entries_of(files))) == definition(files)


@given(TREES.filter(bool), st.data())
def test_every_file_has_a_proof_and_no_other_content_has(files: dict[str, bytes], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(files)))
    entries = entries_of(files)
    entry = next(entry for entry in entries if entry.path == path)
    digest = tree_digest(entries)
    proof = merkle_proof(entries, path)
    assert len(proof) <= (len(files) - 1).bit_length()
    assert proof_holds(entry, proof, digest)
    assert not proof_holds(Entry(path, entry.size, hashlib.sha256(b"other").digest()), proof, digest)
    assert not proof_holds(Entry(path + "x", entry.size, entry.sha256), proof, digest)
    assert not proof_holds(Entry(path, entry.size + 1, entry.sha256), proof, digest)


def test_committed_proof_holds() -> None:
    vector = VECTORS["proof"]
    files = {path: content.encode() for path, content in vector["files"].items()}
    proof = tuple(Sibling(step["left"], step["node"]) for step in vector["siblings"])
    assert merkle_proof(entries_of(files), vector["path"]) == proof
    (entry,) = [entry for entry in entries_of(files) if entry.path == vector["path"]]
    assert proof_holds(entry, proof, tree_digest(entries_of(files)))


def test_proof_of_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(VerificationError, match="no file"):
        merkle_proof(entries_of({"a": b""}), "b")


def test_path_that_comes_twice_is_refused() -> None:
    with pytest.raises(VerificationError, match="twice"):
        tree_digest(entries_of({"a": b""}) * 2)


@pytest.mark.parametrize("path", ["", "/a", "../a", "a/..", "a//b", "a/", "./a", "a\nb", "\ud800", "x" * 256])
def test_path_that_no_result_has_is_refused(path: str) -> None:
    with pytest.raises(VerificationError, match="cannot be part of a result"):
        tree_digest([Entry(path, 0, bytes(32))])


def test_folders_and_modes_and_times_do_not_count(tmp_path: Path) -> None:
    first = write_files(tmp_path / "one", {"a/b": "x"})
    second = write_files(tmp_path / "two", {"a/b": "x"})
    (second / "empty").mkdir()
    (second / "a" / "b").chmod(0o755)
    os.utime(second / "a" / "b", (1, 1))
    assert tree_digest_of_folder(first) == tree_digest_of_folder(second)


def test_files_come_in_byte_order(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "f", {"b": "", "a/z": "", "a-": "", "a.": "", "é": "", "Z": ""})
    assert [entry.path for entry in entries_of_folder(folder)] == ["Z", "a-", "a.", "a/z", "b", "é"]


def test_only_named_files_count(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "f", {"a": "1", "b": "2", "c/d": "3"})
    assert [entry.path for entry in entries_of_folder(folder, only={"a", "c/d"})] == ["a", "c/d"]
    with pytest.raises(VerificationError, match="no file 'none'"):
        tree_digest_of_folder(folder, only={"a", "none"})


@pytest.mark.parametrize("kind", ["link to a file", "link to a folder", "dangling link", "pipe"])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: str) -> None:
    folder = write_files(tmp_path / "f", {"a/b": "x"})
    if kind == "pipe":
        os.mkfifo(folder / "odd")
    else:
        targets = {"link to a file": "a/b", "link to a folder": "a", "dangling link": "none"}
        (folder / "odd").symlink_to(targets[kind])
    with pytest.raises(VerificationError, match="'odd' is a"):
        tree_digest_of_folder(folder)


def test_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    folder = os.fsencode(write_files(tmp_path / "f", {"a": ""}))
    try:
        os.close(os.open(os.path.join(folder, b"\xff"), os.O_CREAT | os.O_WRONLY))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(VerificationError, match="not valid Unicode"):
        tree_digest_of_folder(Path(os.fsdecode(folder)))
