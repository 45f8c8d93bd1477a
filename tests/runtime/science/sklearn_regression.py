from __future__ import annotations

from sklearn.datasets import make_regression
from sklearn.linear_model import Lasso, LinearRegression, Ridge
from sklearn.model_selection import cross_val_score

x, y = make_regression(300, 15, noise=3.0, random_state=0)
for model in (LinearRegression(), Ridge(0.5), Lasso(0.2)):
    print(cross_val_score(model, x, y), model.fit(x, y).coef_)
