"""What a virtual image may say of itself, and which disks are refused before a machine sees them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from fairgrid.errors import UsageError
from fairgrid.runtime.catalogue import runtime_for_program
from fairgrid.runtime.companions import with_companions
from fairgrid.runtime.interface import Limits
from fairgrid.runtime.vm.image import VirtualImage, disk_fault, disk_format, kernel_fault, parts_beside, read_image
from fairgrid.runtime.vm.qemu import MachineFiles, machine_command


def written(folder: Path, wire: object) -> Path:
    path = folder / "image.vm.json"
    path.write_text(json.dumps(wire))
    return path


def test_a_description_names_its_parts(tmp_path: Path) -> None:
    path = written(tmp_path, {"fairgrid": "vm/1", "kernel": "vmlinuz", "disk": "d.qcow2", "append": "ro root=/dev/vda"})
    assert read_image(path) == VirtualImage(kernel="vmlinuz", disk="d.qcow2", append="ro root=/dev/vda")
    assert read_image(path).parts == ("vmlinuz", "d.qcow2")
    (tmp_path / "vmlinuz").write_bytes(b"")
    assert parts_beside(path) == (tmp_path / "vmlinuz",)
    assert runtime_for_program(path).runtime_id == "vm/x86_64"


def test_a_disk_by_itself_is_an_image(tmp_path: Path) -> None:
    assert read_image(tmp_path / "x.qcow2") == VirtualImage(disk="x.qcow2")
    assert parts_beside(tmp_path / "x.qcow2") == ()


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        ([], "must be an object"),
        ({"kernel": "k"}, '"vm/1"'),
        ({"fairgrid": "vm/2", "kernel": "k"}, '"vm/1"'),
        ({"fairgrid": "vm/1", "kernel": "k", "net": "user"}, "of the keys"),
        ({"fairgrid": "vm/1"}, "neither a kernel nor a disk"),
        ({"fairgrid": "vm/1", "kernel": "../../etc/shadow"}, "kernel is not usable"),
        ({"fairgrid": "vm/1", "kernel": "/etc/shadow"}, "kernel is not usable"),
        ({"fairgrid": "vm/1", "kernel": "k,if=none"}, "kernel is not usable"),
        ({"fairgrid": "vm/1", "kernel": 7}, "kernel is not usable"),
        ({"fairgrid": "vm/1", "kernel": "k", "append": "a\nb"}, "append is not usable"),
        ({"fairgrid": "vm/1", "disk": "d.qcow2", "initrd": "i"}, "need a kernel"),
    ],
)
def test_a_description_that_says_anything_else_is_refused(tmp_path: Path, wire: object, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        read_image(written(tmp_path, wire))


def test_garbage_and_giants_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.vm.json"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not JSON"):
        read_image(path)
    path.write_bytes(b" " * 20_000)
    with pytest.raises(UsageError, match="more than"):
        read_image(path)


def qcow2(*, version: int = 3, backing: int = 0, incompatible: int = 0) -> bytes:
    head = b"QFI\xfb" + struct.pack(">IQ", version, backing)
    return head.ljust(72, b"\0") + struct.pack(">Q", incompatible) + bytes(1024)


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("d.qcow2", qcow2(), None),
        ("d.qcow2", qcow2(version=2), None),
        ("d.qcow2", qcow2(incompatible=1), None),
        ("d.qcow2", qcow2(backing=0x200), "backing file"),
        ("d.qcow2", qcow2(version=2, backing=0x200), "backing file"),
        ("d.qcow2", qcow2(incompatible=4), "another file"),
        ("d.qcow2", qcow2(incompatible=1 << 7), "not known"),
        ("d.qcow2", qcow2(version=9), "version 9"),
        ("d.qcow2", b"\0" * 4096, "not the header"),
        ("d.qcow2", b"QFI\xfb", "not the header"),
        ("d.img", b"\0" * 512, None),
        ("d.img", qcow2(backing=0x200), "give it that ending"),
    ],
)
def test_a_disk_that_leans_on_files_of_the_host_is_refused(
    tmp_path: Path, name: str, content: bytes, fault: str | None
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = disk_fault(path)
    assert (found is None) if fault is None else (found is not None and fault in found)
    assert disk_format(path) == ("qcow2" if name.endswith("qcow2") else "raw")


def test_only_a_linux_kernel_is_a_kernel(tmp_path: Path) -> None:
    path = tmp_path / "k"
    path.write_bytes(bytes(0x202) + b"HdrS")
    assert kernel_fault(path) is None
    path.write_bytes(b"\x7fELF")
    assert "bzImage" in str(kernel_fault(path))


def test_parts_beside_a_description_are_sent_unless_they_were_named(tmp_path: Path) -> None:
    path = written(tmp_path, {"fairgrid": "vm/1", "kernel": "vmlinuz", "initrd": "initrd.img"})
    for name in ("vmlinuz", "initrd.img"):
        (tmp_path / name).write_bytes(b"x")
    data, other = tmp_path / "data.csv", tmp_path / "else" / "vmlinuz"
    assert with_companions("vm/x86_64", path, [data]) == [data, tmp_path / "vmlinuz", tmp_path / "initrd.img"]
    assert with_companions("vm/x86_64", path, [other]) == [other, tmp_path / "initrd.img"]
    assert with_companions("wasmtime-49/py312/deterministic", tmp_path / "a.py", [data]) == [data]


def test_the_kernel_does_not_judge_the_timer_of_a_busy_machine(tmp_path: Path) -> None:
    """It panicked at boot on a machine with ten times more work than processors, and that looked like a result."""
    files = MachineFiles(tmp_path / "in", tmp_path / "out", kernel=tmp_path / "vmlinuz", append="mine")
    command = machine_command("qemu", "tcg", files, Limits(fuel=0), stdout_fd=5)
    words = command[command.index("-append") + 1].split()
    assert "no_timer_check" in words and words[-1] == "mine"
