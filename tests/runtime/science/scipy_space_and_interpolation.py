from __future__ import annotations

import numpy as np
from scipy import cluster, interpolate, spatial

points = np.random.default_rng(10).random((300, 2))
print(
    spatial.ConvexHull(points).volume,
    spatial.Delaunay(points).simplices.shape,
    spatial.cKDTree(points).query(points[:3], k=4)[1],
)
np.save("spline.npy", interpolate.CubicSpline(np.arange(20), np.sin(np.arange(20)))(np.linspace(0, 19, 333)))
print(cluster.hierarchy.linkage(points[:30], "ward")[-3:])
