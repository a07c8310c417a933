"""Which classes a signature, or a pair of gene sets, resembles: scores, how unusual they are, and ranks.

A score compares how a query and a class deviate from the mean of all classes, each class counting once. For z-scores,
whose 0 means no effect, subtracting that mean removes what all classes have in common, such as the response to any
toxic compound, so that it makes no class look similar. Other tables have no meaningful 0, and the mean of all classes
is their origin. A negative score means that the query lies on the other side of this mean.
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
# Called with the number of steps that are done, and of all.
OnStep = Callable[[int, int], None]

METHODS = ("code", "profile")
# Least queries that serve as background for each other; chosen by hand: tau then has steps of about 2.
MIN_BACKGROUND = 50
# Queries written at a time: a guard for memory.
N_ROWS = 4096
# The quantiles by which the Connectivity Map summarises over cell lines (Subramanian et al., Cell 171:1437, 2017).
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
        For the method "profile": queries × features in the data's units (log(1 + 10,000 × share of the total) for
        counts). Columns are matched by name; at least 5 must be features of the atlas, and all others are ignored. For
        the method "code": queries × latent dimensions, as `SVQVAE.transform` returns them.
    background
        Signatures of the same kind, to which `tau` compares; None takes the queries themselves if there are at
        least 50.
    method
        "profile": Pearson correlation of the signature, scaled as the model scales it, and the decoded code of each
        class. "code": that of the latent and each code. The mean of all classes is subtracted from both sides first.
    top
        Number of classes to keep for each query, those with the highest scores; None keeps all.

    Returns
    -------
    pandas.DataFrame
        ``query``, ``class``, ``rank`` (1 for the highest score), ``score`` in [-1, 1], and ``tau`` in [-100, 100], see
        `signed_percentiles`; NaN without a background.

    Raises
    ------
    ValueError
        Signatures have NaN or infinite cells, too few features of the atlas, one of them twice, or another number of
        latent dimensions; the method is unknown; or `top` is no whole number of at least 1.

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
    """Rank the classes of an atlas for gene sets up and down, by the weighted connectivity score.

    Parameters
    ----------
    atlas
        The atlas.
    gene_sets
        The genes up and the genes down of each query, by its name; one of the two may be empty. A query with a set that
        shares fewer than 5 genes with the atlas is left out.
    background
        Gene sets to which `tau` compares; None draws 1,000 random queries with the same numbers of genes. The genes of
        real sets are correlated and those of random ones are not, so that random sets make real ones that have nothing
        to do with the classes look more unusual than they are.
    top
        Number of classes to keep for each query, those with the highest scores; None keeps all.
    random_state
        Seed of the random sets.

    Returns
    -------
    pandas.DataFrame
        As `rank_classes`; the scores are the connectivity scores of `svqvae.atlas.enrichment`.

    Raises
    ------
    ValueError
        Every query is left out, or `top` is no whole number of at least 1.

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
    """Return the Pearson correlation of rows and points after the mean of the points is subtracted from both.

    Parameters
    ----------
    rows
        (n, n_dimensions).
    points
        One row per class, (n_classes, n_dimensions).

    Returns
    -------
    (n, n_classes) array
        In [-1, 1]; 0 for a row or a point that does not vary.

    Raises
    ------
    ValueError
        Rows have NaN or infinite cells.
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
    """Return the connectivity scores and taus of queries with all classes, (n, n_classes) each.

    Parameters
    ----------
    atlas
        The atlas.
    members
        For each of the n queries, by its name, the indices of its features up and of its features down.
    background
        Queries in the same form to which `tau` compares; None draws random queries of the same sizes.
    seed
        Seed of the random queries.
    on_step
        Called as ``on_step(done, n)`` after each query.
    """
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
    """Return the `signed_percentiles` of scores, (n, n_classes).

    The background is the given one, or the queries themselves if there are at least 50; otherwise tau is NaN.

    Parameters
    ----------
    scores
        (n, n_classes).
    background
        Scores of other queries for the same classes, (n_background, n_classes), or None.
    """
    if background is not None:
        return signed_percentiles(scores, background)
    if len(scores) < MIN_BACKGROUND:
        return np.full(scores.shape, np.nan)
    return signed_percentiles(scores, scores, is_own=True)


def signed_percentiles(scores: Array, background: Array, *, is_own: bool = False) -> Array:
    r"""Return tau: the percentage of the background scores that are closer to 0, with the sign of the score.

    .. math:: \tau_{qk} = 100 \, \mathrm{sign}(s_{qk}) \, \frac{1}{N} \sum_{i=1}^{N} [\, |s_{ik}| < |s_{qk}| \,]

    for the score :math:`s_{qk}` of query q with class k and the scores :math:`s_{ik}` of N background queries, after
    Subramanian et al. (Cell 171:1437, 2017). They first divide scores by their mean for the cell line and type of
    perturbagen; that is not done here, since all scores with one atlas are on one scale.

    Parameters
    ----------
    scores
        (n, n_classes).
    background
        Scores of other queries for the same classes, (N, n_classes).
    is_own
        Whether the background is the queries themselves, so that each query is to be left out of its own background.

    Raises
    ------
    ValueError
        There is no background query.

    Examples
    --------
    >>> signed_percentiles(np.array([[-0.5]]), np.array([[0.1], [-0.2], [0.7], [0.4]]))
    array([[-75.]])
    """
    n = len(background) - is_own
    if n < 1:
        raise ValueError("`background` must hold other queries; got none. Leave it out, or give more.")
    sorted_sizes = np.sort(np.abs(background), axis=0)
    # A score is not smaller than itself, so that leaving it out changes n alone.
    smaller = [np.searchsorted(sorted_sizes[:, k], np.abs(scores[:, k])) for k in range(scores.shape[1])]
    return np.asarray(100 * np.sign(scores) * np.column_stack(smaller) / n)


def ranking(
    names: Sequence[str], classes: NDArray[np.generic], scores: Array, percentiles: Array, top: int | None = None
) -> pd.DataFrame:
    """Return one row per query and class, the classes of each query by descending score.

    Parameters
    ----------
    names
        Names of the queries, (n,).
    classes
        Names of the classes, (n_classes,).
    scores, percentiles
        Scores and taus, (n, n_classes).
    top
        Number of classes to keep for each query; None keeps all.

    Returns
    -------
    pandas.DataFrame
        ``query``, ``class``, ``rank`` from 1, ``score`` and ``tau``.
    """
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
    """Write `ranking` as a CSV file, a block of queries at a time.

    Parameters
    ----------
    path
        The file, which is written whole or not at all.
    names, classes, scores, percentiles, top
        As in `ranking`.
    on_step
        Called as ``on_step(done, n)`` after each block, with numbers of queries.
    """
    with writing_whole(path) as file:
        for start in range(0, len(names), N_ROWS):
            block = slice(start, start + N_ROWS)
            table = ranking(names[block], classes, scores[block], percentiles[block], top)
            # Rounding takes a fraction of the time of `float_format`, and no score is certain to six digits.
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
    """Summarise the scores of the queries of each group, such as a cell line.

    Parameters
    ----------
    groups
        Group of each query, (n,).
    classes
        Names of the classes, (n_classes,).
    scores, percentiles
        Scores and taus, (n, n_classes).
    top
        Number of classes to keep for each group; None keeps all.

    Returns
    -------
    pandas.DataFrame
        One row per group and class, the groups in the order of their first queries: ``group``; ``class``; ``rank``, by
        ``quantile``; ``mean`` of the scores; ``quantile``, the `maximum_quantile` of the scores; ``tau``, that of the
        taus; and ``n``, the number of queries of the group.
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
    """Return the 67th or the 33rd percentile of each column, whichever is farther from 0, (n_columns,).

    So the Connectivity Map summarises scores over cell lines (Subramanian et al., Cell 171:1437, 2017).

    Parameters
    ----------
    values
        (n, n_columns).

    Examples
    --------
    >>> maximum_quantile(np.array([[0.0, 0.0], [-1.0, 1.0], [-3.0, 3.0]])).round(2).tolist()
    [-1.68, 1.68]
    """
    high, low = np.quantile(values, HIGH, axis=0), np.quantile(values, LOW, axis=0)
    return np.asarray(np.where(np.abs(high) >= np.abs(low), high, low))


