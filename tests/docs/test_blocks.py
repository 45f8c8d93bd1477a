"""Every command and snippet of README and docs is run by a test, or `blocks.toml` says why not."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fairgrid.client.burst import load_burst_rules
from fairgrid.worker.owner.policy_file import load_policy
from tests.docs.blocks import Block, block, blocks, blocks_of
from tests.docs.references import REPOSITORY, missing

LISTED: dict[str, dict[str, dict[str, str]]] = tomllib.loads((Path(__file__).parent / "blocks.toml").read_text())
WITH_POLICIES = {"engines.md", "tutorial.md", "worker-owner.md"}
POLICIES = [
    one for one in blocks() if one.page in WITH_POLICIES and one.language == "toml" and "sha256:…" not in one.text
]


def entry_of(one: Block) -> str | None:
    """The most exact entry that stands for a block."""
    known = LISTED.get(one.page, {})
    fitting = [begins for begins in known if one.text.lstrip().startswith(begins)]
    return max(fitting, key=len, default=None)


def test_every_block_is_run_or_says_why_not() -> None:
    unknown = [f"{one.page}: {one.begins}" for one in blocks() if entry_of(one) is None]
    assert unknown == [], "add each to tests/docs/blocks.toml, with the test that runs it, or with why none does"


def test_every_entry_stands_for_a_block() -> None:
    """An empty beginning would stand for whatever is written later."""
    used = {(one.page, entry_of(one)) for one in blocks()}
    assert [page for page, known in LISTED.items() if "" in known] == []
    assert [(page, begins) for page, known in LISTED.items() for begins in known if (page, begins) not in used] == []


def test_every_entry_names_a_test_that_there_is_or_a_reason() -> None:
    wrong = []
    for page, known in LISTED.items():
        for begins, entry in known.items():
            if set(entry) == {"test"}:
                wrong += [f"{page}, {begins!r}: {fault}"] if (fault := missing(entry["test"])) else []
            elif set(entry) != {"why"} or len(entry["why"]) < 6:
                wrong.append(f"{page}, {begins!r}: neither a test nor a reason")
    assert wrong == []


@pytest.mark.parametrize("begins", ["no block begins so", ""])
def test_block_that_is_not_there_or_not_one_is_an_error(begins: str) -> None:
    with pytest.raises(ValueError, match="blocks that begin"):
        block("tutorial.md", begins)


def test_five_lines_are_the_same_on_the_site() -> None:
    assert block("index.md", "import fairgrid").text == block("README.md", "import fairgrid").text


@pytest.mark.parametrize("shown", POLICIES, ids=lambda one: f"{one.page}: {one.begins}")
def test_policies_of_the_pages_are_accepted(tmp_path: Path, shown: Block) -> None:
    (tmp_path / "policy.toml").write_text(shown.text)
    load_policy(tmp_path / "policy.toml")


def test_policies_of_three_pages_are_read() -> None:
    assert {one.page for one in POLICIES} == WITH_POLICIES


def test_rules_of_a_burst_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "burst.toml").write_text(block("pool-operator.md", "[burst]").text)
    assert load_burst_rules(tmp_path / "burst.toml").daily_cap_nrlc == 2_000_000_000


def test_scripts_that_tell_progress_and_keep_checkpoints_do(tmp_path: Path) -> None:
    progress, checkpoint = (one.text for one in blocks_of("running-jobs.md", "import"))
    environment: dict[str, Any] = os.environ | {
        "FAIRGRID_PROGRESS": str(tmp_path / "progress"),
        "FAIRGRID_CHECKPOINT": str(tmp_path),
    }
    for text in (progress, checkpoint):
        subprocess.run([sys.executable, "-c", text], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "progress").read_text() == "0.42 epoch 21 of 50\n"
    assert (tmp_path / "state.json").read_text() == '{"step": 100, "total": 328350}'
    assert (tmp_path / "total.txt").read_text().strip() == "328350"


def test_blocks_are_found_with_their_language_and_commands() -> None:
    assert (REPOSITORY / "README.md").is_file()
    made = Block("x.md", "", "# first\nfairgrid up --detach   # starts it\n\nfairgrid down\n")
    assert (made.begins, made.commands) == ("# first", ["fairgrid up --detach", "fairgrid down"])
