"""A native program through the whole network: built by its recipe, run behind bubblewrap by two owners who agree."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from fairgrid.errors import FairgridError
from fairgrid.localnet.options import LocalNetworkOptions, honest_workers
from fairgrid.runtime.process.bubblewrap import find_bubblewrap
from tests.e2e.network import running_network
from tests.needs import need

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
EXAMPLE = Path(__file__).parents[2] / "examples" / "alignment"
LETTERS = "ARNDCQEGHILKMFPSTWYV"


def proteins(source: random.Random, count: int) -> dict[str, str]:
    return {f"protein-{number}": "".join(source.choices(LETTERS, k=200)) for number in range(count)}


def fasta(entries: dict[str, str]) -> str:
    return "".join(f">{name} made up\n{letters}\n" for name, letters in entries.items())


def test_a_native_program_is_run_by_two_owners_who_agree(tmp_path: Path) -> None:
    need(shutil.which("cc"), "no C compiler to build the example with")
    try:
        find_bubblewrap()
    except FairgridError as error:
        need(False, str(error))
    built = subprocess.run([EXAMPLE / "build.sh", tmp_path], capture_output=True, timeout=60, check=False)
    assert built.returncode == 0, built.stderr.decode()
    source = random.Random(11)
    entries = proteins(source, 300)
    wanted = entries["protein-77"]
    # Alike: the same with a gap, and half of it.
    entries["gap"] = wanted[:90] + wanted[95:]
    entries["half"] = wanted[50:150]
    (tmp_path / "query.fasta").write_text(fasta({"query": wanted}))
    (tmp_path / "database.fasta").write_text(fasta(entries))
    options = LocalNetworkOptions(levels=("wasm", "process"))
    with running_network(tmp_path / "network", tmp_path, workers=honest_workers(2), options=options) as network:
        answer = network.fairgrid(
            *("run", tmp_path / "align.elf", "--input", "query.fasta", "--input", "database.fasta"),
            *("--arg", "query.fasta", "--arg", "database.fasta", "--arg", "3"),
            *("--trust", "0.5", "--workers-at-least", "2", "--out", "out", "--json"),
            timeout_s=200,
        )
    assert answer.code == 0, answer.stderr
    assert sum(line["agreed"] for line in answer.document["contributions"]) == 2
    hits = [line.split("\t") for line in (tmp_path / "out" / "hits.tsv").read_text().splitlines()]
    assert [hit[0] for hit in hits] == ["protein-77", "gap", "half"]
    assert (tmp_path / "out" / "stdout.txt").read_text() == "302 proteins, 12059000 cells\n"
