"""Classes as points seen through a metric, without what chance adds to their distances.

The mean of a class of few samples lies off the true one in every dimension, which makes rare classes look far from all
others. Distances are therefore corrected: what chance adds to a squared distance is known from how samples spread
around their class and from their number, and is taken off.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from svqvae.atlas.spread import Spread, Whitening

Array = NDArray[np.float64]
Index = NDArray[np.int64]
METRICS = ("mahalanobis", "euclidean", "cosine", "correlation")
# Called with the resamples done and in all.
OnResample = Callable[[int, int], None]

# Least share of a squared length that is left after what chance adds is taken off.
LEAST_LENGTH = 0.1


def check_metric(metric: str) -> None:
    """Refuse a metric that there is not."""
    if metric not in METRICS:
        raise ValueError(f"`metric` must be one of {', '.join(map(repr, METRICS))}; got {metric!r}.")


class Space:
    """The classes as points, with what is known of their errors, seen through a metric.

    Parameters
    ----------
    points
        One row per class, (n_classes, n_dimensions).
    metric
        "mahalanobis": Euclidean where the covariance within classes is the identity. "euclidean". "cosine": 1 - cosine
        similarity. "correlation": 1 - Pearson correlation over the dimensions.
    spread
        How samples spread around their class, or None where it is not known; then nothing is corrected.
    counts
        Samples per class, (n_classes,).
    is_corrected
        Whether what chance adds to distances is taken off.
    """

    def __init__(
        self, points: NDArray[np.floating], metric: str, spread: Spread | None, counts: Index, is_corrected: bool
    ) -> None:
        check_metric(metric)
        if metric == "mahalanobis" and spread is None:
            raise ValueError(
                "`metric` 'mahalanobis' must have the spread of samples around their class, which this atlas lacks; "
                "use 'euclidean', 'cosine' or 'correlation'."
            )
        self.points, self.metric, self.spread, self.counts = points.astype(np.float64), metric, spread, counts
        self.whitening = Whitening(spread) if metric == "mahalanobis" and spread is not None else None
        self.noise = self.error_lengths() if is_corrected and spread is not None else np.zeros(len(points))
        self.seen = self.see(self.points)

    def see(self, rows: NDArray[np.floating]) -> Array:
        """Return rows in coordinates in which the metric is a Euclidean distance or an angle."""
        if self.whitening is not None:
            return self.whitening(rows)
        if self.metric == "correlation":
            return np.asarray(rows - rows.mean(1, keepdims=True), dtype=np.float64)
        return np.asarray(rows, dtype=np.float64)

    def dissimilarities(self, seen: Array | None = None, n_errors: int = 1) -> Array:
        """Return the corrected dissimilarity of each pair, (n_classes, n_classes), below 0 where chance adds less.

        `seen` holds the points in the metric's coordinates, and `n_errors` says how many times chance has moved them.
        """
        seen = self.seen if seen is None else seen
        gram, noise = seen @ seen.T, n_errors * self.noise
        lengths = np.diag(gram)
        if self.metric in ("cosine", "correlation"):
            lengths = lengths_without_chance(lengths, noise)
            values = 1 - gram / np.outer(lengths, lengths)
        else:
            squares = (lengths - noise)[:, None] + (lengths - noise) - 2 * gram
            values = np.sign(squares) * np.sqrt(np.abs(squares))
        values = (values + values.T) / 2
        np.fill_diagonal(values, 0)
        return np.asarray(values)

    def resample(self, n: int, seed: int, on_resample: OnResample | None = None) -> Iterator[Array]:
        """Yield the dissimilarities in n second studies of the same sizes.

        What separates the class means of two studies are the errors of both, so class means are drawn anew with twice
        the variance that the classes' sizes give them; in closed form, no sample is touched. Yields nothing where the
        spread within classes, from which they are drawn, is not known.
        """
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
            raise ValueError(f"`n_resamples` must be a whole number of at least 0; got {n!r}.")
        rng = np.random.default_rng(seed)
        for number in range(n if self.spread is not None else 0):
            # The errors of both studies, on points that already hold those of the first.
            drawn = self.points + np.sqrt(2) * self.draw_errors(rng)
            yield self.dissimilarities(self.see(drawn), n_errors=3)
            if on_resample is not None:
                on_resample(number + 1, n)

    def draw_errors(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return errors of the class means, (n_classes, n_dimensions)."""
        return self._known_spread().draw_errors(self.counts, rng)

    def error_lengths(self) -> Array:
        """Return the squared length that the error of each class mean has on average, (n_classes,)."""
        spread = self._known_spread()
        if self.whitening is not None:
            norms = self.whitening.unit_norms()
        else:
            norms = np.full(self.points.shape[1], 1 - (self.metric == "correlation") / self.points.shape[1])
        own = (spread.deviations.astype(np.float64) ** 2 * spread.rest) @ norms
        together = [(self.see(deviations * spread.factors.T) ** 2).sum() for deviations in spread.deviations]
        return np.asarray((own + np.array(together)) / self.counts)

    def _known_spread(self) -> Spread:
        if self.spread is None:
            raise ValueError(
                "The atlas must know how samples spread around their class to tell chance from; this one does not: it "
                "had no two unlike samples of a class. Fit the model on samples, or import it with samples."
            )
        return self.spread


def lengths_without_chance(squares: Array, noise: Array) -> Array:
    """Return the roots of squared lengths less what chance adds, a tenth of the square at least."""
    return np.asarray(np.sqrt(np.maximum(squares - noise, np.maximum(LEAST_LENGTH * squares, 1e-300))))
