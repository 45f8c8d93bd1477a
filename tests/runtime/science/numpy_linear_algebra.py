from __future__ import annotations

import numpy as np

rng = np.random.default_rng(7)
a = rng.normal(size=(120, 120))
u, s, v = np.linalg.svd(a)
print(s[:5], np.linalg.det(a[:9, :9]), np.linalg.cond(a))
np.save("inverse.npy", np.linalg.inv(a + 120 * np.eye(120)))
np.save("product.npy", a @ a.T)
