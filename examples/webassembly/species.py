"""Cross-validated classifiers of iris flowers, with numpy and scikit-learn: the same bits on every machine."""

from __future__ import annotations

import json

import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

measures, species = load_iris(return_X_y=True)
models = {
    "forest": RandomForestClassifier(40),
    "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
}
scores = {name: cross_val_score(model, measures, species, cv=5) for name, model in models.items()}
with open("scores.json", "w") as file:
    json.dump({name: [float(score) for score in values] for name, values in scores.items()}, file, indent=1)
for name, values in scores.items():
    print(f"{name}: {np.mean(values):.4f} ± {np.std(values):.4f}")
