from __future__ import annotations

import numpy as np
import pandas as pd

index = pd.date_range("2019-01-01", periods=2000, freq="h", tz="Europe/Berlin")
series = pd.Series(np.random.default_rng(2).normal(size=2000).cumsum(), index)
print(series.resample("W").ohlc().to_string())
series.rolling(24).mean().dropna().ewm(halflife=5).mean().to_csv("smooth.csv")
print(pd.Timestamp.now(), pd.Timestamp.now("Asia/Tokyo"))
