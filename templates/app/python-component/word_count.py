"""Counts the words of every input, as a component: writes words.csv (the most frequent first) and files.csv.

Arguments: how many words words.csv lists, 100 unless it is said.

The result depends on nothing but inputs and arguments, so every machine writes the same bytes. Modules are imported
when the component is built; pure Python packages may be among them.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter

from wit_world import exports

INPUTS, OUTPUT = "/iexec_in", "/iexec_out"
LONGEST = 64
WORD = re.compile(rb"[A-Za-z]+")


class Run(exports.Run):
    """What ``wasi:cli/run`` calls."""

    def run(self) -> None:
        """Read the inputs, write the tables; ``sys.argv`` holds the job's arguments."""
        most = int(sys.argv[1]) if len(sys.argv) > 1 else 100
        # The same inputs are there once more under the names of their hashes, which begin with 0x.
        names = sorted(name for name in os.listdir(INPUTS) if not name.startswith("0x"))
        counts: Counter[str] = Counter()
        with open(f"{OUTPUT}/files.csv", "w", newline="\n") as table:
            print("file,words", file=table)
            for name in names:
                words = words_in(f"{INPUTS}/{name}")
                counts.update(words)
                print(f"{name},{len(words)}", file=table)
        with open(f"{OUTPUT}/words.csv", "w", newline="\n") as table:
            print("word,count", file=table)
            for word, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:most]:
                print(f"{word},{count}", file=table)
        print(f"{counts.total()} words, {len(counts)} different, in {len(names)} files")


def words_in(path: str) -> list[str]:
    """Runs of ASCII letters, in lower case, cut after 64 letters."""
    with open(path, "rb") as file:
        return [word[:LONGEST].decode().lower() for word in WORD.findall(file.read())]
