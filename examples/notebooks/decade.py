"""The seasons of a few years of measurements: the map of a map-reduce.

    fairgrid run decade.py --input 1958-1969.csv --runtime wasmtime-49/sci315/deterministic

Reads the one CSV file in $IEXEC_IN (date, co2), writes $IEXEC_OUT/seasons.csv: for each month how many weeks were
measured, and the sum of their distances from the year's running mean (ppmv). Sums and counts of many files add up;
means would not.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

(source,) = Path(os.environ["IEXEC_IN"]).glob("*.csv")
weeks = pd.read_csv(source, parse_dates=["date"], date_format="%Y%m%d").dropna().set_index("date")["co2"]
distance = weeks - weeks.rolling(53, center=True, min_periods=40).mean()
seasons = distance.dropna().groupby(lambda day: day.month).agg(["count", "sum"]).rename_axis("month")
seasons.to_csv(Path(os.environ["IEXEC_OUT"]) / "seasons.csv")
print(source.name, len(weeks), "weeks in", len(seasons), "months")
