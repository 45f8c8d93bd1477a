"""Result archives: one byte sequence for one set of files, and nothing else is read."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairgrid.errors import VerificationError
from fairgrid.protocol.archive import archive_digest, archive_entries, extract_archive, write_archive
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.digest import tree_digest_of_folder
from tests.protocol.formats import VECTORS, write_files

FILES = {"a/c.txt": "", "b.txt": "b", "stdout.txt": "hi\n", "ü/ä ö.txt": "grüße" * 1000}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "result.zip"
    write_archive(write_files(tmp_path / "files", FILES), path)
    return path


def extract(archive: Path, dest: Path) -> None:
    extract_archive(archive, dest, max_bytes=1 << 20, max_files=100)


def zipped(files: dict[str, bytes], **changes: object) -> bytes:
    """An archive by the standard library that differs from ours in ``changes`` of each entry only."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o100644 << 16
            info.create_system = 3
            for key, value in changes.items():
                setattr(info, key, value)
            target.writestr(info, content)
    return buffer.getvalue()


def local_entry(name: bytes, content: bytes) -> bytes:
    """One local entry as ours, whatever the name."""
    crc = __import__("zlib").crc32(content)
    header = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0x800, 0, 0, 33, crc, len(content), len(content), len(name), 0)
    return header + name + content


def assert_refused(data: bytes, folder: Path, match: str) -> None:
    path = folder / "bad.zip"
    path.write_bytes(data)
    dest = folder / "dest"
    for call in (lambda: archive_digest(path), lambda: extract(path, dest)):
        with pytest.raises(VerificationError, match=match):
            call()
    assert not dest.exists(), "nothing may be written"


def test_archive_holds_the_files_and_their_digest(archive: Path, tmp_path: Path) -> None:
    extract(archive, tmp_path / "out")
    found = {
        str(path.relative_to(tmp_path / "out")): path.read_text("utf-8")
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert found == FILES
    assert archive_digest(archive) == tree_digest_of_folder(tmp_path / "files")
    assert archive_digest(archive) == tree_digest_of_folder(tmp_path / "out")


def test_committed_vector_holds(tmp_path: Path) -> None:
    vector = VECTORS["archive"]
    write_archive(write_files(tmp_path / "f", vector["files"]), tmp_path / "a.zip")
    data = (tmp_path / "a.zip").read_bytes()
    assert data.hex() == vector["hex"]
    assert hashlib.sha256(data).hexdigest() == vector["sha256"]
    assert cid_of(data) == vector["cid"]


def test_archive_does_not_depend_on_times_modes_or_order(archive: Path, tmp_path: Path) -> None:
    other = write_files(tmp_path / "other", dict(reversed(FILES.items())))
    for path in other.rglob("*"):
        path.chmod(0o755)
        os.utime(path, (5, 5))
    (other / "empty folder").mkdir()
    write_archive(other, tmp_path / "other.zip")
    assert (tmp_path / "other.zip").read_bytes() == archive.read_bytes()


def test_other_programs_can_read_it(archive: Path) -> None:
    with zipfile.ZipFile(archive) as source:
        assert source.testzip() is None
        assert {info.filename: source.read(info).decode() for info in source.infolist()} == FILES
        for info in source.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.external_attr >> 16 == 0o100644


def test_empty_result_has_an_archive(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    write_archive(tmp_path / "none", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").stat().st_size == 22
    extract(tmp_path / "a.zip", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_only_named_files_go_in(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "f", FILES)
    entries = write_archive(folder, tmp_path / "a.zip", only=("b.txt", "a/c.txt"))
    assert [entry.path for entry in entries] == ["a/c.txt", "b.txt"]
    assert archive_entries(tmp_path / "a.zip") == entries


@given(st.dictionaries(st.sampled_from(["a", "b/c", "b/d", "ü", "z" * 200]), st.binary(max_size=100)))
def test_whatever_is_written_is_read_back(files: dict[str, bytes]) -> None:
    with __import__("tempfile").TemporaryDirectory() as name:
        base = Path(name)
        (base / "f" / "b").mkdir(parents=True)
        for path, content in files.items():
            (base / "f" / path).write_bytes(content)
        write_archive(base / "f", base / "a.zip")
        extract(base / "a.zip", base / "out")
        found = {str(p.relative_to(base / "out")): p.read_bytes() for p in (base / "out").rglob("*") if p.is_file()}
        assert found == files


@pytest.mark.parametrize("name", ["../up", "/abs", "a/../../up", "a/./b", "", "a//b", "dir/", "a\nb", "x" * 256])
def test_path_that_leaves_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    assert_refused(local_entry(name.encode(), b"evil"), tmp_path, "holds the path")


def test_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    assert_refused(local_entry(b"\xff", b""), tmp_path, "not UTF-8")


def test_duplicate_and_unordered_paths_are_refused(tmp_path: Path) -> None:
    assert_refused(local_entry(b"a", b"1") + local_entry(b"a", b"2"), tmp_path, "come twice")
    assert_refused(local_entry(b"b", b"1") + local_entry(b"a", b"2"), tmp_path, "out of order")


def test_file_that_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    data = local_entry(b"a", b"1") + local_entry(b"a-b", b"") + local_entry(b"a/b", b"2")
    assert_refused(data, tmp_path, "below a path that is a file")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"compress_type": zipfile.ZIP_DEFLATED}, "compressed"),
        ({"external_attr": 0o120777 << 16}, "directory is not the one"),
        ({"external_attr": 0o100755 << 16}, "directory is not the one"),
        ({"comment": b"hi"}, "directory is not the one"),
        ({"date_time": (2020, 1, 1, 0, 0, 0)}, "other flags, date"),
        ({"extra": b"\x01\x00\x00\x00"}, "other flags, date"),
    ],
)
def test_archive_of_another_kind_is_refused(changes: dict[str, object], match: str, tmp_path: Path) -> None:
    assert_refused(zipped({"ü": b"content" * 100}, **changes), tmp_path, match)


