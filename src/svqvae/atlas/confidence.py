"""How sure the class of a new sample is: sets of classes, and p-values for being like none of the classes.

Conformal prediction (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005) turns any score into
a statement about new samples, by comparison with the scores of calibration samples, which must be like the new ones and
must not have been used to fit what scores them. Training samples are no calibration samples for an encoder, which
overfits them: their latents are closer to their codes, and the probabilities of their class higher, than those of new
samples. Two kinds of scores are valid:

- probabilities and latents of samples that were held out of training, where a fit held some out;
- distances of features to the classes, which need no encoder: classes are fitted to all folds but one, and the samples
  of that fold are scored (cross-conformal prediction; Vovk, Ann. Math. Artif. Intell. 74:9, 2015). New samples are
  scored by a fit to all folds, which is a little more accurate, so that their p-values are a little too large.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svqvae.atlas.spread import Spread, Whitening, fit_spread, floored

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# Share of new samples whose set is to contain their class; chosen by hand.
COVERAGE = 0.9
# Folds for the calibration of surprises; chosen by hand.
N_FOLDS = 10
# Most samples for calibration: a guard for time. p-values of 5,000 have steps of 0.0002.
MAX_SAMPLES = 5000
# Numbers of a table in work at a time: a guard for memory, 64 MB in single precision.
MAX_CELLS = 1 << 24


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores of calibration samples, which were not used to fit what scores them; each array in ascending order.

    Attributes
    ----------
    means
        Mean of the training samples of each class in the model's units, (n_classes, n_features).
    surprises
        Surprise of the features of each calibration sample, see `surprise`, (n,).
    code_surprises
        Surprise of the latent of each held-out sample, (n_held_out,); empty where the fit held none out.
    own_probabilities
        Probability of the true class of each held-out sample, (n_held_out,).
    """

    means: NDArray[np.float32]
    surprises: Array
    code_surprises: Array
    own_probabilities: Array

    @property
    def covers(self) -> bool:
        """Whether sets of classes have their nominal coverage, which takes samples that were held out of training."""
        return len(self.own_probabilities) > 0


