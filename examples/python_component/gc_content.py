"""The share of G and C in each sequence of the FASTA files among the inputs, as a component: see README.md."""

from __future__ import annotations

import csv
import os
import random
import sys
from collections.abc import Iterator

from wit_world import exports

INPUTS, OUTPUT = "/iexec_in", "/iexec_out/gc_content.csv"
SAMPLES = 200


class Run(exports.Run):
    """What ``wasi:cli/run`` calls."""

    def run(self) -> None:
        """Write the table, with an interval by the bootstrap; ``sys.argv`` holds the job's arguments."""
        samples = int(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
        # The state of `random` is the one that was built into the component; the job's own seed comes from the system.
        random.seed(os.urandom(16))
        with open(OUTPUT, "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["sequence", "length", "gc", "low", "high"])
            for name, sequence in sequences():
                table.writerow([name, len(sequence), f"{share(sequence):.4f}", *interval(sequence, samples)])
        print("wrote", OUTPUT)


def sequences() -> Iterator[tuple[str, str]]:
    """Name and letters of every sequence, file by file."""
    for path in sorted(os.listdir(INPUTS)):
        if path.endswith((".fa", ".fasta")):
            with open(f"{INPUTS}/{path}") as file:
                for block in file.read().split(">")[1:]:
                    name, _, letters = block.partition("\n")
                    yield name.split()[0], "".join(letters.split()).upper()


def share(sequence: str) -> float:
    """G and C among the letters."""
    return (sequence.count("G") + sequence.count("C")) / max(len(sequence), 1)


def interval(sequence: str, samples: int) -> list[str]:
    """The middle 90 % of the shares of samples with replacement."""
    shares = sorted(share("".join(random.choices(sequence, k=len(sequence)))) for _ in range(samples))
    return [f"{shares[int(len(shares) * at)]:.4f}" for at in (0.05, 0.95)]
