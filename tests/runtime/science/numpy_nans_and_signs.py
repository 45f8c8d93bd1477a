from __future__ import annotations

import numpy as np

with np.errstate(all="ignore"):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan])
    y = np.concatenate([x - x, x / x, np.sqrt(-np.abs(x)), x * 0, np.minimum.outer(x, x).ravel()])
np.save("bits.npy", y.view(np.uint64))
