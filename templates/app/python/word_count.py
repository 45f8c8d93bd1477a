"""Counts the words of every input: writes words.csv (the most frequent first) and files.csv.

Arguments: how many words words.csv lists, 100 unless it is said.

The result depends on nothing but inputs and arguments, so every machine writes the same bytes: files are sorted by
name, words by count and then by spelling, and nothing asks for the time.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from pathlib import Path

LONGEST = 64
WORD = re.compile(rb"[A-Za-z]+")


def words_of(data: bytes) -> list[str]:
    """Runs of ASCII letters, in lower case, cut after 64 letters."""
    return [word[:LONGEST].decode().lower() for word in WORD.findall(data)]


def main() -> None:
    """Read ``$IEXEC_IN``, write ``$IEXEC_OUT``."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    out = Path(os.environ["IEXEC_OUT"])
    # The same inputs are there once more under the names of their hashes, which begin with 0x.
    inputs = sorted(
        path for path in Path(os.environ["IEXEC_IN"]).iterdir() if path.is_file() and not path.name.startswith("0x")
    )
    counts: Counter[str] = Counter()
    with (out / "files.csv").open("w", newline="\n") as table:
        print("file,words", file=table)
        for path in inputs:
            words = words_of(path.read_bytes())
            counts.update(words)
            print(f"{path.name},{len(words)}", file=table)
    with (out / "words.csv").open("w", newline="\n") as table:
        print("word,count", file=table)
        for word, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:most]:
            print(f"{word},{count}", file=table)
    print(f"{counts.total()} words, {len(counts)} different, in {len(inputs)} files")


if __name__ == "__main__":
    main()
