from __future__ import annotations

import base64
import hashlib
import io
import os
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

from fairgrid.errors import HostFailure, UsageError, VerificationError
from fairgrid.localnet import download
from fairgrid.localnet.download import ensure_anvil, exclusive, npm_command, unpack_binary, verify_integrity

CONTENT = b"#!/bin/sh\necho a chain\n"


def package(path: Path, name: str, *, link: bool = False) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(name)
        if link:
            entry.type = tarfile.SYMTYPE
            entry.linkname = "/etc/passwd"
            archive.addfile(entry)
        else:
            entry.size = len(CONTENT)
            archive.addfile(entry, io.BytesIO(CONTENT))
    return path


def integrity_of(path: Path) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def fake_npm(folder: Path, source: Path, *, exit_code: int = 0) -> None:
    """An npm that writes a line to calls.txt and hands out ``source``."""
    folder.mkdir()
    (folder / "node").write_text("#!/bin/sh\n")
    (folder / "npm").write_text(
        f"#!/bin/sh\necho call >> {folder}/calls.txt\nsleep 0.2\necho registry says no >&2\n"
        f"cp {source} $4/package.tgz\nexit {exit_code}\n"
    )
    for program in ("node", "npm"):
        (folder / program).chmod(0o755)


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of our own, and a package of our own that is pinned for this platform."""
    monkeypatch.setenv("FAIRGRID_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FAIRGRID_ANVIL", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    source = package(tmp_path / "source.tgz", "package/bin/anvil")
    monkeypatch.setattr(download, "_INTEGRITY", {download.platform_name(): integrity_of(source)})
    return source


def test_the_pinned_package_becomes_a_program_and_is_fetched_once_by_two_callers(pinned: Path, tmp_path: Path) -> None:
    fake_npm(tmp_path / "bin", pinned)
    told: list[str] = []
    found: list[Path] = []
    callers = [threading.Thread(target=lambda: found.append(ensure_anvil(told.append))) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found[0] == found[1]
    assert found[0].read_bytes() == CONTENT
    assert os.access(found[0], os.X_OK)
    assert (tmp_path / "bin" / "calls.txt").read_text() == "call\n"
    assert len(told) == 1
    assert sorted(path.name for path in found[0].parent.iterdir()) == ["anvil", "lock"]


def test_a_package_with_another_hash_is_refused_and_nothing_of_it_is_kept(pinned: Path, tmp_path: Path) -> None:
    fake_npm(tmp_path / "bin", package(tmp_path / "other.tgz", "package/bin/other"))
    with pytest.raises(VerificationError, match="not the pinned one"):
        ensure_anvil()
    assert not list((tmp_path / "cache").rglob("anvil"))[1:]
    assert not any(path.is_file() and path.name != "lock" for path in (tmp_path / "cache").rglob("*"))


def test_an_npm_that_fails_is_quoted(pinned: Path, tmp_path: Path) -> None:
    fake_npm(tmp_path / "bin", pinned, exit_code=7)
    with pytest.raises(HostFailure, match=r"(?s)exit code 7.*registry says no"):
        ensure_anvil()


def test_a_binary_named_in_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRGRID_ANVIL", sys.executable)
    assert ensure_anvil() == Path(sys.executable)


def test_a_binary_named_in_the_environment_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAIRGRID_ANVIL", str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="FAIRGRID_ANVIL names"):
        ensure_anvil()


def test_a_platform_without_a_pin_is_told_what_to_do(pinned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_INTEGRITY", {})
    with pytest.raises(UsageError, match="name its binary in FAIRGRID_ANVIL"):
        ensure_anvil()


def test_integrity_accepts_the_right_hash_only(tmp_path: Path) -> None:
    file = package(tmp_path / "a.tgz", "package/bin/anvil")
    verify_integrity(file, integrity_of(file))
    with pytest.raises(VerificationError, match="Nothing of it was used"):
        verify_integrity(file, integrity_of(file).replace("sha512-", "sha512-A"))


@pytest.mark.parametrize(
    ("name", "link"), [("package/bin/other", False), ("package/bin/anvil", True), ("../package/bin/anvil", False)]
)
def test_a_package_whose_program_is_missing_or_a_link_is_refused(tmp_path: Path, name: str, link: bool) -> None:
    file = package(tmp_path / "a.tgz", name, link=link)
    with pytest.raises(VerificationError):
        unpack_binary(file, "package/bin/anvil", tmp_path / "anvil")
    assert not (tmp_path / "anvil").exists()


def test_a_second_holder_of_a_lock_waits(tmp_path: Path) -> None:
    order: list[str] = []
    held = threading.Event()

    def first() -> None:
        with exclusive(tmp_path / "lock"):
            held.set()
            time.sleep(0.2)
            order.append("first")

    holder = threading.Thread(target=first)
    holder.start()
    held.wait()
    with exclusive(tmp_path / "lock"):
        order.append("second")
    holder.join()
    assert order == ["first", "second"]


def test_an_installed_npm_is_preferred(pinned: Path, tmp_path: Path) -> None:
    fake_npm(tmp_path / "bin", pinned)
    told: list[str] = []
    assert npm_command(told.append) == [str(tmp_path / "bin" / "npm")]
    assert told == []
