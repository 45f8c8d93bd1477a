from __future__ import annotations

import numpy as np
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import confusion_matrix

x, y = load_iris(return_X_y=True)
forest = RandomForestClassifier(30, random_state=0).fit(x, y)
print(forest.feature_importances_, confusion_matrix(y, forest.predict(x)))
np.save("proba.npy", GradientBoostingClassifier(n_estimators=15, random_state=0).fit(x, y).predict_proba(x))
