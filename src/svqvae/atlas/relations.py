"""How classes are alike: distances, nearest classes, network and tree, each with its support.

The mean of a class of few samples lies off the true one in every dimension, which makes rare classes look far from all
others. Distances are therefore corrected: what chance adds to a squared distance is known from how samples spread
around their class and from their number, and is taken off.

Support is how often a relation would return in a second study of the same sizes. What separates the class means of two
studies are the errors of both, so class means are drawn anew with twice the variance that the classes' sizes give them;
in closed form, no sample is touched.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from scipy.stats import false_discovery_control, norm

from svqvae.atlas.spread import Spread, Whitening

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Index = NDArray[np.int64]
METRICS = ("mahalanobis", "euclidean", "cosine", "correlation")
LINKAGES = ("average", "complete", "single", "ward", "weighted")
# Called with the resamples done and in all.
OnResample = Callable[[int, int], None]

# Least share of a squared length that is left after what chance adds is taken off.
LEAST_LENGTH = 0.1
# Nearest classes whose mean distance makes up the hubness of a class.
N_HUB = 5


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
        if metric not in METRICS:
            raise ValueError(f"`metric` must be one of {', '.join(map(repr, METRICS))}; got {metric!r}.")
        if metric == "mahalanobis" and spread is None:
            raise ValueError(
                "`metric` 'mahalanobis' must have the spread of samples around their class, which this atlas lacks; "
                "use 'euclidean', 'cosine' or 'correlation'."
            )
        self.points, self.metric, self.spread, self.counts = points.astype(np.float64), metric, spread, counts
        self.whitening = Whitening(spread) if metric == "mahalanobis" and spread is not None else None
        self.noise = self._noise() if is_corrected and spread is not None else np.zeros(len(points))
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
            least = np.maximum(LEAST_LENGTH * lengths, 1e-300)
            lengths = np.sqrt(np.maximum(lengths - noise, least))
            values = 1 - gram / np.outer(lengths, lengths)
        else:
            squares = (lengths - noise)[:, None] + (lengths - noise) - 2 * gram
            values = np.sign(squares) * np.sqrt(np.abs(squares))
        values = (values + values.T) / 2
        np.fill_diagonal(values, 0)
        return np.asarray(values)

    def resample(self, n: int, seed: int, on_resample: OnResample | None = None) -> Iterator[Array]:
        """Yield the dissimilarities in n second studies of the same sizes."""
        if self.spread is None:
            raise ValueError(
                "`n_resamples` must be 0 for an atlas that does not know how samples spread around their class."
            )
        rng = np.random.default_rng(seed)
        for number in range(n):
            # The errors of both studies, on points that already hold those of the first.
            drawn = self.points + np.sqrt(2) * self.spread.draw_errors(self.counts, rng)
            yield self.dissimilarities(self.see(drawn), n_errors=3)
            if on_resample is not None:
                on_resample(number + 1, n)

    def _noise(self) -> Array:
        """Return what chance adds to the squared length of each point."""
        spread = self.spread
        if spread is None:
            return np.zeros(len(self.points))
        if self.whitening is not None:
            norms = self.whitening.unit_norms()
        else:
            norms = np.full(self.points.shape[1], 1 - (self.metric == "correlation") / self.points.shape[1])
        own = (spread.deviations.astype(np.float64) ** 2 * spread.rest) @ norms
        together = [(self.see(deviations * spread.factors.T) ** 2).sum() for deviations in spread.deviations]
        return np.asarray((own + np.array(together)) / self.counts)


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


def edges(dissimilarities: Array, k: int, is_mutual: bool) -> Flags:
    """Return which pairs are joined, (n_classes, n_classes), symmetric: k nearest of both sides, or of one."""
    n = len(dissimilarities)
    chosen = np.zeros((n, n), dtype=bool)
    np.put_along_axis(chosen, nearest_partners(dissimilarities, k), True, axis=1)
    return chosen & chosen.T if is_mutual else chosen | chosen.T


@dataclass(frozen=True)
class Tree:
    """A tree of classes.

    Attributes
    ----------
    names
        The classes.
    linkage
        As `scipy.cluster.hierarchy.linkage` gives it, (n_classes - 1, 4).
    support
        How often the classes below each inner node form a clade of resampled trees, (n_classes - 1,), the root's is 1;
        NaN where nothing was resampled.
    """

    names: tuple[str, ...]
    linkage: Array
    support: Array

    def clades(self) -> list[frozenset[str]]:
        """Return the classes below each inner node, in the order of `linkage`."""
        members = [frozenset([name]) for name in self.names]
        for left, right in self.linkage[:, :2].astype(int):
            members.append(members[left] | members[right])
        return members[len(self.names) :]

    def newick(self) -> str:
        """Return the tree as Newick text, with branch lengths, and support in per cent as names of inner nodes."""
        n = len(self.names)
        texts = [_quote(name) for name in self.names]
        heights = np.zeros(n)
        for (left, right, height, _), support in zip(self.linkage, self.support, strict=True):
            parts = [f"{texts[int(child)]}:{(height - heights[int(child)]) / 2:.6g}" for child in (left, right)]
            label = "" if np.isnan(support) else f"{100 * support:.0f}"
            texts.append(f"({','.join(parts)}){label}")
            heights = np.append(heights, height)
        return texts[-1] + ";"


def _quote(name: str) -> str:
    """Return a name as Newick takes it: quoted unless it is plain."""
    return name if name and all(c.isalnum() or c in "_.-" for c in name) else "'" + name.replace("'", "''") + "'"


def join(dissimilarities: Array, method: str) -> Array:
    """Return the linkage of classes by their dissimilarities, none below 0."""
    condensed = squareform(np.maximum(dissimilarities, 0), checks=False)
    return np.asarray(linkage(condensed, cast("Any", method)))


def clades_of(linkage_matrix: Array, n: int) -> list[bytes]:
    """Return the clade below each inner node of a linkage as packed membership flags."""
    members = np.zeros((2 * n - 1, n), dtype=bool)
    members[np.arange(n), np.arange(n)] = True
    for number, (left, right) in enumerate(linkage_matrix[:, :2].astype(int)):
        members[n + number] = members[left] | members[right]
    return [row.tobytes() for row in np.packbits(members[n:], axis=1)]


def similarities(space: Space) -> Array:
    """Return the cosine of each two classes' deviations from the mean of all samples, (n_classes, n_classes).

    In the metric's coordinates, and with what chance adds to the lengths taken off.
    """
    deviations = space.seen - (space.counts / space.counts.sum()) @ space.seen
    gram = deviations @ deviations.T
    lengths = np.diag(gram)
    lengths = np.sqrt(np.maximum(lengths - space.noise, np.maximum(LEAST_LENGTH * lengths, 1e-300)))
    cosines = np.clip(gram / np.outer(lengths, lengths), -1, 1)
    np.fill_diagonal(cosines, 1)
    return np.asarray((cosines + cosines.T) / 2)


def closer_than_chance(space: Space, n_permutations: int, seed: int, on_resample: OnResample | None = None) -> Array:
    """Return for each pair the p-value of being closer than two random groups of samples of their sizes.

    What is compared is the scalar product of the two classes' deviations from the mean of all samples, in the metric's
    coordinates: it is large where both deviate in the same direction. Two classes near the middle are near each other
    without that. Chance is what it would be were the samples
    dealt to the classes at random: the number of samples that each class would get from each is drawn by permuting
    labels, and their means with the errors of so many samples. Pairs are put on one scale by the mean and standard
    deviation of their permutations, and compared with the permutations of all pairs.

    Returns
    -------
    (n_classes, n_classes) array, symmetric, 1 on the diagonal
    """
    if space.spread is None:
        raise ValueError("`n_permutations` must be 0 for an atlas that does not know how samples spread.")
    counts, spread = space.counts, space.spread
    n_classes, rng = len(counts), np.random.default_rng(seed)
    upper = np.triu_indices(n_classes, 1)
    shares = counts / counts.sum()

    def products(points: Array) -> Array:
        seen = space.see(points)
        deviations = seen - shares @ seen
        return np.asarray((deviations @ deviations.T)[upper])

    observed = products(space.points)
    labels = np.repeat(np.arange(n_classes), counts)
    drawn = np.empty((n_permutations, len(observed)))
    for number in range(n_permutations):
        dealt = np.bincount(rng.permutation(labels) * n_classes + labels, minlength=n_classes**2)
        mixture = dealt.reshape(n_classes, n_classes) / counts
        drawn[number] = products(mixture.T @ space.points + spread.draw_errors(counts, rng))
        if on_resample is not None:
            on_resample(number + 1, n_permutations)
    center, width = drawn.mean(0), np.maximum(drawn.std(0), 1e-300)
    null = np.sort(((drawn - center) / width).ravel())
    n_above = len(null) - np.searchsorted(null, (observed - center) / width)
    p = np.ones((n_classes, n_classes))
    p[upper] = (1 + n_above) / (1 + len(null))
    return np.minimum(p, p.T)


def control_false_discoveries(p: Array) -> Array:
    """Return q-values after Benjamini and Hochberg (1995) for the pairs of a symmetric matrix of p-values."""
    upper = np.triu_indices(len(p), 1)
    q = np.ones_like(p)
    if len(upper[0]):
        q[upper] = false_discovery_control(p[upper])
    return np.minimum(q, q.T)


def two_sided(statistic: Array) -> Array:
    """Return the two-sided p-value of a standard normal statistic."""
    return np.asarray(2 * norm.sf(np.abs(statistic)))


def build_network(
    names: tuple[str, ...], dissimilarities: Array, joined: Flags, support: Array | None, seed: int
) -> "nx.Graph[Any]":
    """Return the network of joined classes.

    Nodes carry ``community``, found by the method of Louvain on the weights. Edges carry ``distance``, ``support`` and
    ``weight`` = exp(-(d / median d over all pairs)²): 1 for the same place, 0.37 for a pair as far apart as most.
    """
    graph: nx.Graph[Any] = nx.Graph()
    graph.add_nodes_from(names)
    distances = np.maximum(dissimilarities, 0)
    upper = np.triu_indices(len(names), 1)
    typical = max(float(np.median(distances[upper])), 1e-300) if len(upper[0]) else 1.0
    for i, j in np.argwhere(np.triu(joined, 1)):
        values = {"weight": float(np.exp(-((distances[i, j] / typical) ** 2))), "distance": float(distances[i, j])}
        if support is not None:
            values["support"] = float(support[i, j])
        graph.add_edge(names[i], names[j], **values)
    for number, members in enumerate(communities(graph, seed)):
        for name in members:
            graph.nodes[name]["community"] = number
    return graph


def communities(graph: "nx.Graph[Any]", seed: int) -> list[set[str]]:
    """Return the communities by the method of Louvain, the largest first."""
    found = nx.community.louvain_communities(graph, weight="weight", seed=seed)
    return sorted(found, key=lambda members: (-len(members), min(members)))


def rank_correlation(a: Array, b: Array) -> float:
    """Return Spearman's correlation of two matrices of dissimilarities over their pairs; NaN for a single pair."""
    upper = np.triu_indices(len(a), 1)
    if len(upper[0]) < 2:
        return float("nan")
    ranks = pd.DataFrame({"a": a[upper], "b": b[upper]}).rank()
    return float(ranks["a"].corr(ranks["b"]))
