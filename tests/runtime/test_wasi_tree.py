"""The guest's file system without a guest."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairgrid.runtime.wasm.guest_faults import Errno, GuestError, HostTrouble, OutputLimitReached
from fairgrid.runtime.wasm.wasi_handles import MAX_DESCRIPTORS, FolderHandle, HandleTable, StreamHandle
from fairgrid.runtime.wasm.wasi_nodes import FileNode, FolderNode
from fairgrid.runtime.wasm.wasi_tree import MAX_PATH_BYTES, Budget, Tree


def new_tree(tmp_path: Path, *, max_bytes: int = 1000, max_files: int = 10) -> tuple[Tree, FolderNode, Budget]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    budget = Budget(max_bytes, max_files)
    tree = Tree(scratch=scratch, budget=budget, start_ns=5)
    return tree, tree.writable_folder(), budget


def errno_of(error: pytest.ExceptionInfo[GuestError]) -> Errno:
    return error.value.errno


@pytest.mark.parametrize(
    ("path", "errno"),
    [
        ("", Errno.NOENT),
        ("/etc", Errno.NOTCAPABLE),
        ("..", Errno.NOTCAPABLE),
        ("folder/../..", Errno.NOTCAPABLE),
        ("none", Errno.NOENT),
        ("none/file", Errno.NOENT),
        ("file/below", Errno.NOTDIR),
        ("file/", Errno.NOTDIR),
        ("x" * 256, Errno.NAMETOOLONG),
    ],
)
def test_bad_path_is_the_guests_error(tmp_path: Path, path: str, errno: Errno) -> None:
    tree, root, _ = new_tree(tmp_path)
    tree.create_file(root, "file", 6)
    tree.create_folder(root, "folder", 6)
    with pytest.raises(GuestError) as error:
        tree.find(root, path)
    assert errno_of(error) == errno


@pytest.mark.parametrize("path", ["folder/file", "./folder//file", "folder/../folder/./file", "folder/sub/../file"])
def test_equal_paths_find_the_same_node(tmp_path: Path, path: str) -> None:
    tree, root, _ = new_tree(tmp_path)
    folder = tree.create_folder(root, "folder", 6)
    tree.create_folder(folder, "sub", 6)
    node = tree.create_file(folder, "file", 6)
    assert tree.find(root, path) is node
    assert tree.find(root, "folder/..") is root


def test_path_may_not_leave_the_folder_that_it_starts_from(tmp_path: Path) -> None:
    tree, root, _ = new_tree(tmp_path)
    folder = tree.create_folder(root, "folder", 6)
    with pytest.raises(GuestError) as error:
        tree.find(folder, "../folder")
    assert errno_of(error) == Errno.NOTCAPABLE


def test_numbers_count_up_in_order_of_creation(tmp_path: Path) -> None:
    tree, root, _ = new_tree(tmp_path)
    nodes = [tree.create_file(root, name, 6) for name in ("z", "a")]
    assert [root.number, *(node.number for node in nodes)] == [1, 2, 3]
    assert [name for name, _ in root.listing()] == ["a", "z"]


def test_budget_counts_what_is_kept_and_takes_back_what_is_removed(tmp_path: Path) -> None:
    tree, root, budget = new_tree(tmp_path, max_bytes=100, max_files=2)
    node = tree.create_file(root, "one", 6)
    tree.resize(node, 100)
    with pytest.raises(OutputLimitReached, match="bytes"):
        tree.resize(node, 101)
    tree.create_folder(root, "two", 6)
    with pytest.raises(OutputLimitReached, match="files"):
        tree.create_file(root, "three", 6)
    tree.remove_folder(root, "two", 7)
    tree.unlink(root, "one", 7)
    assert (budget.used_bytes, budget.used_files) == (0, 0)
    assert not node.backing.exists()


def test_removed_file_counts_until_it_is_closed(tmp_path: Path) -> None:
    tree, root, budget = new_tree(tmp_path)
    handles = HandleTable(tree, [FolderHandle(root, "/out")])
    node = tree.create_file(root, "file", 6)
    number = handles.open_file(node, readable=True, writable=True, flags=0)
    handle = handles.file(number)
    handle.write(tree, [memoryview(b"content")], 0)
    tree.unlink(root, "file", 7)
    buffer = bytearray(10)
    assert handle.read([memoryview(buffer)], 3) == 4 and buffer[:4] == b"tent"
    assert budget.used_bytes == 7
    handles.close(number)
    assert (budget.used_bytes, budget.used_files) == (0, 0)


def test_rename_replaces_a_file_and_frees_it(tmp_path: Path) -> None:
    tree, root, budget = new_tree(tmp_path)
    old = tree.create_file(root, "old", 6)
    tree.resize(tree.create_file(root, "new", 6), 50)
    tree.rename(root, "old", root, "new", 7)
    assert root.children == {"new": old}
    assert (budget.used_bytes, budget.used_files) == (0, 1)


@pytest.mark.parametrize(
    ("source", "target", "errno"),
    [
        ("folder", "folder/inner", Errno.INVAL),
        ("folder", "file", Errno.NOTDIR),
        ("file", "folder", Errno.ISDIR),
        ("other", "folder", Errno.NOTEMPTY),
        ("none", "file", Errno.NOENT),
        ("file", "line\nbreak", Errno.ILSEQ),
    ],
)
def test_rename_that_posix_refuses_is_refused(tmp_path: Path, source: str, target: str, errno: Errno) -> None:
    tree, root, _ = new_tree(tmp_path)
    folder = tree.create_folder(root, "folder", 6)
    tree.create_file(folder, "inside", 6)
    tree.create_folder(root, "other", 6)
    tree.create_file(root, "file", 6)
    new_parent, new_name, _ = tree.locate(root, target)
    with pytest.raises(GuestError) as error:
        tree.rename(root, source, new_parent, new_name or "", 7)
    assert errno_of(error) == errno


def test_path_limit_holds_for_new_nodes_and_for_moved_folders(tmp_path: Path) -> None:
    tree, root, _ = new_tree(tmp_path)
    deep = root
    for _ in range(4):
        deep = tree.create_folder(deep, "d" * 250, 6)
    room = MAX_PATH_BYTES - deep.path_bytes()
    tree.create_file(deep, "f" * room, 6)
    with pytest.raises(GuestError) as error:
        tree.create_file(deep, "f" * (room + 1), 6)
    assert errno_of(error) == Errno.NAMETOOLONG
    branch = tree.create_folder(root, "b", 6)
    tree.create_file(branch, "c" * (room - 1), 6)
    with pytest.raises(GuestError) as error:
        tree.rename(root, "b", deep, "b", 7)
    assert errno_of(error) == Errno.NAMETOOLONG


def test_read_only_mount_shows_files_and_takes_none(tmp_path: Path) -> None:
    tree, _, _ = new_tree(tmp_path)
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_text("content")
    mount = tree.read_only_folder(source)
    node = tree.find(mount, "sub/file")
    assert isinstance(node, FileNode) and node.size == 7
    for call in (
        lambda: tree.create_file(mount, "new", 6),
        lambda: tree.create_folder(mount, "new", 6),
        lambda: tree.unlink(tree.locate(mount, "sub/file")[0], "file", 6),
        lambda: tree.rename(mount, "sub", mount, "other", 6),
    ):
        with pytest.raises(GuestError) as error:
            call()
        assert errno_of(error) == Errno.ROFS


def test_link_on_the_host_is_trouble_of_the_host(tmp_path: Path) -> None:
    tree, _, _ = new_tree(tmp_path)
    source = tmp_path / "source"
    source.mkdir()
    (source / "link").symlink_to("/etc/passwd")
    with pytest.raises(HostTrouble, match="neither a file nor a folder"):
        tree.read_only_folder(source)


def test_hand_over_moves_files_and_folders(tmp_path: Path) -> None:
    tree, root, _ = new_tree(tmp_path)
    folder = tree.create_folder(root, "ü", 6)
    tree.create_file(folder, "file", 6).backing.write_bytes(b"content")
    tree.create_folder(root, "empty", 6)
    destination = tmp_path / "out"
    destination.mkdir()
    tree.hand_over(root, destination)
    assert (destination / "ü" / "file").read_bytes() == b"content"
    assert (destination / "empty").is_dir()


def test_descriptors_take_the_lowest_free_number_up_to_a_limit(tmp_path: Path) -> None:
    tree, root, _ = new_tree(tmp_path)
    handles = HandleTable(tree, [StreamHandle(None), FolderHandle(root, "/out")])
    assert [handles.open_folder(root) for _ in range(3)] == [2, 3, 4]
    handles.close(3)
    assert handles.open_folder(root) == 3
    with pytest.raises(GuestError) as error:
        while True:
            handles.open_folder(root)
    assert errno_of(error) == Errno.MFILE
    assert isinstance(handles.get(MAX_DESCRIPTORS - 1), FolderHandle)


def test_streams_have_no_position_and_folders_no_content(tmp_path: Path) -> None:
    tree, root, _ = new_tree(tmp_path)
    handles = HandleTable(tree, [StreamHandle(None), FolderHandle(root, "/out")])
    for number, errno in ((0, Errno.SPIPE), (1, Errno.ISDIR), (9, Errno.BADF)):
        with pytest.raises(GuestError) as error:
            handles.file(number)
        assert errno_of(error) == errno
