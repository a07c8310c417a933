"""How far chance alone moves a share, and the difference of two shares on the same samples."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

# Half width of the central 95 % of a standard normal distribution.
Z = 1.959963984540054


def share_interval(n_right: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of the share `n_right` / `n` (J. Am. Stat. Assoc. 22:209, 1927).

    Parameters
    ----------
    n_right
        Number of samples that are right.
    n
        Number of samples, at least 1.

    Returns
    -------
    float, float
        The ends of the interval, in [0, 1].

    Examples
    --------
    >>> [round(end, 3) for end in share_interval(9, 10)]
    [0.596, 0.982]
    """
    interval = binomtest(n_right, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def gap_interval(ours: NDArray[np.bool_], others: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return how much more often the first of two methods is right on the same samples, with a 95 % interval.

    The interval is that of the mean of the paired differences, by the normal approximation. A single sample gives no
    standard deviation; its interval is the difference plus and minus 1.

    Parameters
    ----------
    ours, others
        Whether each method is right about each sample, (n,).

    Returns
    -------
    float, float, float
        The difference of the two shares, in [-1, 1], and the two ends of its interval.

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
