from __future__ import annotations

import numpy as np

days = np.arange("2020-01-01", "2024-01-01", dtype="datetime64[D]")
print(np.busday_count(days[0], days[-1]), np.datetime64("now"), np.unique(days.astype("datetime64[M]")).size)
print(np.char.upper(np.array(["a", "ä"])), np.array2string(np.linspace(0, 1, 7), precision=17))
