"""The fenced blocks of README and pages: what each is, found by its page and its beginning."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from tests.docs.references import REPOSITORY

__all__ = ["Block", "block", "blocks", "blocks_of"]

_FENCED = re.compile(r"^ *```([^\n]*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_GENERATED = {"commands.md"}
"""Its blocks are made of the program's own parser."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block. ``page`` is the name of its file."""

    page: str
    language: str
    text: str

    @property
    def begins(self) -> str:
        """Its first line that is not empty."""
        return next((line.strip() for line in self.text.splitlines() if line.strip()), "")

    @property
    def commands(self) -> list[str]:
        """Its lines without comments, for blocks of a shell."""
        lines = (re.split(r"\s+# ", line)[0].strip() for line in self.text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


@cache
def blocks() -> tuple[Block, ...]:
    """All of README and `docs`, in order."""
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    return tuple(
        Block(page.name, found[1].strip(), found[2])
        for page in pages
        if page.name not in _GENERATED
        for found in _FENCED.finditer(page.read_text())
    )


def blocks_of(page: str, begins: str) -> tuple[Block, ...]:
    """The blocks of a page that begin so."""
    return tuple(one for one in blocks() if one.page == page and one.text.lstrip().startswith(begins))


def block(page: str, begins: str) -> Block:
    """The one block of a page that begins so.

    Raises:
        ValueError: there is none, or several: then begin with more of it.
    """
    found = blocks_of(page, begins)
    if len(found) != 1:
        raise ValueError(f"{page} has {len(found)} blocks that begin with {begins!r}")
    return found[0]
