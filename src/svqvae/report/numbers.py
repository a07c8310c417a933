"""Plain numbers: what JSON can hold, and what chance alone would do to a share."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Two-sided 95 % of a normal distribution.
Z = 1.959963984540054


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: arrays as lists, numbers as Python's, what is not finite as None.

    Examples
    --------
    >>> plain({"a": np.array([1.0, np.nan]), "b": (np.int64(2), "x")})
    {'a': [1.0, None], 'b': [2, 'x']}
    """
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)


def share_interval(n_right: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (JASA 22:209, 1927).

    Examples
    --------
    >>> [round(end, 3) for end in share_interval(9, 10)]
    [0.596, 0.982]
    """
    share = n_right / n
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def gap_interval(ours: NDArray[np.bool_], others: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return by how much the first of two methods is right more often on the same samples, with a 95 % interval.

    That of the mean of the paired differences, from their standard deviation.

    Parameters
    ----------
    ours, others
        Whether each method is right about each sample, (n,).
    """
    differences = ours.astype(np.float64) - others
    gap = float(differences.mean())
    half = Z * float(differences.std(ddof=1)) / math.sqrt(len(differences)) if len(differences) > 1 else 1.0
    return gap, gap - half, gap + half
