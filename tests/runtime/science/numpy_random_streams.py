from __future__ import annotations

import os
import random

import numpy as np

np.save("pcg.npy", np.random.default_rng().normal(size=1000))
np.save("legacy.npy", np.random.rand(1000))
np.save("philox.npy", np.random.Generator(np.random.Philox()).gamma(2.0, size=1000))
print(random.random(), os.urandom(8).hex(), hash("words"), list({"a", "b", "c", "d"}))
