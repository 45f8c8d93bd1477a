"""Two branches that each add a revision of the same number merge without a conflict: here it is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "fairgrid"
FOLDERS = sorted(SOURCE.rglob("migrations"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_every_revision_follows_another_in_one_line(folder: Path) -> None:
    texts = [file.read_text() for file in sorted(folder.glob("r[0-9]*.py"))]
    names = [re.search(r'^revision = "(.*)"', text, re.MULTILINE) for text in texts]
    befores = [re.search(r'^down_revision(?:: .*)? = (?:"(.*)"|None)', text, re.MULTILINE) for text in texts]
    found = [name[1] if name else "" for name in names]
    assert found and len(set(found)) == len(found), f"{folder}: a revision's number is given twice: {found}"
    assert [before[1] if before else "" for before in befores] == [None, *found[:-1]], f"{folder}: no single line"
