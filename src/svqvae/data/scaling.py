"""From the units of the data to numbers of order one, and back."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["none", "standard", "range", "counts"]

# Counts are brought to this total per sample before the logarithm, as scanpy's recipes do.
TOTAL = 1e4
# Features whose standard deviations differ by no more than this factor are taken to share a unit.
ONE_UNIT = 10.0
# Numbers that are scaled at a time: their double precision stays in the processor's cache.
CHUNK = 1 << 15


@dataclass(frozen=True)
class Scaling:
    """An affine map of each feature, after a logarithm where the data are counts.

    Attributes
    ----------
    kind
        "none"; "standard": mean 0 per feature, and variance 1 per feature, or 1 on average where no feature's standard
        deviation is more than ten times another's: they then share a unit, and wide features tell more; "range":
        smallest and largest value of all features to -1 and 1; "counts": log(1 + 10,000 × share of the sample's
        total), then variance 1 per feature.
    center, scale
        (n_features,) or (1,), in the units of the data (of the logarithm for counts).

    Examples
    --------
    >>> X = np.array([[0.0, 100.0], [2.0, 300.0]])
    >>> scaling = fit_scaling(X, "standard")
    >>> scaling.apply(X)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> scaling.invert(scaling.apply(X))
    array([[  0., 100.],
           [  2., 300.]])
    """

    kind: Kind
    center: NDArray[np.float64]
    scale: NDArray[np.float64]

    def apply(self, X: NDArray[np.number]) -> NDArray[np.float32]:
        """Return X, (n, n_features), on the scale that the model works on."""
        if self.kind == "none":
            return np.ascontiguousarray(X, dtype=np.float32)
        # The offset goes in double precision: features such as 1,000,000 ± 1 would not survive float32.
        scaled = np.empty(X.shape, dtype=np.float32)
        n_rows, gain = max(1, CHUNK // X.shape[1]), 1 / self.scale
        for start in range(0, len(X), n_rows):
            rows = X[start : start + n_rows]
            values = log_shares(rows) if self.kind == "counts" else np.array(rows, dtype=np.float64)
            values -= self.center
            values *= gain
            scaled[start : start + n_rows] = values
        return scaled

    def invert(self, scaled: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return model values, (n, n_features), in the units of the data; not for counts."""
        return np.asarray(scaled, dtype=np.float64) * self.scale + self.center


def fit_scaling(X: NDArray[np.number], kind: Kind) -> Scaling:
    """Measure the scaling on training data, (n, n_features). A constant feature keeps its unit."""
    found = ScalingFit(kind)
    found.add(X)
    return found.result()


class ScalingFit:
    """As `fit_scaling`, on data that come part by part.

    Parameters
    ----------
    kind
        As in `Scaling`.

    Examples
    --------
    >>> found = ScalingFit("standard")
    >>> for part in ([[0.0, 100.0]], [[2.0, 300.0]]):
    ...     found.add(np.array(part))
    >>> found.result().scale
    array([  1., 100.])
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.n = 0
        self.center = self.variance = np.zeros(1)
        self.low, self.high = np.array(np.inf), np.array(-np.inf)

    def add(self, X: NDArray[np.number]) -> None:
        """Add rows, (n, n_features)."""
        if self.kind == "none" or not len(X):
            return
        if self.kind == "range":
            self.low, self.high = np.minimum(self.low, X.min()), np.maximum(self.high, X.max())
            return
        values = log_shares(X) if self.kind == "counts" else X
        self.low, self.high = np.minimum(self.low, values.min(axis=0)), np.maximum(self.high, values.max(axis=0))
        # Means and variances are taken together by the formulas of Chan, Golub and LeVeque (Am. Stat. 37:242, 1983).
        share = len(X) / (self.n + len(X))
        gap = values.mean(axis=0, dtype=np.float64) - self.center
        self.variance = (
            (1 - share) * self.variance + share * values.var(axis=0, dtype=np.float64) + share * (1 - share) * gap**2
        )
        self.center = self.center + share * gap
        self.n += len(X)

    def result(self) -> Scaling:
        """Return the scaling of all rows."""
        if self.kind == "none":
            return Scaling(self.kind, np.zeros(1), np.ones(1))
        if self.kind == "range":
            low, high = float(self.low), float(self.high)
            return Scaling(self.kind, np.array([(low + high) / 2]), np.array([(high - low) / 2 or 1.0]))
        scale = np.sqrt(self.variance)
        # Rounding leaves a constant feature a tiny spread, which must not be magnified.
        is_constant = (self.high == self.low) | (scale == 0)
        spreads = scale[~is_constant]
        if self.kind == "standard" and len(spreads) and spreads.max() <= ONE_UNIT * spreads.min():
            scale[:] = np.sqrt((spreads**2).mean())
        return Scaling(self.kind, self.center, np.where(is_constant, 1.0, scale))


def log_shares(X: NDArray[np.number]) -> NDArray[np.float64]:
    """Return log(1 + 10,000 × share of the row's total) of counts, (n, n_features)."""
    totals = np.maximum(X.sum(axis=1, keepdims=True, dtype=np.float64), 1.0)
    return np.asarray(np.log1p(X * (TOTAL / totals)))
