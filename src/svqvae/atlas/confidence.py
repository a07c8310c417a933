"""How sure the class of a new sample is: sets of classes, and samples that are like none.

Conformal prediction (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005) turns any score into
a statement about new samples, from the scores of samples that had no part in it and are otherwise like the new ones.
An encoder knows its own training samples too well for that: their latents lie nearer to their codes, and their
probabilities are higher, than those of new samples. Two kinds of scores are honest:

- probabilities and latents of samples held out of training, where a fit held some out;
- how far features lie from the classes, which needs no encoder: classes are fitted to some folds and tried on the rest
  (cross-conformal prediction; Vovk, Ann. Math. Artif. Intell. 74:9, 2015). A new sample is scored by the fit to all
  folds, which knows the classes a little better, so that these p-values come out a little large.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from svqvae.atlas.spread import Spread, Whitening, fit_spread, floored

if TYPE_CHECKING:
    from svqvae.atlas.atlas import ClassAtlas

Array = NDArray[np.float64]
Index = NDArray[np.int64]

COVERAGE = 0.9
N_FOLDS = 10
# Samples that are drawn for calibration where there are more.
MAX_SAMPLES = 5000
# Numbers in a table that is worked on at once.
MAX_CELLS = 1 << 24


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores of samples that had no part in what scored them, each in rising order.

    Attributes
    ----------
    means
        Mean of the training samples of each class in the model's units, (n_classes, n_features).
    surprises
        How unlikely the features of a sample are in the likeliest class, see `surprise`, (n,).
    code_surprises
        The same of latents, of samples held out of training, (n_held_out,); none where a fit held none out.
    own_probabilities
        The probability that held-out samples give to their own class, (n_held_out,).
    """

    means: NDArray[np.float32]
    surprises: Array
    code_surprises: Array
    own_probabilities: Array

    @property
    def covers(self) -> bool:
        """Whether sets of classes have the coverage that is asked of them: samples were held out of training."""
        return len(self.own_probabilities) > 0


def surprise(rows: NDArray[np.floating], means: NDArray[np.floating], spread: Spread) -> Array:
    """Return how unlikely rows are in the class in which they are likeliest, (n,).

    min over k of (x - m_k)ᵀ Σ_k⁻¹ (x - m_k) + log det Σ_k: minus twice the logarithm of a normal density, less a
    constant. The covariances Σ_k are those of `Spread`, shrunk; a tenth of each variance is the mean variance of
    all dimensions, so that those which hardly vary do not rule.

    Parameters
    ----------
    rows
        (n, n_dimensions).
    means
        (n_classes, n_dimensions).
    spread
        How rows spread around the means.
    """
    whitening = Whitening(spread)
    # What is common to the features of a scaled row counts less: squares along these directions are taken off.
    directions = whitening.U * np.sqrt(1 - (1 - whitening.cut) ** 2)
    # Common to all classes, but not to all folds.
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
        # (n_dimensions, n_classes · rank): all classes in one matrix product.
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
    """Return the surprise of each row at classes fitted without its fold, in rising order.

    A row whose class is in its own fold only is left out; so may be all.

    Parameters
    ----------
    rows
        (n, n_dimensions); at most `MAX_SAMPLES` of them are drawn.
    y
        Class index of each row, (n,).
    groups
        What must not stand on both sides of a fold, (n,), or None.
    seed
        Seed of draw and folds.
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
    """Return the positions, in rising order, of the samples of n by which to calibrate."""
    if n <= MAX_SAMPLES:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, MAX_SAMPLES, replace=False))


def _draw_folds(y: Index, groups: Index | None, rng: np.random.Generator) -> Index:
    """Return the fold of each sample: stratified by class, or groups whole."""
    if groups is not None:
        names, index = np.unique(groups, return_inverse=True)
        return rng.permutation(np.arange(len(names)) % N_FOLDS)[index]
    fold = np.empty(len(y), dtype=np.int64)
    for k in np.unique(y):
        own = rng.permutation(np.flatnonzero(y == k))
        fold[own] = (np.arange(len(own)) + rng.integers(N_FOLDS)) % N_FOLDS
    return fold


def p_values(scores: Array, calibration: Array) -> Array:
    """Return conformal p-values: the share of the calibration scores, and of the score itself, that are as large.

    (1 + #{c ≥ s}) / (n + 1). A new sample of the kind of the calibration samples has p ≤ α with a probability of at
    most α (Bates et al., Ann. Statist. 51:149, 2023). NaN where there are no calibration scores.
    """
    n = len(calibration)
    if not n:
        return np.full(len(scores), np.nan)
    return np.asarray((1 + n - np.searchsorted(calibration, scores, side="left")) / (n + 1))


def novelty(atlas: "ClassAtlas", rows: NDArray[np.floating], latents: NDArray[np.floating]) -> Array:
    """Return p-values of new samples for being of one of the classes, (n,); small means unlike all of them.

    That of the features; where the fit held samples out, twice the smaller of those of features and latents
    (Bonferroni). NaN where no samples are known.

    Parameters
    ----------
    atlas
        What a fit knows of its classes.
    rows
        New samples in the model's units, (n, n_features).
    latents
        Their latents, (n, latent_dim).
    """
    known, spread = atlas.calibration, atlas.profile_spread
    if known is None or spread is None:
        return np.full(len(rows), np.nan)
    p = p_values(surprise(rows, known.means, spread), known.surprises)
    if atlas.code_spread is None or not len(known.code_surprises):
        return p
    p_codes = p_values(surprise(latents, atlas.codes, atlas.code_spread), known.code_surprises)
    return np.asarray(np.minimum(1, 2 * np.fmin(p, p_codes)))


def class_sets(
    probabilities: NDArray[np.floating], calibration: Calibration | None, coverage: float = COVERAGE
) -> NDArray[np.bool_]:
    """Return which classes are in the set of each sample, (n, n_classes); the most probable one always is.

    Where the fit held samples out, the classes at least as probable as all but a share of 1 - coverage of the held-out
    samples found their own (Sadinle, Lei and Wasserman, J. Am. Stat. Assoc. 114:223, 2019). The set of a new sample of
    their kind then has its class with a probability of at least `coverage`, over all classes together. Where it held
    none out, the most probable classes that add up to `coverage`, which promises nothing: probabilities of a model
    that knows its training samples by heart are too high.

    Parameters
    ----------
    probabilities
        (n, n_classes).
    calibration
        What the fit knows, or None.
    coverage
        The asked share, in (0, 1).

    Examples
    --------
    >>> class_sets(np.array([[0.7, 0.25, 0.05]]), None).tolist()
    [[True, True, False]]
    """
    if not 0 < coverage < 1:
        raise ValueError(f"`coverage` must be above 0 and below 1; got {coverage!r}.")
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