def match_signatures(feature_names: Sequence[str], known: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the positions in signatures of the features that they share with the atlas, and those in the atlas.

    Parameters
    ----------
    feature_names
        Features of the signatures, (n_columns,).
    known
        Features of the atlas, (n_features,).

    Returns
    -------
    list of int, list of int
        Positions of the shared features in both, in the order of the atlas.

    Raises
    ------
    ValueError
        Fewer than 5 features are shared (or not all, where the atlas has fewer), or signatures have one of them twice.

    Examples
    --------
    >>> match_signatures(["c", "x", "a", "b"], ["a", "b", "c"])
    ([2, 3, 0], [0, 1, 2])
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
    """Refuse a number of classes to keep that is no whole number of at least 1.

    Raises
    ------
    ValueError
        `top` is neither None nor such a number.
    """
    if top is not None and (isinstance(top, bool) or not isinstance(top, int | np.integer) or top < 1):
        raise ValueError(f"`top` must be a whole number of at least 1; got {top!r}. Leave it out to keep all classes.")


def check_method(method: str) -> None:
    """Refuse an unknown method.

    Raises
    ------
    ValueError
        The method is none of `METHODS`.
    """
    if method not in METHODS:
        raise ValueError(f"`method` must be 'code' or 'profile'; got {method!r}.")


def _scores(atlas: ClassAtlas, table: pd.DataFrame, method: str) -> Array:
    """Return the score of each row of a table with each class, (n, n_classes)."""
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
    """Return rows, less their own mean, scaled to length 1; 0 for a row that does not vary."""
    rows = deviations - deviations.mean(1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0))
