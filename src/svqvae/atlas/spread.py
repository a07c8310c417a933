"""How samples spread around their class mean: covariances within classes, errors of class means, whitening."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svqvae.atlas.density import chen_weight
from svqvae.atlas.moments import CHUNK, ClassMoments

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# Directions of correlation that are kept; chosen by hand.
MAX_RANK = 128
# Cells of the table from which correlations are estimated: a guard for memory, 80 MB in single precision. Of more rows,
# a random subset is used.
MAX_CELLS = 20_000_000
# Weight of the mean variance of all features in the variance of each, so that features that hardly vary do not dominate
# a distance; chosen by hand.
FLOOR = 0.1
# Least share of a feature's variance that is independent of all other features, by whose root whitening divides; chosen
# by hand.
ALONE = 1e-3


@dataclass(frozen=True)
class Spread:
    """The covariance within each class: standard deviations of its own, and correlations that all classes share.

    The covariance of class k is diag(s_k) R diag(s_k), where s_k holds the standard deviations of the class and
    R = F Fᵀ + diag(r) is the shared correlation matrix, with ones on its diagonal.

    Attributes
    ----------
    deviations
        Standard deviations s, (n_classes, n_dimensions).
    degrees
        Degrees of freedom of the variances of each class, (n_classes,).
    pooled
        Pooled standard deviation of each dimension within classes, (n_dimensions,).
    factors
        F, (n_dimensions, rank).
    rest
        r, (n_dimensions,).
    """

    deviations: NDArray[np.float32]
    degrees: Array
    pooled: NDArray[np.float32]
    factors: NDArray[np.float32]
    rest: NDArray[np.float32]

    def draw_errors(self, counts: Index, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw one error for each class mean, (n_classes, n_dimensions).

        The error of class k is normal with covariance diag(s_k) R diag(s_k) / n_k.

        Parameters
        ----------
        counts
            Samples n_k of each class, (n_classes,).
        rng
            Source of the draws.
        """
        n_dimensions, rank = self.factors.shape
        together = rng.standard_normal((len(counts), rank), dtype=np.float32) @ self.factors.T
        alone = rng.standard_normal((len(counts), n_dimensions), dtype=np.float32) * np.sqrt(self.rest)
        errors = self.deviations * (together + alone) / np.sqrt(counts)[:, None]
        return np.asarray(errors, dtype=np.float32)

    def mean_variances(self, counts: Index) -> Array:
        """Return the variances s² / n of the class means, (n_classes, n_dimensions).

        Parameters
        ----------
        counts
            Samples n of each class, (n_classes,).
        """
        return np.asarray(self.deviations.astype(np.float64) ** 2 / counts[:, None])


def fit_spread(rows: NDArray[np.floating], y: Index, n_classes: int, seed: int) -> Spread | None:
    """Estimate how rows spread around the means of their classes; None where no class has two unlike rows.

    The variances of a class are moderated: they are combined with the pooled variances of all classes, times one factor
    per class, as under a scaled inverse chi-squared prior. The degrees of freedom of the prior are estimated by the
    method of moments from how much the classes differ. The shared correlation matrix is shrunk toward the identity by
    the oracle approximating weight of Chen et al. (IEEE Trans. Signal Processing 58:5016, 2010), and its leading
    directions are kept; all other variance counts as independent.

    Parameters
    ----------
    rows
        (n, n_dimensions).
    y
        Class index of each row, (n,); each class has at least one.
    n_classes
        Number of classes.
    seed
        Seed of the random subset of rows where there are too many.
    """
    moments = ClassMoments(n_classes, rows.shape[1])
    moments.add(rows, y)
    used = thin_out(len(rows), rows.shape[1], seed)
    return spread_of(moments, rows[used], y[used])


def thin_out(n: int, n_dimensions: int, seed: int) -> Index:
    """Return the positions, ascending, of the rows to estimate correlations from: all n, or a random subset."""
    n_used = max(2, min(n, MAX_CELLS // n_dimensions))
    if n_used >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, n_used, replace=False))


def spread_of(moments: ClassMoments, rows: NDArray[np.floating], y: Index) -> Spread | None:
    """Estimate as `fit_spread` does, from the moments of all rows and the rows that `thin_out` chose.

    Parameters
    ----------
    moments
        Moments of all rows.
    rows
        The chosen rows, (n_chosen, n_dimensions).
    y
        Class index of each chosen row, (n_chosen,).
    """
    n_free = int(moments.counts.sum()) - len(moments.counts)
    if n_free < 1 or not moments.squares.any():
        return None
    pooled = moments.squares.sum(0) / n_free
    factors, rest = _correlations(rows, y, moments, np.sqrt(pooled), n_free)
    n_effective = _effective_dimensions(factors, rest, pooled > 0)
    deviations, degrees = _moderate(moments.squares, moments.counts - 1, pooled, n_effective)
    return Spread(deviations, degrees, np.sqrt(pooled).astype(np.float32), factors, rest)


def _effective_dimensions(factors: NDArray[np.float32], rest: NDArray[np.float32], varies: NDArray[np.bool_]) -> float:
    """Return the effective number of independent dimensions, tr(R)² / tr(R²), of those that vary."""
    F, r = factors[varies].astype(np.float64), rest[varies].astype(np.float64)
    squares = ((F.T @ F) ** 2).sum() + 2 * (r * (F**2).sum(1)).sum() + (r**2).sum()
    return max(1.0, float(len(r) ** 2 / squares))


