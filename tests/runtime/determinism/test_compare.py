"""Where two results differ first."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fairgrid.runtime.determinism.compare import first_difference


def folders(root: Path, first: dict[str, bytes], other: dict[str, bytes]) -> tuple[Path, Path]:
    for name, files in (("a", first), ("b", other)):
        for path, content in files.items():
            place = root / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        (root / name).mkdir(parents=True, exist_ok=True)
    return root / "a", root / "b"


def test_equal_results_have_no_difference(tmp_path: Path) -> None:
    files = {"x": b"1", "sub/y": b"", "z": b"\0" * 3_000_000}
    assert first_difference(*folders(tmp_path, files, files)) is None


def test_the_first_file_in_order_of_paths_is_told_with_byte_and_line_and_the_others_by_name(tmp_path: Path) -> None:
    found = first_difference(*folders(tmp_path, {"b": b"one\ntwo\n", "c": b"1"}, {"b": b"one\ntwx\n", "c": b"2"}))
    assert found is not None
    assert (found.path, found.offset, found.line, found.more) == ("b", 6, 2, ("c",))
    assert b"two" in found.first and b"twx" in found.other


def test_a_file_that_only_one_has_is_told_as_such(tmp_path: Path) -> None:
    found = first_difference(*folders(tmp_path, {"a": b"1"}, {"a": b"1", "a2": b"new"}))
    assert found is not None and (found.path, found.offset, found.first, found.other) == ("a2", None, b"", b"new")


def test_a_file_that_is_longer_differs_at_the_end_of_the_shorter(tmp_path: Path) -> None:
    found = first_difference(*folders(tmp_path, {"a": b"12"}, {"a": b"123"}))
    assert found is not None and found.offset == 2


def test_no_line_is_told_of_what_is_not_text(tmp_path: Path) -> None:
    found = first_difference(*folders(tmp_path, {"a": b"\0\n1"}, {"a": b"\0\n2"}))
    assert found is not None and (found.offset, found.line) == (2, None)


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_the_byte_is_the_first_that_differs(tmp_path_factory: object, first: bytes, other: bytes) -> None:
    root = tmp_path_factory.mktemp("f")  # type: ignore[attr-defined]
    found = first_difference(*folders(root, {"a": first}, {"a": other}))
    if first == other:
        assert found is None
        return
    assert found is not None and found.offset is not None
    assert first[: found.offset] == other[: found.offset]
    assert first[found.offset : found.offset + 1] != other[found.offset : found.offset + 1]
