"""The job behind the contract: the median of a table of numbers, as 32 bytes that a contract can read.

Reads  $IEXEC_IN/values.csv: a column `value` of decimal numbers.
Writes $IEXEC_OUT/computed.json with `callback-data`: the median in millionths, big-endian.
Exact fractions only, so the answer is the same on every machine by construction.
"""

from __future__ import annotations

import csv
import json
import os
from fractions import Fraction
from pathlib import Path

MICRO = 1_000_000


def median(path: Path) -> Fraction:
    """The middle value, or the mean of the two in the middle."""
    with path.open(newline="") as file:
        values = sorted(Fraction(row["value"]) for row in csv.DictReader(file))
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


def main() -> None:
    """Compute, and answer."""
    answer = round(median(Path(os.environ["IEXEC_IN"]) / "values.csv") * MICRO)
    document = {"callback-data": "0x" + answer.to_bytes(32, "big").hex()}
    (Path(os.environ["IEXEC_OUT"]) / "computed.json").write_text(json.dumps(document))
    print(f"the median is {answer / MICRO:.6f}")


if __name__ == "__main__":
    main()
