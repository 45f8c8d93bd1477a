"""Every example of the page and of the README runs as it is written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import block, blocks_of

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = [
    text
    for text in re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "executor.md").read_text(), re.DOTALL)
    # One asks a host that answers nobody, one runs an app that tests/e2e/test_published_app.py publishes.
    if "api.example.org" not in text and "fairgrid.App" not in text
]
SAID = [
    "[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]",
    "27 111",
    "guarded: the global 'lock' is a _thread.lock",
    "5 48 [1, 1, 1]",
    "27 again, without a new deal: 1",
    "9\n[0, 1, 4, 9]",
    "100 calls, 8 tasks, 0 nRLC, True\n100 of 100 calls; 8 of 8 tasks",
]


def run(text: str, folder: Path, *arguments: str) -> str:
    """What a script prints that ends well."""
    script = folder / "example.py"
    script.write_text(text)
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env=os.environ | {"FAIRGRID_DIR": str(folder / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("number", "said"), list(enumerate(SAID)), ids=lambda value: str(value)[:1])
def test_each_example_says_what_it_should(tmp_path: Path, number: int, said: str) -> None:
    text = EXAMPLES[number].replace('network="local"', 'network="here"')
    assert said in run(text, tmp_path)


def test_every_example_is_run() -> None:
    assert len(EXAMPLES) == len(SAID)


def test_the_readme_estimates_pi(tmp_path: Path) -> None:
    page = (REPOSITORY / "README.md").read_text()
    (text,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert sum(bool(line.strip()) for line in text.splitlines()) == 5
    printed = run(
        text.replace("fairgrid.LocalNetwork() as local, local.executor(", 'fairgrid.Executor("here", '), tmp_path
    )
    assert 3.1 < float(printed.split()[0]) < 3.2


MIGRATION = [one.text for one in blocks_of("migration.md", "") if one.language == "python"]


@pytest.mark.timeout(300)
def test_one_script_says_the_same_wherever_it_runs(tmp_path: Path) -> None:
    (tmp_path / "anywhere.py").write_text(MIGRATION[0])
    lines = block("migration.md", "python anywhere.py").commands
    assert [line.split()[-1] for line in lines] == ["threads", "processes", "here", "local"]
    for where in ("threads", "processes", "here"):  # and on a network in tests/e2e/test_pages.py
        assert run(MIGRATION[0], tmp_path, where) == "124 171\n"


@pytest.mark.timeout(300)  # Dask alone takes a second of processor time to begin
@pytest.mark.parametrize(("old", "new"), [(1, 2), (3, 4), (3, 5), (6, 7)])
def test_programs_of_the_migration_page_say_the_same_before_and_after(tmp_path: Path, old: int, new: int) -> None:
    assert len(MIGRATION) == 8
    before, after = MIGRATION[old], MIGRATION[new]
    assert "fairgrid" not in before and '"local", budget="1 RLC"' in after
    said = run(before, tmp_path)
    assert said
    assert sorted(run(after.replace('"local"', '"here"'), tmp_path).split()) == sorted(said.split())
