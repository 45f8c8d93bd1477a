"""What `mkdocs` does to our pages beyond Markdown; the files themselves stay readable where they lie.

* A page that is named in code, as `docs/trust.md`, becomes a link to it.
* A state diagram becomes a table: drawing it would need a script from another host.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

__all__ = ["linked", "on_page_markdown", "tabled"]

_PAGES = Path(__file__).parents[1] / "docs"
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_NAMED = re.compile(r"(?<!\[)`(?:docs/)?([a-z][a-z-]*\.md)`(?!\])")
_DIAGRAM = re.compile(
    r"(?:^<!-- diagram: \w+ -->\n)?^```mermaid\nstateDiagram-v2\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
_ARROW = re.compile(r"^\s*(\[\*\]|\w+) --> (\[\*\]|\w+)(?:: (.+))?$")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called for each page before it is rendered."""
    return linked(tabled(markdown))


def linked(text: str) -> str:
    """``text`` with links to the pages that it names in code, outside of fenced blocks."""

    def link(found: re.Match[str]) -> str:
        return f"[{found[1]}]({found[1]})" if (_PAGES / found[1]).is_file() else found[0]

    pieces = []
    end = 0
    for fence in _FENCE.finditer(text):
        pieces += [_NAMED.sub(link, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*pieces, _NAMED.sub(link, text[end:])])


def tabled(text: str) -> str:
    """``text`` with a table in the place of each state diagram.

    Raises:
        ValueError: a line of a diagram is no arrow.
    """
    return _DIAGRAM.sub(lambda found: _table(found[1]), text)


def _table(arrows: str) -> str:
    following: dict[str, list[str]] = defaultdict(list)
    for line in arrows.splitlines():
        arrow = _ARROW.match(line)
        if arrow is None:
            raise ValueError(f"This line of a state diagram is no arrow: {line!r}")
        before, after = ("begins" if arrow[1] == "[*]" else arrow[1]), ("the end" if arrow[2] == "[*]" else arrow[2])
        following[before].append(f"{after} ({arrow[3]})" if arrow[3] else after)
    rows = [f"| {state} | {', '.join(states)} |" for state, states in following.items()]
    return "\n".join(["| state | may become |", "|---|---|", *rows])
