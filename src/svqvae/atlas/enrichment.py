"""How well gene sets up and down agree with each class: the weighted connectivity score of the Connectivity Map.

For each class, features are ranked by the deviation of its profile from the mean of all classes. The enrichment score
of a gene set is that of Subramanian et al. (PNAS 102:15545, 2005) with weight 1. A running sum goes down the ranking.
At a feature of the set it rises by the absolute deviation of the feature, divided by the sum of those of the whole set;
at any other feature it falls by 1 / (number of other features). The score is the value of the running sum that is
farthest from 0.

The weighted connectivity score of a query (Subramanian et al., Cell 171:1437, 2017) is (score up - score down) / 2 if
the two scores differ in sign, else 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svqvae.wording import list_some

Array = NDArray[np.float64]
Index = NDArray[np.int64]
# Features that a gene set must share with the atlas at least; chosen by hand.
MIN_FEATURES = 5
# Random gene sets behind a tau: chosen by hand, and fine enough for steps of 0.1.
N_RANDOM = 1000
# Cells of an array in work at a time: a guard for memory, 16 MB in double precision.
N_CELLS = 2_000_000


class RankedFeatures:
    """The features, ranked for each class from the farthest above the mean of all classes to the farthest below.

    Parameters
    ----------
    deviations
        Class profiles less their mean over classes, (n_classes, n_features).

    Examples
    --------
    >>> ranked = RankedFeatures(np.array([[3.0, 1.0, -1.0, -3.0]]))
    >>> ranked.enrichment(np.array([[0, 1], [2, 3]]))
    array([[ 1.],
           [-1.]])
    """

    def __init__(self, deviations: NDArray[np.floating]) -> None:
        order = np.argsort(-deviations, axis=1, kind="stable")
        self.places = np.empty_like(order)
        np.put_along_axis(self.places, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
        self.sizes = np.abs(deviations).astype(np.float64)

    def enrichment(self, members: Index) -> Array:
        """Return enrichment scores, (n_sets, n_classes), in [-1, 1].

        Parameters
        ----------
        members
            Indices of the features of each set, (n_sets, n); all sets have n features.
        """
        step = max(1, N_CELLS // (len(self.places) * members.shape[1]))
        blocks = [self._enrichment(members[start : start + step]) for start in range(0, len(members), step)]
        return np.concatenate(blocks)

    def _enrichment(self, members: Index) -> Array:
        places = self.places[:, members]
        order = np.argsort(places, axis=2)
        places = np.take_along_axis(places, order, axis=2)
        sizes = np.take_along_axis(self.sizes[:, members], order, axis=2)
        risen = np.cumsum(sizes, axis=2)
        in_all = risen[..., -1:]
        n = members.shape[1]
        fallen = (places - np.arange(n)) / (self.places.shape[1] - n)
        with np.errstate(invalid="ignore"):
            # The running sum peaks just after a feature of the set, and is lowest just before one.
            high = (risen / in_all - fallen).max(axis=2)
            low = ((risen - sizes) / in_all - fallen).min(axis=2)
        scores = np.where(high >= -low, high, low)
        return np.asarray(np.where(in_all[..., 0] > 0, scores, 0.0).T)

    def connectivity(self, up: Index, down: Index) -> Array:
        """Return the connectivity score of one query with each class, (n_classes,).

        Parameters
        ----------
        up, down
            Indices of the features up and down, (n_up,) and (n_down,); one of the two may be empty.
        """
        return connectivity(*(self.enrichment(part[None])[0] if len(part) else None for part in (up, down)))


class RandomSets:
    """Enrichment scores of random gene sets, drawn once for each size and direction.

    Parameters
    ----------
    ranked
        The ranked features of the classes.
    n
        Number of sets of each size.
    seed
        Seed of the draws. Which sets are drawn for a size does not depend on the sizes that were asked for before.
    """

    def __init__(self, ranked: RankedFeatures, n: int = N_RANDOM, seed: int = 0) -> None:
        self.ranked, self.n, self.seed = ranked, n, seed
        self.drawn: dict[tuple[int, int], Array] = {}

    def connectivity(self, n_up: int, n_down: int) -> Array:
        """Return connectivity scores, (n, n_classes), of random queries with `n_up` features up and `n_down` down."""
        return connectivity(*(self._enrichment(k, size) if size else None for k, size in enumerate((n_up, n_down))))

    def _enrichment(self, direction: int, size: int) -> Array:
        if (direction, size) not in self.drawn:
            rng = np.random.default_rng([self.seed, direction, size])
            n_features = self.ranked.places.shape[1]
            members = np.stack([rng.choice(n_features, size, replace=False) for _ in range(self.n)])
            self.drawn[direction, size] = self.ranked.enrichment(members)
        return self.drawn[direction, size]


def connectivity(up: Array | None, down: Array | None) -> Array:
    """Combine the enrichment scores of a set up and a set down into connectivity scores.

    Where both are given, (up - down) / 2 if the scores differ in sign, else 0. Where one is given, up or -down.

    Parameters
    ----------
    up, down
        Enrichment scores of the same shape, one per class; None where a query has no such set.

    Raises
    ------
    ValueError
        Both are None.

    Examples
    --------
    >>> connectivity(np.array([0.6, 0.6]), np.array([-0.4, 0.4])).tolist()
    [0.5, 0.0]
    """
    if up is not None and down is not None:
        return np.asarray(np.where(up * down < 0, (up - down) / 2, 0.0))
    if up is not None:
        return up
    if down is not None:
        return -down
    raise ValueError("`up` must hold features where `down` holds none; got none in either. Give one of them.")


@dataclass(frozen=True)
class Matched:
    """Gene sets as features of an atlas.

    Attributes
    ----------
    members
        For each query, by its name, the indices of its features up and of its features down.
    n_genes
        Number of different genes in all queries.
    n_found
        Number of these genes that are features of the atlas.
    left_out
        Names of the queries that share too few features with the atlas, or all of them.
    """

    members: dict[str, tuple[Index, Index]]
    n_genes: int
    n_found: int
    left_out: tuple[str, ...]


def match_features(
    gene_sets: Mapping[str, tuple[Sequence[str], Sequence[str]]], feature_names: Sequence[str]
) -> Matched:
    """Find the genes of each query among the features of an atlas, by name.

    A query is left out if one of its sets shares fewer than 5 features with the atlas, or holds all features.

    Parameters
    ----------
    gene_sets
        The genes up and the genes down of each query, by its name; one of the two may be empty.
    feature_names
        Features of the atlas, (n_features,).

    Raises
    ------
    ValueError
        Every query is left out.

    Examples
    --------
    >>> found = match_features({"heat": (["a", "b", "c", "d", "e", "x"], [])}, list("abcdefgh"))
    >>> found.members["heat"][0].tolist(), found.n_genes, found.n_found
    ([0, 1, 2, 3, 4], 6, 5)
    """
    places = {name: k for k, name in enumerate(feature_names)}
    members: dict[str, tuple[Index, Index]] = {}
    for name, (up, down) in gene_sets.items():
        found = [np.array([places[gene] for gene in dict.fromkeys(part) if gene in places], int) for part in (up, down)]
        sizes = [len(own) for own, part in zip(found, (up, down), strict=True) if len(part)]
        if sizes and all(MIN_FEATURES <= size < len(places) for size in sizes):
            members[name] = (found[0], found[1])
    genes = {gene for pair in gene_sets.values() for part in pair for gene in part}
    known = genes & places.keys()
    if not members:
        raise ValueError(
            f"`gene_sets` must share at least {MIN_FEATURES} genes a set, and not all, with the {len(places)} features "
            f"of the atlas; {len(known)} of {len(genes)} genes are features. Genes are named "
            f"{list_some(sorted(genes)[:3])}, features {list_some(list(places)[:3])}: use the "
            "same names."
        )
    return Matched(members, len(genes), len(known), tuple(name for name in gene_sets if name not in members))
