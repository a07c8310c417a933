"""Which classes are alike: nearest classes, network, and pairs closer than chance, each with its support.

The support of a relation is the share of simulated studies of the same sizes that find it again, see
`svqvae.atlas.space.Space.resample`; its refit support is the share of other fits of the same samples that find it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from svqvae.atlas.space import OnResample, Space, lengths_without_chance

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Index = NDArray[np.int64]
# Nearest classes over which the hubness of a class is averaged; chosen by hand.
N_HUB = 5
# Resamples for the support of communities, which take much longer to find than edges: a standard error of at most 0.05.
N_COMMUNITY_RESAMPLES = 100
# Least classes for a test of closeness: deviations from the mean sum to 0, so that those of 2 classes are opposite, and
# the angles between those of 3 follow from their lengths.
MIN_CLASSES = 4
# Most values of the null distribution that are kept: a guard for memory, 40 MB in double precision.
MAX_NULL = 5_000_000


def nearest_partners(dissimilarities: Array, k: int, is_hubness_aware: bool = False) -> Index:
    """Return the indices of the k nearest classes of each class, nearest first, (n_classes, k).

    Parameters
    ----------
    dissimilarities
        (n_classes, n_classes).
    k
        Number of nearest classes, less than the classes.
    is_hubness_aware
        Whether each dissimilarity is reduced by the average dissimilarity of the two classes to their nearest classes,
        so that a class in the middle of all others is not the nearest of many just for that (cross-domain similarity
        local scaling, Conneau et al., arXiv:1710.04087).

    Examples
    --------
    >>> gaps = np.abs(np.subtract.outer([0.0, 1.0, 3.0], [0.0, 1.0, 3.0]))
    >>> nearest_partners(gaps, 1)[:, 0].tolist()
    [1, 0, 1]
    """
    values = dissimilarities + np.diag(np.full(len(dissimilarities), np.inf))
    if is_hubness_aware:
        around = np.sort(values, axis=1)[:, : min(N_HUB, len(values) - 1)].mean(1)
        values = values - (around[:, None] + around) / 2
    return np.asarray(np.argsort(values, axis=1, kind="stable")[:, :k])


def nearest_support(partners: Index, drawn: Iterable[Array], is_hubness_aware: bool) -> Array:
    """Return in which share of resamples each of the k nearest classes is the nearest, (n_classes, k).

    Parameters
    ----------
    partners
        Indices of the k nearest classes of each class, (n_classes, k).
    drawn
        Dissimilarities of each resample, (n_classes, n_classes); where there are none, all support is NaN.
    is_hubness_aware
        As in `nearest_partners`.
    """
    hits, n_drawn = np.zeros((len(partners), len(partners))), 0
    own = np.arange(len(partners))[:, None]
    for values in drawn:
        hits[own, nearest_partners(values, 1, is_hubness_aware)] += 1
        n_drawn += 1
    return np.asarray(hits[own, partners] / n_drawn if n_drawn else np.full(partners.shape, np.nan))


def edges(dissimilarities: Array, k: int, is_mutual: bool) -> Flags:
    """Return which pairs of classes are joined, (n_classes, n_classes), symmetric.

    Two classes are joined if each is among the k nearest of the other or, where `is_mutual` is False, if one is.
    """
    n = len(dissimilarities)
    chosen = np.zeros((n, n), dtype=bool)
    np.put_along_axis(chosen, nearest_partners(dissimilarities, k), True, axis=1)
    return chosen & chosen.T if is_mutual else chosen | chosen.T


def similarities(space: Space) -> Array:
    """Return the cosines between the deviations of classes from the mean of all samples, (n_classes, n_classes).

    Deviations are taken in the coordinates of the metric, and their lengths are corrected for sampling errors.
    """
    return _cosines(space, space.seen, space.noise)


def _cosines(space: Space, seen: Array, noise: Array) -> Array:
    """Return the cosines between the deviations of points from their weighted mean, (n_classes, n_classes)."""
    deviations = seen - (space.counts / space.counts.sum()) @ seen
    gram = deviations @ deviations.T
    lengths = lengths_without_chance(np.diag(gram), noise)
    cosines = np.clip(gram / np.outer(lengths, lengths), -1, 1)
    np.fill_diagonal(cosines, 1)
    return np.asarray((cosines + cosines.T) / 2)


def closer_than_chance(space: Space, n_permutations: int, seed: int, on_resample: OnResample | None = None) -> Array:
    """Test for each pair whether it is closer than two unrelated classes of the same sizes.

    The statistic is the cosine between the deviations of the two classes from the mean of all samples, in the
    coordinates of the metric. It is large if both classes deviate in the same direction; a small distance is not
    enough, since any two classes close to the overall mean are close to each other.

    The null distribution is found in two steps:

    1. Labels are permuted. A permutation gives each class a mixture of samples of all classes; its mean is computed
       from the means of these and a sampling error, without the samples. The statistic of each pair is standardised by
       its mean and standard deviation over permutations, and the null values of all pairs are pooled.
    2. Unrelated classes deviate more than such mixtures, and in fewer directions, so that their statistics scatter more
       widely to both sides. If the pairs with negative values, which deviate in opposite directions, scatter more
       widely than their null, all statistics are divided by the ratio of the two medians (an empirical null, after
       Efron, J. Am. Stat. Assoc. 99:96, 2004).

    Parameters
    ----------
    space
        At least 4 classes with known spread.
    n_permutations
        Number of permutations, at least 1.
    seed
        Seed of the permutations and sampling errors.
    on_resample
        Called as ``on_resample(done, n_permutations)`` after each permutation.

    Returns
    -------
    (n_classes, n_classes) array
        p-values, symmetric, 1 on the diagonal.

    Raises
    ------
    ValueError
        There are fewer than 4 classes, no permutations, or the spread within classes is not known.
    """
    counts, n_classes = space.counts, len(space.counts)
    if n_classes < MIN_CLASSES:
        raise ValueError(
            f"`atlas` must have at least {MIN_CLASSES} classes to tell closeness from chance; got {n_classes}. Look at "
            "their distances instead."
        )
    if n_permutations < 1:
        raise ValueError(f"`n_permutations` must be at least 1; got {n_permutations}. Use 1000, say.")
    rng = np.random.default_rng(seed)
    upper, none = np.triu_indices(n_classes, 1), np.zeros(n_classes)
    labels = np.repeat(np.arange(n_classes), counts)
    drawn = np.empty((n_permutations, len(upper[0])), dtype=np.float32)
    for number in range(n_permutations):
        dealt = np.bincount(rng.permutation(labels) * n_classes + labels, minlength=n_classes**2)
        mixture = dealt.reshape(n_classes, n_classes) / counts
        drawn[number] = _cosines(space, space.see(mixture.T @ space.points + space.draw_errors(rng)), none)[upper]
        if on_resample is not None:
            on_resample(number + 1, n_permutations)
    center, width = drawn.mean(0), np.maximum(drawn.std(0), 1e-30)
    drawn -= center
    drawn /= width
    null = np.sort(drawn.ravel()[:: -(-drawn.size // MAX_NULL)])
    scaled = (_cosines(space, space.seen, none)[upper] - center) / width
    below, below_chance = scaled[scaled < 0], null[null < 0]
    if len(below) and len(below_chance):
        scaled /= max(1.0, float(np.median(below) / np.median(below_chance)))
    p = np.ones((n_classes, n_classes))
    p[upper] = (1 + len(null) - np.searchsorted(null, scaled)) / (1 + len(null))
    return np.minimum(p, p.T)


def control_false_discoveries(p: Array) -> Array:
    """Return the q-value of each pair of classes, (n_classes, n_classes), symmetric, 1 on the diagonal.

    Adjusted p-values after Benjamini and Hochberg (J. R. Stat. Soc. B 57:289, 1995) over all pairs.

    Parameters
    ----------
    p
        p-values, (n_classes, n_classes), symmetric.

    Examples
    --------
    >>> p = np.array([[1.0, 0.01, 0.04], [0.01, 1.0, 0.9], [0.04, 0.9, 1.0]])
    >>> control_false_discoveries(p)[0].round(2).tolist()
    [1.0, 0.03, 0.06]
    """
    upper = np.triu_indices(len(p), 1)
    q = np.ones_like(p)
    if len(upper[0]):
        q[upper] = false_discovery_control(p[upper])
    return np.minimum(q, q.T)


def build_network(names: tuple[str, ...], dissimilarities: Array, joined: Flags, seed: int) -> "nx.Graph[Any]":
    """Return the network of joined classes.

    Parameters
    ----------
    names
        Names of the classes, (n_classes,).
    dissimilarities
        (n_classes, n_classes); those below 0 count as 0.
    joined
        Which pairs are joined, (n_classes, n_classes).
    seed
        Seed of the method of Louvain.

    Returns
    -------
    networkx.Graph
        Nodes have a ``community``, found by the method of Louvain (Blondel et al., J. Stat. Mech. P10008, 2008) on the
        weights. Edges have a ``distance`` d and a ``weight`` exp(-(d / median d over all pairs)²): 1 for a pair without
        distance, 0.37 for a pair at the median.
    """
    graph: nx.Graph[Any] = nx.Graph()
    graph.add_nodes_from(names)
    distances = np.maximum(dissimilarities, 0)
    upper = np.triu_indices(len(names), 1)
    apart = distances[upper][distances[upper] > 0]
    typical = float(np.median(apart)) if len(apart) else 1.0
    for i, j in np.argwhere(np.triu(joined, 1)):
        weight = float(np.exp(-((distances[i, j] / typical) ** 2)))
        graph.add_edge(names[i], names[j], weight=weight, distance=float(distances[i, j]))
    for number, members in enumerate(communities(graph, seed)):
        for name in members:
            graph.nodes[name]["community"] = number
    return graph


def network_with_support(
    space: Space,
    names: tuple[str, ...],
    k: int,
    is_mutual: bool,
    n_resamples: int,
    seed: int,
    on_resample: OnResample | None,
    refits: Sequence[Array] = (),
) -> "nx.Graph[Any]":
    """Return the network of classes, with the support of each edge and of the community of each class.

    Parameters
    ----------
    space
        The classes under a metric.
    names
        Names of the classes, (n_classes,).
    k
        Nearest classes that are joined; all other classes where there are fewer.
    is_mutual
        As in `edges`.
    n_resamples, seed, on_resample
        As in `Space.resample`.
    refits
        Dissimilarities of other fits, (n_classes, n_classes) each.
    """
    k = min(k, len(names) - 1)
    values = space.dissimilarities()
    graph = build_network(names, values, edges(values, k, is_mutual), seed)
    for name, count in zip(names, space.counts.tolist(), strict=True):
        graph.nodes[name]["count"] = count
    _add_support(graph, names, space.resample(n_resamples, seed, on_resample), k, is_mutual, seed, "support")
    _add_support(graph, names, refits, k, is_mutual, seed, "refit_support")
    return graph


def _add_support(
    graph: "nx.Graph[Any]",
    names: tuple[str, ...],
    drawn: Iterable[Array],
    k: int,
    is_mutual: bool,
    seed: int,
    title: str,
) -> None:
    """Add to a network the share of resamples, or of refits, that find its edges and communities again."""
    hits, together, n_drawn = np.zeros((len(names), len(names))), np.zeros((len(names), len(names))), 0
    for values in drawn:
        joined = edges(values, k, is_mutual)
        hits += joined
        if n_drawn < N_COMMUNITY_RESAMPLES:
            drawn_label = _labels(build_network(names, values, joined, seed), names)
            together += drawn_label[:, None] == drawn_label
        n_drawn += 1
    if not n_drawn:
        return
    number = {name: position for position, name in enumerate(names)}
    for a, b, facts in graph.edges(data=True):
        facts[title] = float(hits[number[a], number[b]] / n_drawn)
    label = _labels(graph, names)
    for name, position in number.items():
        others = (label == label[position]) & (np.arange(len(label)) != position)
        if others.any():
            share = together[position, others].mean() / min(n_drawn, N_COMMUNITY_RESAMPLES)
            graph.nodes[name][f"community_{title}"] = float(share)


def _labels(graph: "nx.Graph[Any]", names: tuple[str, ...]) -> Index:
    """Return the community of each class, (n_classes,)."""
    return np.array([graph.nodes[name]["community"] for name in names], dtype=np.int64)


def communities(graph: "nx.Graph[Any]", seed: int) -> list[set[str]]:
    """Return the communities of a network by the method of Louvain on its weights, the largest first."""
    found = nx.community.louvain_communities(graph, weight="weight", seed=seed)
    return sorted(found, key=lambda members: (-len(members), min(members)))
