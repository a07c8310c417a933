"""How classes are alike: nearest classes, network, and pairs closer than chance, each with how sure that is.

Support is how often a relation would return in a second study of the same sizes, see `svqvae.atlas.space.Space`; refit
support is how often it returns in other fits of the same samples.
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
# Nearest classes whose mean distance makes up the hubness of a class.
N_HUB = 5
# Communities cost much more than edges, and a hundred resamples tell their support to 0.05.
N_COMMUNITY_RESAMPLES = 100
# Classes among which closeness can be told from chance, and draws kept of all pairs together.
MIN_CLASSES, MAX_NULL = 4, 5_000_000


def nearest_partners(dissimilarities: Array, k: int, is_hubness_aware: bool = False) -> Index:
    """Return the k nearest classes of each, nearest first, (n_classes, k).

    Hubness-aware, a dissimilarity counts less the mean of those to the nearest classes of both sides, so that a class
    that is near to everything is nobody's nearest for that alone (the cross-domain similarity local scaling of Conneau
    et al., arXiv:1710.04087).
    """
    values = dissimilarities + np.diag(np.full(len(dissimilarities), np.inf))
    if is_hubness_aware:
        around = np.sort(values, axis=1)[:, : min(N_HUB, len(values) - 1)].mean(1)
        values = values - (around[:, None] + around) / 2
    return np.asarray(np.argsort(values, axis=1, kind="stable")[:, :k])


def nearest_support(partners: Index, drawn: Iterable[Array], is_hubness_aware: bool) -> Array:
    """Return how often each of the k nearest classes is the nearest, (n_classes, k); NaN if nothing was drawn."""
    hits, n_drawn = np.zeros((len(partners), len(partners))), 0
    own = np.arange(len(partners))[:, None]
    for values in drawn:
        hits[own, nearest_partners(values, 1, is_hubness_aware)] += 1
        n_drawn += 1
    return np.asarray(hits[own, partners] / n_drawn if n_drawn else np.full(partners.shape, np.nan))


def edges(dissimilarities: Array, k: int, is_mutual: bool) -> Flags:
    """Return which pairs are joined, (n_classes, n_classes), symmetric: k nearest of both sides, or of one."""
    n = len(dissimilarities)
    chosen = np.zeros((n, n), dtype=bool)
    np.put_along_axis(chosen, nearest_partners(dissimilarities, k), True, axis=1)
    return chosen & chosen.T if is_mutual else chosen | chosen.T


def similarities(space: Space) -> Array:
    """Return the cosine of each two classes' deviations from the mean of all samples, (n_classes, n_classes).

    In the metric's coordinates, and with what chance adds to the lengths taken off.
    """
    return _cosines(space, space.seen, space.noise)


def _cosines(space: Space, seen: Array, noise: Array) -> Array:
    """Return the cosines of points' deviations from the mean of all samples, (n_classes, n_classes)."""
    deviations = seen - (space.counts / space.counts.sum()) @ seen
    gram = deviations @ deviations.T
    lengths = lengths_without_chance(np.diag(gram), noise)
    cosines = np.clip(gram / np.outer(lengths, lengths), -1, 1)
    np.fill_diagonal(cosines, 1)
    return np.asarray((cosines + cosines.T) / 2)


def closer_than_chance(space: Space, n_permutations: int, seed: int, on_resample: OnResample | None = None) -> Array:
    """Return for each pair the p-value of being closer than two unrelated classes of their sizes.

    What is compared is the cosine of the two classes' deviations from the mean of all samples, in the metric's
    coordinates: it is large where both deviate in the same direction. Two classes near the middle are near each other
    without that. First, chance is what it would be were the samples dealt to the classes at random: how many samples a
    class would get from each is drawn by permuting labels, and their means with the errors of so many samples. That
    puts pairs on one scale. But unrelated classes deviate further than dealt ones, and in fewer directions, so that
    many a pair of them lies outside of that scale on either side. Therefore chance is widened, where need be, until the
    pairs below its middle, which deviate in opposite directions, lie as they would by chance (an empirical null after
    Efron, JASA 99:96, 2004).

    Parameters
    ----------
    space
        At least 4 classes with known spread.
    n_permutations
        Number of permutations.
    seed, on_resample
        As in `Space.resample`.

    Returns
    -------
    (n_classes, n_classes) array, symmetric, 1 on the diagonal
    """
    counts, n_classes = space.counts, len(space.counts)
    if n_classes < MIN_CLASSES:
        raise ValueError(f"`pairs` must have at least {MIN_CLASSES} classes to tell chance from; got {n_classes}.")
    if n_permutations < 1:
        raise ValueError(f"`n_permutations` must be at least 1; got {n_permutations}.")
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
    """Return q-values after Benjamini and Hochberg (1995) for the pairs of a symmetric matrix of p-values."""
    upper = np.triu_indices(len(p), 1)
    q = np.ones_like(p)
    if len(upper[0]):
        q[upper] = false_discovery_control(p[upper])
    return np.minimum(q, q.T)


def build_network(names: tuple[str, ...], dissimilarities: Array, joined: Flags, seed: int) -> "nx.Graph[Any]":
    """Return the network of joined classes.

    Nodes carry ``community``, found by the method of Louvain on the weights. Edges carry ``distance`` and
    ``weight`` = exp(-(d / median d over all pairs)²): 1 for the same place, 0.37 for a pair as far apart as most.
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
    """Return the network of classes, with the support of each edge and of each class's community."""
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
    """Write into a network how often its edges and communities return among dissimilarities drawn anew."""
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
    """Return the communities by the method of Louvain, the largest first."""
    found = nx.community.louvain_communities(graph, weight="weight", seed=seed)
    return sorted(found, key=lambda members: (-len(members), min(members)))
