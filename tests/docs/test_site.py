"""The documentation is a site: strict, whole, and readable without a network."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.references import REPOSITORY

pytestmark = pytest.mark.timeout(300)

HOOKS = runpy.run_path(str(REPOSITORY / "scripts" / "site_hooks.py"))
ROLES = ("Requester", "App developer", "Data owner", "Worker owner", "Pool operator", "Contract developer")


def entries(nav: Any) -> Iterator[str]:
    """Every page of a `nav`."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from entries(part)


@pytest.fixture(scope="module")
def nav() -> list[dict[str, Any]]:
    found = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())["nav"]
    assert isinstance(found, list)
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-q", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_every_page_has_its_place_in_the_site(nav: list[dict[str, Any]]) -> None:
    pages = {path.relative_to(REPOSITORY / "docs").as_posix() for path in (REPOSITORY / "docs").rglob("*.md")}
    assert sorted(entries(nav)) == sorted(pages), "mkdocs.yml, `nav`: one entry for each page"


def test_every_role_has_a_way_in(nav: list[dict[str, Any]]) -> None:
    sections = {name: part for entry in nav for name, part in entry.items()}
    assert [role for role in ROLES if not isinstance(sections.get(role), list)] == []


def test_site_is_built_without_a_warning_and_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text()
        assert re.findall(r"<(?:script|img|iframe)[^>]+src=\"?(?:https?:)?//[^>]*>", text) == [], page
        assert re.findall(r"<link[^>]+href=\"?(?:https?:)?//[^>]*>", text) == [], page
        assert 'class="mermaid"' not in text, f"{page}: a diagram would be drawn by a script from another host"


def test_reference_has_what_the_package_offers(site: Path) -> None:
    page = (site / "reference.html").read_text()
    for name in ("executors.executor.Executor.map", "client.client.Client.quote", "errors.TrustUnreachable"):
        assert f'id="fairgrid.{name}"' in page


def test_pages_that_are_named_become_links_and_others_stay() -> None:
    linked = HOOKS["linked"]
    assert linked("see `docs/trust.md`.") == "see [trust.md](trust.md)."
    assert linked("`trust.md` has it") == "[trust.md](trust.md) has it"
    for text in ("`docs/nothing.md`", "```\n`docs/trust.md`\n```", "[`trust.md`](trust.md)", "`README.md`"):
        assert linked(text) == text


def test_state_diagrams_become_tables() -> None:
    diagram = "```mermaid\nstateDiagram-v2\n    [*] --> A\n    A --> B: done\n    A --> [*]\n```"
    assert HOOKS["tabled"](diagram).splitlines()[2:] == ["| begins | A |", "| A | B (done), the end |"]
    with pytest.raises(ValueError, match="no arrow"):
        HOOKS["tabled"]("```mermaid\nstateDiagram-v2\nA ->> B\n```")