def surprise(rows: NDArray[np.floating], means: NDArray[np.floating], spread: Spread) -> Array:
    """Return the surprise of each row: how unlikely it is in the class in which it is most likely, (n,).

    The surprise of x is the minimum over classes k of (x - m_k)ᵀ Σ_k⁻¹ (x - m_k) + log det Σ_k, which is -2 times the
    logarithm of a normal density up to a constant. The covariances Σ_k are those of `Spread`; so that dimensions that
    hardly vary do not dominate, the mean variance of all dimensions enters each variance with a weight of a tenth.

    Parameters
    ----------
    rows
        (n, n_dimensions).
    means
        Class means, (n_classes, n_dimensions).
    spread
        How rows spread around the means.
    """
    whitening = Whitening(spread)
    # Scaled rows are correlated along these directions; the squares along them are subtracted below.
    directions = whitening.U * np.sqrt(1 - (1 - whitening.cut) ** 2)
    # Part of the log determinant: the same for all classes, but not for all folds.
    common = -2 * np.log(1 - whitening.cut).sum()
    center = means.mean(0, dtype=np.float64)
    least = np.full(len(rows), np.inf)
    n_classes = min(len(means), max(1, MAX_CELLS // max(1, directions.size)))
    n_rows = max(1, MAX_CELLS // (4 * max(len(directions), n_classes * directions.shape[1])))
    for first in range(0, len(means), n_classes):
        own, deviations = means[first : first + n_classes] - center, spread.deviations[first : first + n_classes]
        scales = 1 / np.sqrt(np.maximum(np.stack([floored(one) for one in deviations]) * spread.rest, 1e-300))
        weights = scales**2
        slopes = -2 * weights * own
        offsets = (weights * own**2 - 2 * np.log(scales)).sum(1) + common
        # The directions of all classes side by side, (n_dimensions, n_classes · rank), for one matrix product.
        along = scales.T.astype(np.float32)[:, :, None] * directions.astype(np.float32)[:, None, :]
        along = along.reshape(len(directions), -1)
        shifts = ((scales * own) @ directions).astype(np.float32)
        for start in range(0, len(rows), n_rows):
            seen = rows[start : start + n_rows] - center
            squares = seen**2 @ weights.T + seen @ slopes.T + offsets
            parts = (seen.astype(np.float32) @ along).reshape(len(seen), *shifts.shape)
            parts -= shifts
            squares -= np.einsum("nkr,nkr->nk", parts, parts, dtype=np.float64)
            least[start : start + n_rows] = np.fmin(least[start : start + n_rows], squares.min(1))
    return least


def cross_fitted_surprises(rows: NDArray[np.floating], y: Index, groups: Index | None, seed: int) -> Array:
    """Return the surprises of rows under classes that were fitted without the fold of the row, ascending.

    A row whose class occurs in its own fold only has none. The result may be empty.

    Parameters
    ----------
    rows
        (n, n_dimensions); of more than `MAX_SAMPLES`, a random subset is used.
    y
        Class index of each row, (n,).
    groups
        Group of each row, (n,), or None; all rows of a group are in the same fold.
    seed
        Seed of the subset and of the folds.
    """
    if len(rows) > MAX_SAMPLES:
        drawn = draw_samples(len(rows), seed)
        rows, y, groups = rows[drawn], y[drawn], None if groups is None else groups[drawn]
    fold = _draw_folds(y, groups, np.random.default_rng(seed))
    found = [np.empty(0)]
    for number in range(N_FOLDS):
        fitted = fold != number
        names, index = np.unique(y[fitted], return_inverse=True)
        tried, own = ~fitted & np.isin(y, names), rows[fitted]
        spread = fit_spread(own, index, len(names), seed) if tried.any() else None
        if spread is not None:
            means = np.stack([own[index == k].mean(0, dtype=np.float64) for k in range(len(names))])
            found.append(surprise(rows[tried], means, spread))
    return np.sort(np.concatenate(found))


def draw_samples(n: int, seed: int) -> Index:
    """Return the positions, ascending, of the calibration samples: all n, or `MAX_SAMPLES` at random."""
    if n <= MAX_SAMPLES:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, MAX_SAMPLES, replace=False))


def _draw_folds(y: Index, groups: Index | None, rng: np.random.Generator) -> Index:
    """Return the fold of each sample, (n,): stratified by class, or by group, where the folds keep groups whole."""
    if groups is not None:
        names, index = np.unique(groups, return_inverse=True)
        return rng.permutation(np.arange(len(names)) % N_FOLDS)[index]
    fold = np.empty(len(y), dtype=np.int64)
    for k in np.unique(y):
        own = rng.permutation(np.flatnonzero(y == k))
        fold[own] = (np.arange(len(own)) + rng.integers(N_FOLDS)) % N_FOLDS
    return fold


def p_values(scores: Array, calibration: Array) -> Array:
    """Return the conformal p-value of each score: (1 + number of calibration scores at least as large) / (n + 1).

    A new sample of the same kind as the n calibration samples has p ≤ α with a probability of at most α (Bates et al.,
    Ann. Statist. 51:149, 2023).

    Parameters
    ----------
    scores
        (n_new,).
    calibration
        Scores of the calibration samples, ascending, (n,); where it is empty, all p-values are NaN.

    Examples
    --------
    >>> p_values(np.array([0.5, 3.5]), np.array([1.0, 2.0, 3.0, 4.0])).tolist()
    [1.0, 0.4]
    """
    n = len(calibration)
    if not n:
        return np.full(len(scores), np.nan)
    return np.asarray((1 + n - np.searchsorted(calibration, scores, side="left")) / (n + 1))


def class_sets(
    probabilities: NDArray[np.floating], calibration: Calibration | None, coverage: float = COVERAGE
) -> NDArray[np.bool_]:
    """Return which classes are in the prediction set of each sample, (n, n_classes).

    Where the fit held samples out, a set contains the classes whose probability reaches a threshold: all but a share of
    1 - coverage of the held-out samples gave their true class at least that probability (Sadinle, Lei and Wasserman,
    J. Am. Stat. Assoc. 114:223, 2019). The set of a new sample like them contains its class with a probability of at
    least `coverage`, on average over all classes.

    Where the fit held none out, a set contains the most probable classes until their probabilities add up to
    `coverage`. This guarantees nothing, since the probabilities of a model that overfits its training samples may be
    too high. In both cases the most probable class is in the set.

    Parameters
    ----------
    probabilities
        Probability of each class for each sample, (n, n_classes).
    calibration
        Scores of the calibration samples, or None.
    coverage
        Share of new samples whose set is to contain their class, in (0, 1).

    Raises
    ------
    ValueError
        `coverage` does not lie between 0 and 1.

    Examples
    --------
    >>> class_sets(np.array([[0.7, 0.25, 0.05]]), None).tolist()
    [[True, True, False]]
    """
    if not 0 < coverage < 1:
        raise ValueError(f"`coverage` must be above 0 and below 1; got {coverage!r}. Use {COVERAGE}, say.")
    best = np.eye(probabilities.shape[1], dtype=bool)[probabilities.argmax(1)]
    if calibration is None or not calibration.covers:
        order = np.argsort(-probabilities, axis=1, kind="stable")
        ranked = np.take_along_axis(probabilities, order, 1).astype(np.float64)
        chosen = np.empty_like(best)
        np.put_along_axis(chosen, order, np.cumsum(ranked, 1) - ranked < coverage, 1)
        return np.asarray(chosen | best)
    scores = calibration.own_probabilities
    number = int(np.floor((len(scores) + 1) * (1 - coverage) + 1e-9))
    threshold = scores[number - 1] if number else -np.inf
    return np.asarray((probabilities >= threshold) | best)
