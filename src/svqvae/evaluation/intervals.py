"""Confidence intervals of an accuracy, and of the difference of two accuracies on the same samples."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

# 97.5 % quantile of the standard normal distribution.
Z = 1.959963984540054


def share_interval(n_right: int, n: int) -> tuple[float, float]:
    """Return the Wilson 95 % interval of the share `n_right` / `n` (J. Am. Stat. Assoc. 22:209, 1927).

    Parameters
    ----------
    n_right
        Number of samples that are classified correctly.
    n
        Number of samples, at least 1.

    Returns
    -------
    float, float
        Ends of the interval, in [0, 1].

    Examples
    --------
    >>> [round(end, 3) for end in share_interval(9, 10)]
    [0.596, 0.982]
    """
    interval = binomtest(n_right, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def gap_interval(ours: NDArray[np.bool_], others: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return the difference of the accuracies of two methods on the same samples, with its 95 % interval.

    The interval is the normal approximation for the mean of paired differences. For a single sample, which has no
    standard deviation, it is the difference ± 1.

    Parameters
    ----------
    ours, others
        Whether each method is right about each sample, (n,).

    Returns
    -------
    float, float, float
        The accuracy of `ours` minus that of `others`, in [-1, 1], and the ends of its interval.

    Examples
    --------
    >>> right = np.array([True, True, True, False])
    >>> [round(value, 2) for value in gap_interval(right, ~right)]
    [0.5, -0.48, 1.48]
    """
    differences = ours.astype(np.float64) - others
    gap = float(differences.mean())
    half = Z * float(differences.std(ddof=1)) / math.sqrt(len(differences)) if len(differences) > 1 else 1.0
    return gap, gap - half, gap + half
