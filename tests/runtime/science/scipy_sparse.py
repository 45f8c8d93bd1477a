from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as sl

matrix = sp.random_array((400, 400), density=0.02, rng=np.random.default_rng(8), format="csr") + 10 * sp.eye_array(400)
np.save("solution.npy", sl.spsolve(matrix.tocsc(), np.ones(400)))
print(sl.eigsh(matrix + matrix.T, k=4, v0=np.ones(400), return_eigenvectors=False))
np.save("cg.npy", sl.cg(matrix @ matrix.T, np.ones(400), rtol=1e-10)[0])
