from __future__ import annotations

import numpy as np

x = np.random.default_rng(3).normal(size=2**14)
np.save("fft.npy", np.fft.rfft(x))
np.save("fft2.npy", np.fft.fft2(x.reshape(128, 128)))
