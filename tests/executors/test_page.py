"""Every example of the page and of the README runs as it is written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = [
    text
    for text in re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "executor.md").read_text(), re.DOTALL)
    # One asks a host that answers nobody.
    if "api.example.org" not in text
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


def run(text: str, folder: Path) -> str:
    """What a script prints that ends well."""
    script = folder / "example.py"
    script.write_text(text)
    done = subprocess.run(
        [sys.executable, str(script)],
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
    printed = run(text.replace("fairgrid.Executor(", 'fairgrid.Executor("here", '), tmp_path)
    assert 3.1 < float(printed.split()[0]) < 3.2
