from __future__ import annotations

import pandas as pd

frame = pd.read_csv("/iexec_in/data.csv")
print(frame.dtypes.to_string(), frame.corr(numeric_only=True).to_string())
frame.pivot_table(index="city", columns="year", values="rain").to_json("pivot.json")
frame.to_pickle("frame.pkl")
frame.to_html("frame.html")
