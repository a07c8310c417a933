"""How samples spread around their class: what makes class means uncertain, and what a distance is worth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svqvae.atlas.density import chen_weight
from svqvae.atlas.moments import CHUNK, ClassMoments

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# Correlated directions kept, and cells of the table from which they are found; more samples are thinned out evenly.
MAX_RANK, MAX_CELLS = 128, 20_000_000
# Share of the mean variance in that of a feature, so that features that hardly vary do not rule a distance.
FLOOR = 0.1
# Least share of a feature's variance that is independent of all other features.
ALONE = 1e-3


@dataclass(frozen=True)
class Spread:
    """The covariance of the samples of each class: own standard deviations, correlations common to all classes.

    That of class k is diag(s_k) R diag(s_k) with s_k its standard deviations and R = F Fᵀ + diag(r), of unit diagonal,
    F the factors and r the rest.

    Attributes
    ----------
    deviations
        s, (n_classes, n_dimensions).
    degrees
        Degrees of freedom of the variances of each class, (n_classes,).
    pooled
        Standard deviation within classes of each dimension, (n_dimensions,).
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
        """Return errors of class means over `counts` samples each, (n_classes, n_dimensions)."""
        n_dimensions, rank = self.factors.shape
        together = rng.standard_normal((len(counts), rank), dtype=np.float32) @ self.factors.T
        alone = rng.standard_normal((len(counts), n_dimensions), dtype=np.float32) * np.sqrt(self.rest)
        errors = self.deviations * (together + alone) / np.sqrt(counts)[:, None]
        return np.asarray(errors, dtype=np.float32)

    def mean_variances(self, counts: Index) -> Array:
        """Return the variance of each dimension of each class mean, (n_classes, n_dimensions)."""
        return np.asarray(self.deviations.astype(np.float64) ** 2 / counts[:, None])


def fit_spread(rows: NDArray[np.floating], y: Index, n_classes: int, seed: int) -> Spread | None:
    """Measure how rows spread around the means of their classes; None where no class has two unlike rows.

    The variances of a class are weighed against those of all classes together, times one factor a class, as a
    scaled inverse chi-squared prior would have it; its degrees of freedom are found by the method of moments from how
    unlike the classes are. The common correlation matrix is shrunk toward the identity by the oracle approximating
    weight of Chen et al. (IEEE Trans. Signal Processing 58:5016, 2010) and cut to its first directions; what is cut
    counts as independent.

    Parameters
    ----------
    rows
        (n, n_dimensions).
    y
        Class index of each row, (n,); each class has at least one.
    n_classes
        Number of classes.
    seed
        Seed by which rows are thinned out.
    """
    moments = ClassMoments(n_classes, rows.shape[1])
    moments.add(rows, y)
    used = thin_out(len(rows), rows.shape[1], seed)
    return spread_of(moments, rows[used], y[used])


def thin_out(n: int, n_dimensions: int, seed: int) -> Index:
    """Return the positions, in rising order, of as many of n rows as are enough for the correlations."""
    n_used = max(2, min(n, MAX_CELLS // n_dimensions))
    if n_used >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, n_used, replace=False))


def spread_of(moments: ClassMoments, rows: NDArray[np.floating], y: Index) -> Spread | None:
    """As `fit_spread`, from the moments of all rows, and those rows that `thin_out` left, (n_left, n_dimensions)."""
    n_free = int(moments.counts.sum()) - len(moments.counts)
    if n_free < 1 or not moments.squares.any():
        return None
    pooled = moments.squares.sum(0) / n_free
    factors, rest = _correlations(rows, y, moments, np.sqrt(pooled), n_free)
    n_effective = _effective_dimensions(factors, rest, pooled > 0)
    deviations, degrees = _moderate(moments.squares, moments.counts - 1, pooled, n_effective)
    return Spread(deviations, degrees, np.sqrt(pooled).astype(np.float32), factors, rest)


def _effective_dimensions(factors: NDArray[np.float32], rest: NDArray[np.float32], varies: NDArray[np.bool_]) -> float:
    """Return of how many independent dimensions the variances within classes tell: tr(R)² / tr(R²)."""
    F, r = factors[varies].astype(np.float64), rest[varies].astype(np.float64)
    squares = ((F.T @ F) ** 2).sum() + 2 * (r * (F**2).sum(1)).sum() + (r**2).sum()
    return max(1.0, float(len(r) ** 2 / squares))


