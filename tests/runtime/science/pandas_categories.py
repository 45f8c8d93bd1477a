from __future__ import annotations

import numpy as np
import pandas as pd

frame = pd.DataFrame({"c": pd.Categorical(np.random.default_rng(4).choice(["x", "y", "z"], 300)), "n": range(300)})
print(pd.get_dummies(frame).sum().to_string(), pd.crosstab(frame.c, frame.n % 7).to_string())
print(frame.groupby("c", observed=True).n.quantile([0.1, 0.9]).to_string())
