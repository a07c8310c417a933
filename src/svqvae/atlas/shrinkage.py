"""Profiles of rare classes, drawn toward those of all classes by as much as chance moves them."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def shrink(found: NDArray[np.floating], variances: Array, parents: tuple[str, ...] = ()) -> tuple[Array, Array]:
    """Draw the mean of each class toward a center, and return how much of its own each class keeps.

    Empirical Bayes: true means are taken to lie around the center with variance τ², those found around the true ones
    with the variance v_k of a mean of n_k samples. The best guess is center + (found - center) τ² / (τ² + v_k). τ² is
    found by the method of moments over the classes of a parent (DerSimonian and Laird, 1986), all features together.

    Parameters
    ----------
    found
        Means found, (n_classes, n_features).
    variances
        Variance of each feature of each mean, (n_classes, n_features).
    parents
        The group of each class, (n_classes,), or empty: all are one group. A class that is alone in its group is drawn
        toward the mean of all.

    Returns
    -------
    (n_classes, n_features) array and (n_classes,) array
        The means drawn, and the weights τ² / (τ² + v_k).
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
    """Return the weighted mean of the points, and the variance of the true ones around it per feature."""
    between = float(points.var(0).mean())
    center = points.mean(0)
    for _ in range(20):
        weights = 1 / np.maximum(between + v, 1e-300)
        weights /= weights.sum()
        center = weights @ points
        # E Σ w |x - center|² = τ² (1 - Σ w²) + Σ w (1 - w) v for weights that add up to 1.
        squares = weights @ ((points - center) ** 2).mean(1)
        found = (squares - (weights * (1 - weights)) @ v) / max(1 - (weights**2).sum(), 1e-12)
        between = max(0.0, float(found))
    return center, between