def test_the_standard_librarys_plain_archive_is_ours(tmp_path: Path) -> None:
    """The negative cases above differ from a good archive by one thing only."""
    (tmp_path / "a.zip").write_bytes(zipped({"ü": b"content"}))
    assert [entry.path for entry in archive_entries(tmp_path / "a.zip")] == ["ü"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: b"x" + data,
        lambda data: data[:40],
        lambda data: data[:10],
        lambda data: b"",
        lambda data: data.replace(b"gr\xc3\xbc", b"GR\xc3\xbc", 1),
        lambda data: data[:-22],
    ],
)
def test_damaged_archive_is_refused(archive: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    assert_refused(damage(archive.read_bytes()), tmp_path, "archive")


def test_no_byte_can_be_changed_unnoticed(tmp_path: Path) -> None:
    write_archive(write_files(tmp_path / "f", {"a": "content", "b": ""}), tmp_path / "a.zip")
    data = (tmp_path / "a.zip").read_bytes()
    digest = archive_digest(tmp_path / "a.zip")
    changed = tmp_path / "changed.zip"
    for position in range(len(data)):
        changed.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        try:
            assert archive_digest(changed) != digest
        except VerificationError:
            continue


def test_limits_are_checked_before_anything_is_written(archive: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    for limits in ({"max_bytes": 100, "max_files": 100}, {"max_bytes": 1 << 20, "max_files": 3}):
        with pytest.raises(VerificationError, match="more than"):
            extract_archive(archive, dest, **limits)
    assert not dest.exists()


def test_size_that_is_claimed_but_not_there_is_refused_at_once(tmp_path: Path) -> None:
    header = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0x800, 0, 0, 33, 0, 0xFFFF_FFF0, 0xFFFF_FFF0, 1, 0)
    assert_refused(header + b"a", tmp_path, "more than|cut short")


def test_existing_files_are_never_touched(archive: Path, tmp_path: Path) -> None:
    dest = write_files(tmp_path / "dest", {"mine": "mine"})
    with pytest.raises(VerificationError, match="not empty"):
        extract(archive, dest)
    assert [path.name for path in dest.iterdir()] == ["mine"]


def test_link_in_the_folder_is_refused_when_writing(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "f", {"a": ""})
    (folder / "link").symlink_to("a")
    with pytest.raises(VerificationError, match="symbolic link"):
        write_archive(folder, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()
