from __future__ import annotations

import numpy as np
from sklearn.cluster import DBSCAN, KMeans
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA

x, _ = make_blobs(400, 5, centers=4, random_state=1)
means = KMeans(4, n_init=3, random_state=0).fit(x)
print(means.inertia_, np.bincount(means.labels_), np.unique(DBSCAN(1.5).fit_predict(x)))
np.save("pca.npy", PCA(2).fit_transform(x))
