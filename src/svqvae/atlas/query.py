"""Which classes a signature, or a pair of gene sets, looks like: scores, how unusual they are, ranks.

Scores say how a query deviates from the mean of all classes, every class counting once, against how each class does.
For z-scores, whose 0 means no effect, this takes off what the classes have in common, such as a response to any toxic
compound, so that it makes no class look similar; for other tables, whose 0 means nothing, there is no other origin.
A negative score therefore means: on the other side of the mean of all classes.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from svqvae.atlas.atlas import ClassAtlas
from svqvae.atlas.enrichment import MIN_FEATURES, N_RANDOM, RandomSets, RankedFeatures, match_features
from svqvae.files import writing_whole
from svqvae.wording import list_some

Array = NDArray[np.float64]
# Called with what is done and what there is in all.
OnStep = Callable[[int, int], None]

METHODS = ("code", "profile")
# From this number of queries on, they are each other's background.
MIN_BACKGROUND = 50
# Queries at a time.
N_ROWS = 4096
HIGH, LOW = 0.67, 0.33


def rank_classes(
    atlas: ClassAtlas,
    signatures: pd.DataFrame,
    background: pd.DataFrame | None = None,
    *,
    method: str = "profile",
    top: int | None = None,
) -> pd.DataFrame:
    """Rank the classes of an atlas for each signature, by correlation.

    Parameters
    ----------
    atlas
        The atlas.
    signatures
        For "profile": queries × features, in the data's units (log(1 + 10,000 × share of the total) for counts),
        matched by name; at least 5 must be features of the atlas, and others are left aside. For "code": queries ×
        latent dimensions, as `SVQVAE.transform` gives them.
    background
        Signatures of the same kind for `tau`; None takes the queries themselves where there are at least 50.
    method
        "profile" compares a signature, scaled as the model scales it, with the decoded code of each class; "code" its
        latent with the codes. Both are Pearson correlations of what deviates from the mean of all classes.
    top
        Classes to keep for each query, the best first; None keeps all.

    Returns
    -------
    pandas.DataFrame
        ``query``, ``class``, ``rank`` (1 is the most positive score), ``score`` and ``tau``, see `signed_percentiles`;
        NaN without a background.

    Examples
    --------
    >>> from svqvae.data.simulate import plant_classes
    >>> from svqvae import SVQVAE
    >>> data = plant_classes(3, 40, sizes=(20, 40))
    >>> atlas = SVQVAE(n_epochs=2, random_state=0).fit(data.X, data.y).to_atlas()
    >>> rank_classes(atlas, atlas.decoded_profiles, top=1)["score"].round(6).tolist()
    [1.0, 1.0, 1.0]
    """
    check_top(top)
    scores = _scores(atlas, signatures, method)
    others = None if background is None else _scores(atlas, background, method)
    names = [str(name) for name in signatures.index]
    return ranking(names, atlas.classes, scores, tau(scores, others), top)


def rank_classes_by_genes(
    atlas: ClassAtlas,
    gene_sets: Mapping[str, tuple[Sequence[str], Sequence[str]]],
    background: Mapping[str, tuple[Sequence[str], Sequence[str]]] | None = None,
    *,
    top: int | None = None,
    random_state: int = 0,
) -> pd.DataFrame:
    """Rank the classes of an atlas for sets of genes up and down, by weighted connectivity.

    Parameters
    ----------
    atlas
        The atlas.
    gene_sets
        The genes up and the genes down of each query; one of the two may be empty. Queries that share fewer than 5
        genes a set with the atlas are left out.
    background
        Gene sets for `tau`; None draws 1,000 random queries of the same numbers of genes. The genes of real sets move
        together and those of random ones do not, so that real sets that have nothing to do with the classes come
        out as more unusual than they are.
    top
        Classes to keep for each query, the best first; None keeps all.
    random_state
        Seed of the random sets.

    Returns
    -------
    pandas.DataFrame
        As `rank_classes`; the scores are those of `svqvae.atlas.enrichment`.

    Examples
    --------
    >>> from svqvae.data.simulate import plant_classes
    >>> from svqvae import SVQVAE
    >>> data = plant_classes(3, 40, sizes=(20, 40))
    >>> atlas = SVQVAE(n_epochs=2, random_state=0).fit(data.X, data.y).to_atlas()
    >>> ranked = atlas.profile("class 1").sort_values("difference").index.tolist()
    >>> rank_classes_by_genes(atlas, {"like class 1": (ranked[-8:], ranked[:8])}, top=1)["class"].tolist()
    ['class 1']
    """
    check_top(top)
    members = match_features(gene_sets, atlas.feature_names).members
    others = None if background is None else match_features(background, atlas.feature_names).members
    scores, percentiles = gene_set_scores(atlas, members, others, random_state)
    return ranking(list(members), atlas.classes, scores, percentiles, top)


def correlations(rows: NDArray[np.floating], points: NDArray[np.floating]) -> Array:
    """Return the Pearson correlation of rows and points after the mean of the points is taken off both.

    Parameters
    ----------
    rows
        (n, n_dimensions).
    points
        One row per class, (n_classes, n_dimensions).

    Returns
    -------
    (n, n_classes) array; 0 where a row or a point does not vary
    """
    if not np.isfinite(rows).all():
        raise ValueError(
            f"`signatures` must be finite; got {(~np.isfinite(rows)).sum()} NaN or infinite cells. Impute them, or "
            "drop the signatures."
        )
    origin = points.mean(0, dtype=np.float64)
    seen = [_directions(part - origin) for part in (rows, points)]
    return np.asarray(np.clip(seen[0] @ seen[1].T, -1, 1))


def gene_set_scores(
    atlas: ClassAtlas,
    members: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]],
    background: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]] | None = None,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> tuple[Array, Array]:
    """Return connectivity and tau of each query to each class, (n, n_classes) each, for indices of features."""
    ranked = RankedFeatures(atlas.decoded - atlas.decoded.mean(0, dtype=np.float64))
    drawn = RandomSets(ranked, N_RANDOM, seed)
    others = None if background is None else np.stack([ranked.connectivity(*pair) for pair in background.values()])
    scores = np.empty((len(members), len(atlas.classes)))
    percentiles = np.empty_like(scores)
    for k, (up, down) in enumerate(members.values()):
        scores[k] = ranked.connectivity(up, down)
        against = drawn.connectivity(len(up), len(down)) if others is None else others
        percentiles[k] = signed_percentiles(scores[k : k + 1], against)[0]
        if on_step is not None:
            on_step(k + 1, len(members))
    return scores, percentiles


def tau(scores: Array, background: Array | None) -> Array:
    """Return `signed_percentiles` against a background, or against the queries where they are enough, else NaN."""
    if background is not None:
        return signed_percentiles(scores, background)
    if len(scores) < MIN_BACKGROUND:
        return np.full(scores.shape, np.nan)
    return signed_percentiles(scores, scores, is_own=True)


def signed_percentiles(scores: Array, background: Array, *, is_own: bool = False) -> Array:
    r"""Return tau, the sign of a score times the percentage of the background that is closer to 0.

    .. math:: \tau_{qk} = 100 \, \mathrm{sign}(s_{qk}) \, \frac{1}{N} \sum_{i=1}^{N} [\, |s_{ik}| < |s_{qk}| \,]

    after Subramanian et al. (Cell 171:1437, 2017), who compare absolute scores of either sign. They first divide scores
    by their mean for the cell line and type of perturbagen; scores against one atlas are on one scale and are not.

    Parameters
    ----------
    scores
        (n, n_classes).
    background
        Scores of other queries against the same classes, (N, n_classes).
    is_own
        Whether the background is the queries themselves; then each is left out of its own.

    Examples
    --------
    >>> signed_percentiles(np.array([[-0.5]]), np.array([[0.1], [-0.2], [0.7], [0.4]]))
    array([[-75.]])
    """
    n = len(background) - is_own
    if n < 1:
        raise ValueError("`background` must hold other queries; got none. Leave it out, or give more.")
    sorted_sizes = np.sort(np.abs(background), axis=0)
    # A score is not smaller than itself, so that only the number has to leave it out.
    smaller = [np.searchsorted(sorted_sizes[:, k], np.abs(scores[:, k])) for k in range(scores.shape[1])]
    return np.asarray(100 * np.sign(scores) * np.column_stack(smaller) / n)


def ranking(
    names: Sequence[str], classes: NDArray[np.generic], scores: Array, percentiles: Array, top: int | None = None
) -> pd.DataFrame:
    """Return one row per query and class, the classes of a query from the most positive score to the most negative."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    n_kept = order.shape[1]
    return pd.DataFrame(
        {
            "query": np.repeat(np.asarray(names, dtype=object), n_kept),
            "class": classes[order.ravel()],
            "rank": np.tile(np.arange(1, n_kept + 1), len(order)),
            "score": np.take_along_axis(scores, order, axis=1).ravel(),
            "tau": np.take_along_axis(percentiles, order, axis=1).ravel(),
        }
    )