def _moderate(squares: Array, degrees: Index, pooled: Array, n_effective: float) -> tuple[NDArray[np.float32], Array]:
    """Return the standard deviation of each dimension in each class, and the degrees of freedom behind it."""
    varies = pooled > 0
    n_varying = max(1, int(varies.sum()))
    ratios = np.divide(squares, pooled, out=np.zeros_like(squares), where=varies)
    total = ratios.sum(1)
    # A class's own factor on all variances, drawn toward 1 by what two more values of one dimension would say.
    typical = 2 / n_effective
    factor = (total + typical * n_varying) / ((degrees + typical) * n_varying)
    known = degrees >= 1
    prior = 1e6
    if known.any():
        own = ratios[known][:, varies] / (degrees[known, None] * factor[known, None])
        excess = float(np.average(((own - 1) ** 2).mean(1) - 2 / degrees[known], weights=degrees[known]))
        # The relative variance of a scaled inverse chi-squared variable of d degrees is 2 / (d - 4); without the 4,
        # a little more is left to each class, and very unlike classes are hardly taken together.
        prior = max(1.0, 2 / excess) if excess > 2e-6 else prior
    variances = (squares + prior * factor[:, None] * pooled) / (degrees + prior)[:, None]
    # What all classes say together has no more degrees of freedom than they have.
    known_degrees = np.minimum(degrees + prior, degrees.sum()).astype(np.float64)
    return np.asarray(np.sqrt(variances), dtype=np.float32), known_degrees


def _correlations(
    rows: NDArray[np.floating], y: Index, moments: ClassMoments, pooled: Array, n_free: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the factors and the rest of the correlations within classes."""
    n_dimensions = rows.shape[1]
    # Residuals in single precision: only their correlations are wanted.
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
    kept = int(min(MAX_RANK, n_free, (spectrum > 1e-6 * max(spectrum[0], 1e-300)).sum()))
    pull = chen_weight(spectrum, n_dimensions, n_free)
    strengths, vectors = spectrum[:kept], vectors[:, :kept]
    directions = residuals.T @ vectors / np.sqrt(n_free * np.maximum(strengths, 1e-300)) if is_wide else vectors
    factors = directions * np.sqrt((1 - pull) * strengths)
    # Chance may leave a feature more than its whole variance; none may have less than a little of its own.
    shared = (factors**2).sum(1)
    factors = factors * np.sqrt(np.minimum(1, (1 - ALONE) / np.maximum(shared, 1e-300)))[:, None]
    return factors.astype(np.float32), (1 - (factors**2).sum(1)).astype(np.float32)


def floored(deviations: NDArray[np.floating]) -> Array:
    """Return variances of which a tenth is their mean, (n_dimensions,)."""
    variances = deviations.astype(np.float64) ** 2
    return np.asarray((1 - FLOOR) * variances + FLOOR * variances.mean())


class Whitening:
    """The linear map that turns the common covariance within classes into the identity.

    Euclidean distances of its outputs are Mahalanobis distances. Features that hardly vary are kept from ruling them:
    a tenth of each variance is the mean variance of all features.
    """

    def __init__(self, spread: Spread) -> None:
        variances = floored(spread.pooled)
        rest = spread.rest.astype(np.float64)
        # With Q = diag(rest)^-½ F = U √λ Vᵀ, (I + Q Qᵀ)^-½ = I - U (1 - (1 + λ)^-½) Uᵀ.
        self.U, singular, _ = np.linalg.svd(spread.factors / np.sqrt(rest)[:, None], full_matrices=False)
        self.cut = 1 - 1 / np.sqrt(1 + singular**2)
        self.scale = 1 / np.sqrt(np.maximum(variances * rest, 1e-300))

    def __call__(self, rows: NDArray[np.floating]) -> Array:
        """Return rows, (n, n_dimensions), in whitened coordinates of the same number."""
        scaled = rows * self.scale
        return np.asarray(scaled - (scaled @ self.U * self.cut) @ self.U.T)

    def unit_norms(self) -> Array:
        """Return the squared length of the image of each unit vector, (n_dimensions,)."""
        return np.asarray(self.scale**2 * (1 - (self.U**2) @ (1 - (1 - self.cut) ** 2)))
