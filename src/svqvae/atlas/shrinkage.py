"""Class profiles by empirical Bayes: the fewer samples a class has, the closer to the mean of all classes."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def shrink(found: NDArray[np.floating], variances: Array, parents: tuple[str, ...] = ()) -> tuple[Array, Array]:
    """Shrink the mean of each class toward the mean of its group, the more the noisier it is.

    Empirical Bayes: the true means of a group of classes are taken to scatter around a center with variance τ², and the
    observed mean of class k to scatter around its true mean with variance v_k, that of a mean of n_k samples. Given
    the observed mean, the true one is expected at

        center + (observed - center) · τ² / (τ² + v_k).

    τ² and v_k are averages over features. τ² is estimated for each group by the method of moments of DerSimonian and
    Laird (Control. Clin. Trials 7:177, 1986), repeated with weights 1 / (τ² + v_k).

    Parameters
    ----------
    found
        Observed means, (n_classes, n_features).
    variances
        Variance of each feature of each observed mean, (n_classes, n_features).
    parents
        Group of each class, (n_classes,); if empty, all classes are one group. A class that is alone in its group is
        shrunk toward the mean of all classes.

    Returns
    -------
    (n_classes, n_features) array and (n_classes,) array
        The shrunk means, and the weights τ² / (τ² + v_k), 0 to 1, that each class gives to its own mean.

    Examples
    --------
    >>> found = np.array([[-3.0, 3.0], [1.0, -1.0], [2.0, -2.0]])
    >>> shrunk, weights = shrink(found, np.array([[100.0, 100.0], [0.1, 0.1], [0.1, 0.1]]))
    >>> weights.round(2).tolist()
    [0.0, 0.64, 0.64]
    """
    points: Array = np.asarray(found, dtype=np.float64)
    v = variances.mean(1)
    center, between = _center(points, v)
    drawn, kept = np.empty_like(points), np.ones(len(points))
    groups = np.array(parents) if parents else np.zeros(len(points), dtype=int)
    for group in np.unique(groups):
        own = groups == group
        around, variance = (center, between) if own.sum() < 2 else _center(points[own], v[own])
        kept[own] = variance / np.maximum(variance + v[own], 1e-300) if variance > 0 or v[own].max() > 0 else 1.0
        drawn[own] = around + kept[own, None] * (points[own] - around)
    return drawn, kept


def _center(points: Array, v: Array) -> tuple[Array, float]:
    """Return the weighted mean of the points, and τ², the variance of the true points around it per feature."""
    between = float(points.var(0).mean())
    center = points.mean(0)
    # The number of rounds is chosen by hand.
    for _ in range(20):
        weights = 1 / np.maximum(between + v, 1e-300)
        weights /= weights.sum()
        center = weights @ points
        # E Σ w |x - center|² = τ² (1 - Σ w²) + Σ w (1 - w) v for weights that add up to 1.
        squares = weights @ ((points - center) ** 2).mean(1)
        found = (squares - (weights * (1 - weights)) @ v) / max(1 - (weights**2).sum(), 1e-12)
        between = max(0.0, float(found))
    return center, between
