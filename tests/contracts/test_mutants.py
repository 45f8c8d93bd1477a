"""The list of mutants is current, and every mutant is killed.

All of them run where the sources that they meet were changed since the last recorded run (`make mutants` records one),
and always where ``FAIRGRID_MUTANTS=1``.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.contracts import mutant_record
from tests.contracts.mutant_record import RECORD, imports_of, is_recorded, source_digest
from tests.contracts.mutant_runner import REPOSITORY, Mutant, run_all
from tests.contracts.mutants import BATCH, CONTRACTS, MODELS, MUTANTS, PUBLISHED


def test_there_are_enough_mutants_of_contracts_and_model_and_each_has_its_own_name() -> None:
    assert len(CONTRACTS) >= 20
    assert len(BATCH) >= 20
    assert len(PUBLISHED) >= 10
    assert len(MODELS) >= 20
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_still_fits_the_source_and_names_a_test(mutant: Mutant) -> None:
    assert (REPOSITORY / mutant.file).read_text().count(mutant.text) == 1
    assert mutant.replacement != mutant.text
    file, _, test = mutant.killer.partition("::")
    assert re.search(rf"^def {test}\(", (REPOSITORY / file).read_text(), re.MULTILINE)
    assert bool(mutant.contracts) == mutant.file.startswith("contracts/")


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_every_mutant_is_killed_by_the_test_it_names(capsys: pytest.CaptureFixture[str]) -> None:
    if is_recorded() and os.environ.get("FAIRGRID_MUTANTS") != "1":
        return
    assert run_all(MUTANTS) == 0, capsys.readouterr().out


def test_the_record_covers_all_that_the_killing_tests_import() -> None:
    assert imports_of(MUTANTS) <= {"fairgrid.protocol", "fairgrid.chain", "fairgrid.errors"}


def test_a_change_of_a_source_breaks_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = source_digest()
    for part in ("contracts", "src/fairgrid", "scripts", "tests/contracts", "tests/protocol", "requirements"):
        shutil.copytree(REPOSITORY / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(mutant_record, "REPOSITORY", tmp_path)
    monkeypatch.setattr(mutant_record, "RECORD", tmp_path / RECORD.relative_to(REPOSITORY))
    assert source_digest() == before
    mutant_record.record()
    assert is_recorded()
    for changed in ("contracts/hub.vy", "src/fairgrid/protocol/model.py", "tests/protocol/actors.py"):
        file = tmp_path / changed
        text = file.read_text()
        file.write_text(f"{text}\n")
        assert not is_recorded(), changed
        file.write_text(text)
    pins = tmp_path / "requirements/dev.txt"
    pins.write_text(re.sub(r"^vyper==\S+", "vyper==0.0.1", pins.read_text(), flags=re.MULTILINE))
    assert not is_recorded()
