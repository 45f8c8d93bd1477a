from __future__ import annotations

import numpy as np
from scipy import special, stats

a, b = stats.norm.rvs(size=(2, 500), random_state=9)
print(stats.ttest_ind(a, b), stats.ks_2samp(a, b), stats.spearmanr(a, b))
print(stats.bootstrap((a,), np.mean, n_resamples=300, rng=1).confidence_interval)
print(special.gamma(np.linspace(0.5, 9, 5)), special.jv(2, 3.3), special.erfinv(0.3), special.zeta(3))