def write_ranking(
    path: Path,
    names: Sequence[str],
    classes: NDArray[np.generic],
    scores: Array,
    percentiles: Array,
    top: int | None = None,
    on_step: OnStep | None = None,
) -> None:
    """Write `ranking` as a CSV file, a block of queries at a time, whole or not at all."""
    with writing_whole(path) as file:
        for start in range(0, len(names), N_ROWS):
            block = slice(start, start + N_ROWS)
            table = ranking(names[block], classes, scores[block], percentiles[block], top)
            # Six digits are more than a score has; a column formatted by numpy costs a fraction of `float_format`.
            file.write(table.round({"score": 6, "tau": 3}).to_csv(index=False, header=start == 0).encode())
            if on_step is not None:
                on_step(min(start + N_ROWS, len(names)), len(names))


def summarise(
    groups: Sequence[Any] | NDArray[Any],
    classes: NDArray[np.generic],
    scores: Array,
    percentiles: Array,
    top: int | None = None,
) -> pd.DataFrame:
    """Summarise the scores of the queries of each group.

    Returns
    -------
    pandas.DataFrame
        ``group``, ``class``, ``rank`` (by `quantile`), ``mean`` of the scores, ``quantile``: the 67th or the 33rd
        percentile of the scores, whichever is farther from 0, as the Connectivity Map summarises over cell lines;
        ``tau``, the same of tau; and ``n``, the queries of the group.
    """
    codes, names = pd.factorize(pd.Series(groups, dtype=object), sort=False)
    parts = []
    for k, name in enumerate(names):
        own = codes == k
        quantiles = maximum_quantile(scores[own])
        order = np.argsort(-quantiles, kind="stable")[:top]
        part: dict[str, Any] = {"group": name, "class": classes[order], "rank": np.arange(1, len(order) + 1)}
        part |= {"mean": scores[own].mean(0)[order], "quantile": quantiles[order]}
        part |= {"tau": maximum_quantile(percentiles[own])[order], "n": int(own.sum())}
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def maximum_quantile(values: Array) -> Array:
    """Return the 67th or the 33rd percentile over rows, (n_columns,), whichever is farther from 0."""
    high, low = np.quantile(values, HIGH, axis=0), np.quantile(values, LOW, axis=0)
    return np.asarray(np.where(np.abs(high) >= np.abs(low), high, low))


