"""Mistakes that the tests must notice: each mutant is one wrong line of a contract or of the model, and who kills it.

    .venv/bin/python -m tests.contracts.mutants              all of them; exit 1 if one survives, else recorded
    .venv/bin/python -m tests.contracts.mutants claim        those with this text in their name

A mutant lives in a copy of the sources. A contract is compiled there, so that the test meets the mutated bytecode.
"""

from __future__ import annotations

import sys

from tests.contracts.batch_mutants import BATCH
from tests.contracts.contract_mutants import CONTRACTS
from tests.contracts.model_mutants import MODELS
from tests.contracts.mutant_record import record
from tests.contracts.mutant_runner import run_all
from tests.contracts.published_mutants import PUBLISHED

__all__ = ["BATCH", "CONTRACTS", "MODELS", "MUTANTS", "PUBLISHED"]

MUTANTS = (*CONTRACTS, *BATCH, *PUBLISHED, *MODELS)


if __name__ == "__main__":
    wanted = " ".join(sys.argv[1:])
    survived = run_all([mutant for mutant in MUTANTS if wanted in mutant.name])
    if not survived and not wanted:
        record()
    sys.exit(survived)
