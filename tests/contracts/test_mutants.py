"""The list of mutants is current, and every mutant is killed."""

from __future__ import annotations

import re

import pytest

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
    assert run_all(MUTANTS) == 0, capsys.readouterr().out