def match_signatures(feature_names: Sequence[str], known: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return where the features of signatures stand, and where the same stand in the atlas.

    Raises
    ------
    ValueError
        Where fewer than 5 are features of the atlas, or a feature stands twice.
    """
    index = pd.Index([str(name) for name in feature_names])
    repeated = [name for name in index[index.duplicated()].unique() if name in set(known)]
    if repeated:
        raise ValueError(f"`signatures` must have each feature once; got {repeated[0]!r} twice. Keep one of them.")
    places = {name: k for k, name in enumerate(index)}
    found = [k for k, name in enumerate(known) if name in places]
    if len(found) < min(MIN_FEATURES, len(known)):
        raise ValueError(
            f"`signatures` must have at least {min(MIN_FEATURES, len(known))} of the {len(known)} features of the "
            f"atlas; {len(found)} of {len(index)} are. Features are named {list_some(index[:3])}, those of "
            f"the atlas {list_some(known[:3])}: use the same names."
        )
    return [places[known[k]] for k in found], found


def check_top(top: int | None) -> None:
    """Refuse a number of classes to keep that keeps none."""
    if top is not None and (isinstance(top, bool) or not isinstance(top, int | np.integer) or top < 1):
        raise ValueError(f"`top` must be a whole number of at least 1; got {top!r}.")


def check_method(method: str) -> None:
    """Refuse a method that is none."""
    if method not in METHODS:
        raise ValueError(f"`method` must be 'code' or 'profile'; got {method!r}.")


def _scores(atlas: ClassAtlas, table: pd.DataFrame, method: str) -> Array:
    check_method(method)
    values = table.to_numpy(dtype=np.float64)
    if method == "profile":
        columns, known = match_signatures([str(name) for name in table.columns], atlas.feature_names)
        rows = (values[:, columns] - atlas.center[known]) / atlas.scale[known]
        return correlations(rows, atlas.decoded[:, known])
    if table.shape[1] != atlas.codes.shape[1]:
        raise ValueError(
            f"`signatures` must be latents (n, {atlas.codes.shape[1]}) for method='code'; got {table.shape}. "
            "Pass pd.DataFrame(model.transform(X))."
        )
    return correlations(values, atlas.codes)


def _directions(deviations: NDArray[np.floating]) -> Array:
    """Return rows less their own mean, at length 1; 0 where a row does not vary."""
    rows = deviations - deviations.mean(1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0))
