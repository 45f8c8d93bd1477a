from __future__ import annotations

import numpy as np
from scipy import ndimage, signal

x = np.random.default_rng(6).normal(size=4000)
np.save("filtered.npy", signal.sosfiltfilt(signal.butter(6, 0.1, output="sos"), x))
np.save("welch.npy", signal.welch(x)[1])
np.save("blur.npy", ndimage.gaussian_filter(x[:3600].reshape(60, 60), 2.5))
