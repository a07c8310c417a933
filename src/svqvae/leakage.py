"""Whether held-out samples have near-duplicates among the samples that a model was trained on."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.preprocessing import StandardScaler

from svqvae.inputs import Rows

# A sample is a near-duplicate of another at less than this share of the distance that samples of a class have, or at
# what chance alone reaches with this probability.
NEAR, CHANCE = 0.1, 1e-3
# Held-out samples for which near-duplicates are looked for, and samples that tell the spread.
MAX_LOOKED_AT, MAX_RESIDUALS = 5000, 1000


class LeakageWarning(UserWarning):
    """Near-duplicates of held-out samples stand among the training samples, so that figures are too good."""


def count_near_duplicates(rows: Rows, y: NDArray[np.generic], train: NDArray[np.int64], test: NDArray[np.int64]) -> int:
    """Count held-out rows that are far closer to a training row than chance brings samples of a class.

    Distances are Euclidean, on standardised features. The limit is a tenth of the root mean square distance between two
    samples of a class, and less where features are few or move together: as Gaussian noise in d dimensions, samples
    would come as close by chance with a probability of one in a thousand. d is the effective number of dimensions,
    tr(C)² / tr(C²) with C the covariance within classes. Of many rows a part is looked at and the count scaled up.

    Parameters
    ----------
    rows : (n, n_features)
    y : (n,)
    train, test
        Indices of rows.

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal(size=(20, 30))
    >>> rows[10] = rows[0]
    >>> count_near_duplicates(rows, np.arange(20) % 2, np.arange(10), np.arange(10, 20))
    1
    """
    scaled = StandardScaler().fit_transform(rows)
    _, index, counts = np.unique(y, return_inverse=True, return_counts=True)
    means = np.stack([scaled[index == k].mean(0) for k in range(len(counts))])
    residuals = scaled - means[index]
    typical = np.sqrt(2 * (residuals**2).sum() / max(len(y) - len(counts), 1))
    some = residuals[:: -(-len(y) // MAX_RESIDUALS)]
    squares = some @ some.T
    n_dimensions = np.trace(squares) ** 2 / max((squares**2).sum(), 1e-12)
    by_chance = np.sqrt(chi2.ppf(CHANCE / len(train), n_dimensions) / n_dimensions) if n_dimensions else 0
    # Rounding leaves equal rows a distance of about 1e-8 per feature.
    limit = max(min(NEAR, by_chance) * typical, 1e-7 * np.sqrt(scaled.size / len(scaled)))
    distances = pairwise_distances_argmin_min(scaled[test][:: -(-len(test) // MAX_LOOKED_AT)], scaled[train])[1]
    return round(float((distances <= limit).mean()) * len(test))
