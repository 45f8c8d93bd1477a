from __future__ import annotations

import numpy as np
import pandas as pd

rng = np.random.default_rng(5)
left = pd.DataFrame(
    {"key": rng.integers(0, 50, 5000), "value": rng.normal(size=5000), "name": rng.choice(list("abcde"), 5000)}
)
right = pd.DataFrame({"key": np.arange(50), "weight": rng.random(50)})
joined = left.merge(right, on="key")
table = joined.assign(product=joined.value * joined.weight).groupby(["name", "key"]).agg(["mean", "std", "count"])
table.to_csv("table.csv")
print(table.describe().to_string())
