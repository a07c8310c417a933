"""Classes as points under a metric, their distances corrected for the sampling error of class means.

The mean of few samples deviates from the true mean in every dimension, so that rare classes look far from all others.
How much this adds to a squared distance on average follows from how samples spread around their class and from their
number. It is subtracted.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from svqvae.atlas.spread import Spread, Whitening

Array = NDArray[np.float64]
Index = NDArray[np.int64]
METRICS = ("mahalanobis", "euclidean", "cosine", "correlation")
# Called with the number of resamples that are done, and of all.
OnResample = Callable[[int, int], None]

# Least share of a squared length that the correction leaves, so that cosines are not divided by almost nothing; chosen
# by hand.
LEAST_LENGTH = 0.1


def check_metric(metric: str) -> None:
    """Refuse an unknown metric.

    Raises
    ------
    ValueError
        The metric is none of `METRICS`.
    """
    if metric not in METRICS:
        raise ValueError(f"`metric` must be one of {', '.join(map(repr, METRICS))}; got {metric!r}.")


class Space:
    """The classes as points under a metric, with the sampling errors of their positions.

    Parameters
    ----------
    points
        One row per class, (n_classes, n_dimensions).
    metric
        "mahalanobis": Euclidean distance after whitening the covariance within classes. "euclidean". "cosine":
        1 - cosine similarity. "correlation": 1 - Pearson correlation over the dimensions.
    spread
        How samples spread around their class; where it is None, nothing is corrected.
    counts
        Samples per class, (n_classes,).
    is_corrected
        Whether the average effect of sampling errors is subtracted from squared distances and lengths.

    Raises
    ------
    ValueError
        The metric is unknown, or it is "mahalanobis" and there is no spread.

    Examples
    --------
    >>> space = Space(np.array([[0.0, 0.0], [3.0, 4.0]]), "euclidean", None, np.array([5, 5]), is_corrected=True)
    >>> space.dissimilarities().tolist()
    [[0.0, 5.0], [5.0, 0.0]]
    """

    def __init__(
        self, points: NDArray[np.floating], metric: str, spread: Spread | None, counts: Index, is_corrected: bool
    ) -> None:
        check_metric(metric)
        if metric == "mahalanobis" and spread is None:
            raise ValueError(
                "`metric` must be 'euclidean', 'cosine' or 'correlation' where the spread of samples around their "
                "class is not known; got 'mahalanobis'. Choose one of these, or fit the model on samples."
            )
        self.points, self.metric, self.spread, self.counts = points.astype(np.float64), metric, spread, counts
        self.whitening = Whitening(spread) if metric == "mahalanobis" and spread is not None else None
        self.noise = self.error_lengths() if is_corrected and spread is not None else np.zeros(len(points))
        self.seen = self.see(self.points)

    def see(self, rows: NDArray[np.floating]) -> Array:
        """Return rows, (n, n_dimensions), in coordinates in which the metric is a Euclidean distance or an angle."""
        if self.whitening is not None:
            return self.whitening(rows)
        if self.metric == "correlation":
            return np.asarray(rows - rows.mean(1, keepdims=True), dtype=np.float64)
        return np.asarray(rows, dtype=np.float64)

    def dissimilarities(self, seen: Array | None = None, n_errors: int = 1) -> Array:
        """Return the corrected dissimilarity of each pair of classes.

        Parameters
        ----------
        seen
            Points in the metric's coordinates, (n_classes, n_dimensions); None takes those of the space.
        n_errors
            Number of independent sampling errors that each point contains.

        Returns
        -------
        (n_classes, n_classes) array
            Symmetric, 0 on the diagonal. A pair that is closer than sampling errors alone would put it is below 0.
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
        """Yield the dissimilarities, (n_classes, n_classes), of n simulated studies with the same class sizes.

        The class means of two studies differ by the sampling errors of both. Class means are therefore drawn around the
        observed ones with twice the variance that their class sizes give, from normal distributions; the samples are
        not needed. Nothing is yielded where the spread within classes is not known.

        Parameters
        ----------
        n
            Number of resamples.
        seed
            Seed of the draws.
        on_resample
            Called as ``on_resample(done, n)`` after each.

        Raises
        ------
        ValueError
            `n` is no whole number of at least 0.
        """
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
            raise ValueError(f"`n_resamples` must be a whole number of at least 0; got {n!r}.")
        rng = np.random.default_rng(seed)
        for number in range(n if self.spread is not None else 0):
            # Two errors are added to points that already contain their own, which makes three.
            drawn = self.points + np.sqrt(2) * self.draw_errors(rng)
            yield self.dissimilarities(self.see(drawn), n_errors=3)
            if on_resample is not None:
                on_resample(number + 1, n)

    def draw_errors(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw one sampling error for each class mean, (n_classes, n_dimensions)."""
        return self._known_spread().draw_errors(self.counts, rng)

    def error_lengths(self) -> Array:
        """Return the expected squared length, under the metric, of the error of each class mean, (n_classes,)."""
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
                "`spread` must be known to tell relations from chance; got None, since no class has two samples that "
                "differ. Fit the model on samples, or import it with samples."
            )
        return self.spread


def lengths_without_chance(squares: Array, noise: Array) -> Array:
    """Return corrected lengths: the roots of squared lengths less the noise, but of a tenth of each square at least.

    Parameters
    ----------
    squares
        Squared lengths, (n_classes,).
    noise
        What sampling errors add to each on average, (n_classes,).

    Examples
    --------
    >>> lengths_without_chance(np.array([25.0, 10.0]), np.array([9.0, 12.0])).tolist()
    [4.0, 1.0]
    """
    return np.asarray(np.sqrt(np.maximum(squares - noise, np.maximum(LEAST_LENGTH * squares, 1e-300))))
