from __future__ import annotations

import numpy as np
from scipy import integrate

print(integrate.quad(lambda x: np.exp(-x * x), -np.inf, np.inf))
solution = integrate.solve_ivp(lambda t, y: [y[1], (1 - y[0] ** 2) * y[1] - y[0]], (0, 20), [2.0, 0.0], rtol=1e-8)
np.save("pol.npy", solution.y)
print(solution.t.size)