def _moderate(squares: Array, degrees: Index, pooled: Array, n_effective: float) -> tuple[NDArray[np.float32], Array]:
    """Return the moderated standard deviations of each class, and their degrees of freedom.

    Parameters
    ----------
    squares
        Sums of squared deviations from the class mean, (n_classes, n_dimensions).
    degrees
        Samples of each class less 1, (n_classes,).
    pooled
        Pooled variances within classes, (n_dimensions,).
    n_effective
        Effective number of independent dimensions.
    """
    varies = pooled > 0
    n_varying = max(1, int(varies.sum()))
    ratios = np.divide(squares, pooled, out=np.zeros_like(squares), where=varies)
    total = ratios.sum(1)
    # One factor per class on all its variances, shrunk toward 1 by as much as two more observations of one dimension.
    typical = 2 / n_effective
    factor = (total + typical * n_varying) / ((degrees + typical) * n_varying)
    known = degrees >= 1
    # Degrees of freedom of the prior: as good as infinite unless the classes differ by more than chance.
    prior = 1e6
    if known.any():
        own = ratios[known][:, varies] / (degrees[known, None] * factor[known, None])
        excess = float(np.average(((own - 1) ** 2).mean(1) - 2 / degrees[known], weights=degrees[known]))
        # A scaled inverse chi-squared variable of d degrees has a relative variance of 2 / (d - 4). Without the 4 the
        # prior counts a little less, and variances of very unlike classes are hardly pooled.
        prior = max(1.0, 2 / excess) if excess > 2e-6 else prior
    variances = (squares + prior * factor[:, None] * pooled) / (degrees + prior)[:, None]
    # No estimate has more degrees of freedom than all classes together.
    known_degrees = np.minimum(degrees + prior, degrees.sum()).astype(np.float64)
    return np.asarray(np.sqrt(variances), dtype=np.float32), known_degrees


def _correlations(
    rows: NDArray[np.floating], y: Index, moments: ClassMoments, pooled: Array, n_free: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the factors F, (n_dimensions, rank), and the rest r, (n_dimensions,), of the shared correlations."""
    n_dimensions = rows.shape[1]
    # Single precision is enough, since only correlations are computed from the residuals.
    residuals = np.empty(rows.shape, dtype=np.float32)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        residuals[part] = rows[part] - moments.means[y[part]]
    np.divide(residuals, pooled, out=residuals, where=pooled > 0, casting="unsafe")
    n_free = max(1, round(n_free * len(rows) / int(moments.counts.sum())))
    is_wide = n_dimensions > len(rows)
    gram = (residuals @ residuals.T if is_wide else residuals.T @ residuals).astype(np.float64) / n_free
    spectrum, vectors = np.linalg.eigh(gram)
    spectrum, vectors = np.maximum(spectrum[::-1], 0), vectors[:, ::-1]
    # Directions whose strength is no more than rounding error are left out.
    kept = int(min(MAX_RANK, n_free, (spectrum > 1e-6 * max(spectrum[0], 1e-300)).sum()))
    pull = chen_weight(spectrum, n_dimensions, n_free)
    strengths, vectors = spectrum[:kept], vectors[:, :kept]
    directions = residuals.T @ vectors / np.sqrt(n_free * np.maximum(strengths, 1e-300)) if is_wide else vectors
    factors = directions * np.sqrt((1 - pull) * strengths)
    # The estimated factors may explain more than all variance of a feature; some of it must stay independent.
    shared = (factors**2).sum(1)
    factors = factors * np.sqrt(np.minimum(1, (1 - ALONE) / np.maximum(shared, 1e-300)))[:, None]
    return factors.astype(np.float32), (1 - (factors**2).sum(1)).astype(np.float32)


def floored(deviations: NDArray[np.floating]) -> Array:
    """Return variances with their mean mixed in at a weight of a tenth, (n_dimensions,).

    Parameters
    ----------
    deviations
        Standard deviations, (n_dimensions,).

    Examples
    --------
    >>> floored(np.array([0.0, 2.0])).round(3).tolist()
    [0.2, 3.8]
    """
    variances = deviations.astype(np.float64) ** 2
    return np.asarray((1 - FLOOR) * variances + FLOOR * variances.mean())


class Whitening:
    """The linear map that turns the pooled covariance within classes into the identity.

    Euclidean distances between whitened rows are Mahalanobis distances. So that features that hardly vary do not
    dominate them, the mean variance of all features enters each variance with a weight of a tenth (see `floored`).

    Parameters
    ----------
    spread
        How samples spread around their class.
    """

    def __init__(self, spread: Spread) -> None:
        variances = floored(spread.pooled)
        rest = spread.rest.astype(np.float64)
        # With Q = diag(rest)^-½ F = U √λ Vᵀ, (I + Q Qᵀ)^-½ = I - U (1 - (1 + λ)^-½) Uᵀ.
        self.U, singular, _ = np.linalg.svd(spread.factors / np.sqrt(rest)[:, None], full_matrices=False)
        self.cut = 1 - 1 / np.sqrt(1 + singular**2)
        self.scale = 1 / np.sqrt(np.maximum(variances * rest, 1e-300))

    def __call__(self, rows: NDArray[np.floating]) -> Array:
        """Return whitened rows, (n, n_dimensions), of rows, (n, n_dimensions)."""
        scaled = rows * self.scale
        return np.asarray(scaled - (scaled @ self.U * self.cut) @ self.U.T)

    def unit_norms(self) -> Array:
        """Return the squared length of each whitened unit vector, (n_dimensions,)."""
        return np.asarray(self.scale**2 * (1 - (self.U**2) @ (1 - (1 - self.cut) ** 2)))
