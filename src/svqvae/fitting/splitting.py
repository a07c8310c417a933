"""Which samples are held out of training to watch it."""

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


def split_validation(y: Index, groups: Index | None, fraction: float, seed: int) -> tuple[Index, Index]:
    """Return the rows to train on and the rows to validate on, both in rising order.

    Without groups each class gives the asked share of its samples, rounded, and keeps at least one. With groups,
    whole groups are drawn until the share is reached; the groups of a class that would lose all of its samples come
    back.

    Parameters
    ----------
    y
        Class index of each sample, (n,).
    groups
        Group index of each sample, (n,), or None.
    fraction
        Share of the samples to hold out, in [0, 1).
    seed
        Seed of the draw.

    Examples
    --------
    >>> train, validation = split_validation(np.array([0, 0, 0, 0, 1, 1, 1, 1]), None, 0.25, seed=0)
    >>> len(train), len(validation)
    (6, 2)
    """
    rng = np.random.default_rng(seed)
    is_held_out = np.zeros(len(y), dtype=bool)
    if groups is None:
        for k in np.unique(y):
            own = rng.permutation(np.flatnonzero(y == k))
            n_held_out = min(round(fraction * len(own)), len(own) - 1)
            is_held_out[own[:n_held_out]] = True
    else:
        sizes = np.bincount(groups)
        order = rng.permutation(len(sizes))
        before = np.concatenate([[0], np.cumsum(sizes[order])[:-1]])
        is_held_out = np.isin(groups, order[before + sizes[order] / 2 <= fraction * len(y)])
        lost = np.setdiff1d(y, y[~is_held_out])
        is_held_out &= ~np.isin(groups, groups[np.isin(y, lost)])
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
