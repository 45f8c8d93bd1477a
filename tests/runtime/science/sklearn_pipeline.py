from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

x, y = load_digits(n_class=4, return_X_y=True)
a, b, c, d = train_test_split(x, y, random_state=0)
search = GridSearchCV(make_pipeline(StandardScaler(), SVC()), {"svc__C": [0.5, 2]}, cv=2).fit(a, c)
print(search.best_params_, search.score(b, d))
np.save("logistic.npy", make_pipeline(StandardScaler(), LogisticRegression(max_iter=60)).fit(a, c).predict_proba(b))
