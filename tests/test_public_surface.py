"""Every module says what it offers, and no file says where it was made."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "src" / "fairgrid"
MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if not {"versions", "guest"} & {part.name for part in path.parents}
)
RUN_BY_OTHERS = re.compile(r"__main__\.py|env\.py|r\d{4}_\w+\.py")
"""Files that are run by Python or by the migration tool, and imported by nobody."""
REGISTRY_HOSTS = re.compile(
    r"(?:pypi|npmjs|pythonhosted|crates|rubygems|anaconda)\.(?:org|com|io)"
    r"|registry\.(?:npmjs|yarnpkg)"
    r"|(?:index|extra-index)-url[ =]h"
)
HOME_PATHS = re.compile(rf"(?<![\w./])(?:/(?:root|home/\w+|Users/\w+)/[\w.]|{re.escape(str(REPOSITORY))}(?![\w.]))")
"""Homes of users, and the very folder that this clone lies in."""


def name_of(path: Path) -> str:
    """The module's dotted name."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def offered(path: Path) -> list[str] | None:
    """The module's ``__all__`` as it is written; None without one."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == ["__all__"]:
            names = ast.literal_eval(node.value)
            assert isinstance(names, list)
            return names
    return None


def in_order(name: str) -> tuple[int, list[str | int], str]:
    """CONSTANTS, then Classes, then functions; numbers inside of names count as numbers."""
    kind = 0 if name.isupper() else 1 if name[:1].isupper() else 2
    return kind, [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)], name


def tracked_texts() -> list[tuple[str, str]]:
    """Path and text of every file in git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is no clone, so no file is in git")
    texts: list[tuple[str, str]] = []
    for name in listed.stdout.decode().split("\0"):
        path = REPOSITORY / name
        if name and path.is_file() and not path.is_symlink():
            texts.append((name, path.read_bytes().decode("utf-8", "replace")))
    return texts


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_has_a_docstring_and_postponed_annotations(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{path.name} does not say what it is"
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    only_words = all(isinstance(node, ast.Expr) for node in tree.body)
    assert only_words or [alias.name for node in imports for alias in node.names] == ["annotations"]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_offered_names_are_sorted_and_exist(path: Path) -> None:
    names = offered(path)
    if names is None:
        defines = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        public = [node.name for node in defines if not node.name.startswith("_")]
        assert RUN_BY_OTHERS.fullmatch(path.name) or public == [], f"{name_of(path)} has no __all__"
        return
    assert names == sorted(names, key=in_order)
    assert len(names) == len(set(names))
    module = importlib.import_module(name_of(path))
    assert [name for name in names if not hasattr(module, name)] == []


@pytest.mark.parametrize("folder", sorted(PACKAGE.rglob("migrations")), ids=lambda folder: folder.parent.name)
def test_revisions_of_a_database_follow_each_other_one_by_one(folder: Path) -> None:
    written = [(path.name[1:5], path.read_text()) for path in sorted(folder.glob("r*.py"))]
    numbers = [number for number, _ in written]
    assert numbers == [f"{place:04}" for place in range(1, len(numbers) + 1)], "two have one number, or one is missing"
    for number, text in written:
        before = rf'"(?:\w+_)?{int(number) - 1:04}"' if number != "0001" else "None"
        assert re.search(rf'^revision = "(?:\w+_)?{number}"$', text, re.MULTILINE), number
        assert re.search(rf"^down_revision = {before}$", text, re.MULTILINE), number


def test_no_file_names_a_package_registry() -> None:
    this = Path(__file__).relative_to(REPOSITORY).as_posix()
    found = [(name, hit[0]) for name, text in tracked_texts() if name != this and (hit := REGISTRY_HOSTS.search(text))]
    assert found == []


def test_no_file_names_a_folder_of_the_machine_it_was_made_on() -> None:
    this = Path(__file__).relative_to(REPOSITORY).as_posix()
    found = [(name, hit[0]) for name, text in tracked_texts() if name != this and (hit := HOME_PATHS.search(text))]
    assert found == []


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("/root/x", True),
        ("see /home/ann/grid", True),
        (f"see {REPOSITORY}", True),
        (f"see {REPOSITORY}/src", True),
        ("/iexec_in/a", False),
        ("fair/home/ann/x", False),
        ("/rooted", False),
    ],
)
def test_folders_of_a_machine_are_told_from_others(text: str, is_found: bool) -> None:
    assert bool(HOME_PATHS.search(text)) is is_found
