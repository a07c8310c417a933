"""Find near-duplicates of training samples among held-out samples."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.preprocessing import StandardScaler

from svqvae.atlas.moments import ClassMoments
from svqvae.data.samples import CHUNK

Index = NDArray[np.int64]

# A near-duplicate is closer than this share of the typical distance within classes, and closer than samples of a class
# would come by chance with this probability. Both are chosen by hand.
NEAR, CHANCE = 0.1, 1e-3
# Held-out samples that are checked, and samples from which the effective number of dimensions is estimated: guards for
# time, chosen by hand.
MAX_LOOKED_AT, MAX_RESIDUALS = 5000, 1000


class LeakageWarning(UserWarning):
    """Held-out samples have near-duplicates among the training samples, so that figures are too good."""


def count_near_duplicates(
    take: Callable[[Index], NDArray[np.floating]], y: NDArray[np.generic], splits: Sequence[tuple[Index, Index]]
) -> int:
    """Count held-out rows that are closer to a training row than samples of a class come by chance.

    Distances are Euclidean, on standardised features. The limit is a tenth of the root mean square distance between two
    samples of a class. It is lower if features are few or correlated: then it is the distance to the nearest training
    row that a held-out row would fall below with probability 1/1000 if samples of a class were Gaussian noise in d
    dimensions, the effective number tr(C)² / tr(C²) for a covariance C within classes. Of many held-out rows only a
    part is checked, and the count is scaled up.

    Parameters
    ----------
    take
        Returns rows by ascending position, (n_chosen, n_features), at most 8,192 at a time.
    y : class of each row, (n,)
    splits
        Pairs of positions of training rows and of held-out rows; near-duplicates are counted in each and summed.

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal(size=(20, 30))
    >>> rows[10] = rows[0]
    >>> count_near_duplicates(rows.__getitem__, np.arange(20) % 2, [(np.arange(10), np.arange(10, 20))])
    1
    """
    names, index = np.unique(y, return_inverse=True)
    n, scaler, moments = len(y), StandardScaler(), None
    for part in _parts(np.arange(n)):
        values = take(part)
        scaler.partial_fit(values)
        moments = moments or ClassMoments(len(names), values.shape[1])
        moments.add(values, index[part])
    if moments is None:
        return 0
    typical = np.sqrt(2 * (moments.squares / scaler.scale_**2).sum() / max(n - len(names), 1))
    some = np.arange(n)[:: -(-n // MAX_RESIDUALS)]
    residuals = (take(some) - moments.means[index[some]]) / scaler.scale_
    squares = residuals @ residuals.T
    n_dimensions = np.trace(squares) ** 2 / max((squares**2).sum(), 1e-12)
    n_near = 0
    for train, test in splits:
        by_chance = np.sqrt(chi2.ppf(CHANCE / len(train), n_dimensions) / n_dimensions) if n_dimensions else 0
        # By rounding, equal rows have a distance of about 1e-8 per feature.
        limit = max(min(NEAR, by_chance) * typical, 1e-7 * np.sqrt(residuals.shape[1]))
        looked_at = scaler.transform(take(test[:: -(-len(test) // MAX_LOOKED_AT)]))
        distances = np.full(len(looked_at), np.inf)
        for part in _parts(train):
            nearest = pairwise_distances_argmin_min(looked_at, scaler.transform(take(part)))[1]
            distances = np.minimum(distances, nearest)
        n_near += round(float((distances <= limit).mean()) * len(test))
    return n_near


def _parts(positions: Index) -> Iterator[Index]:
    for start in range(0, len(positions), CHUNK):
        yield positions[start : start + CHUNK]
