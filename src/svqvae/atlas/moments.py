"""Counts, means and sums of squares of the samples of each class, gathered part by part."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# Rows converted to double precision at a time: a guard for memory, 16 MB at 1,000 dimensions.
CHUNK = 2048


class ClassMoments:
    """Running counts, means and sums of squares of classes, in double precision.

    Parts of the samples are combined by the formulas of Chan, Golub and LeVeque (Am. Stat. 37:242, 1983), which makes
    the sums of squares as accurate as those of a second pass over all samples.

    Parameters
    ----------
    n_classes, n_dimensions
        Number of classes and of dimensions.

    Attributes
    ----------
    counts
        Samples of each class, (n_classes,).
    means
        (n_classes, n_dimensions); 0 for a class without samples.
    squares
        Sums of squared deviations from the mean of the class, (n_classes, n_dimensions).

    Examples
    --------
    >>> moments = ClassMoments(2, 1)
    >>> moments.add(np.array([[1.0], [3.0]]), np.array([0, 0]))
    >>> moments.add(np.array([[5.0], [7.0]]), np.array([0, 1]))
    >>> moments.means.tolist(), moments.squares.tolist()
    ([[3.0], [7.0]], [[8.0], [0.0]])
    """

    def __init__(self, n_classes: int, n_dimensions: int) -> None:
        self.counts = np.zeros(n_classes, dtype=np.int64)
        self.means = np.zeros((n_classes, n_dimensions))
        self.squares = np.zeros((n_classes, n_dimensions))

    def add(self, rows: NDArray[np.floating], y: Index) -> None:
        """Add samples.

        Parameters
        ----------
        rows
            (n, n_dimensions).
        y
            Class index of each row, (n,).
        """
        for start in range(0, len(rows), CHUNK):
            self._add(rows[start : start + CHUNK].astype(np.float64), y[start : start + CHUNK])

    def _add(self, rows: Array, y: Index) -> None:
        present, own, n_new = np.unique(y, return_inverse=True, return_counts=True)
        places = (np.ones(len(y)), (own, np.arange(len(y))))
        sum_up: Any = csr_array(places, shape=(len(present), len(y)))
        n_old = self.counts[present]
        means = (sum_up @ rows) / n_new[:, None]
        gaps = means - self.means[present]
        shares = (n_new / (n_old + n_new))[:, None]
        self.squares[present] += sum_up @ (rows - means[own]) ** 2 + gaps**2 * n_old[:, None] * shares
        self.means[present] += gaps * shares
        self.counts[present] += n_new

    @property
    def within_variance(self) -> Array:
        """The pooled variance within classes of each dimension, (n_dimensions,)."""
        n_free = self.counts.sum() - np.count_nonzero(self.counts)
        return np.asarray(self.squares.sum(0) / max(1, n_free))
