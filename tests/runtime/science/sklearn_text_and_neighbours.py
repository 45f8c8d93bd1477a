from __future__ import annotations

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor

print(TfidfVectorizer().fit_transform(["a cat sat", "the cat ran", "dogs ran far"]).toarray())
x = np.linspace(0, 6, 60)[:, None]
np.save("gp.npy", GaussianProcessRegressor(random_state=0).fit(x, np.sin(x).ravel()).predict(x + 0.01))
np.save("knn.npy", KNeighborsRegressor(3).fit(x, np.sin(x).ravel()).predict(x + 0.3))
np.save(
    "mlp.npy", MLPRegressor(hidden_layer_sizes=(9,), max_iter=60, random_state=0).fit(x, np.sin(x).ravel()).predict(x)
)
