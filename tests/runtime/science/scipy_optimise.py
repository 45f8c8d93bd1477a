from __future__ import annotations

import numpy as np
from scipy import optimize

print(optimize.minimize(optimize.rosen, np.array([1.3, 0.7, 0.8, 1.9, 1.2]), method="BFGS").x)
print(
    optimize.brentq(lambda x: np.cos(x) - x, 0, 1),
    optimize.linprog([-1, 4], [[-3, 1], [1, 2]], [6, 4], bounds=[(None, None), (-3, None)]).x,
)
print(optimize.curve_fit(lambda x, a, b: a * np.exp(-b * x), np.arange(9.0), np.exp(-np.arange(9.0) / 3))[0])
print(optimize.differential_evolution(optimize.rosen, [(0, 2)] * 3, seed=1, maxiter=60).x)
