"""How strongly gene sets up and down agree with the classes: the weighted connectivity score of the Connectivity Map.

Features are ranked by how far the profile of a class lies above the mean of all classes. The enrichment score of a set
is that of Subramanian et al. (PNAS 102:15545, 2005) with weight 1: walking down the ranking, the running sum rises at a
feature of the set by its absolute deviation over that of the whole set, and falls at any other by 1 / their number; the
score is the sum where it is farthest from 0. The weighted connectivity score (Subramanian et al., Cell 171:1437, 2017)
of a query is (score up - score down) / 2 where the two differ in sign, else 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from svqvae.wording import list_some

Array = NDArray[np.float64]
Index = NDArray[np.int64]
# Least features that a set must share with the atlas.
MIN_FEATURES = 5
N_RANDOM = 1000
# Cells of the arrays that are at work at a time.
N_CELLS = 2_000_000


class RankedFeatures:
    """The features of each class, ranked from the most above to the most below the mean of all classes.

    Parameters
    ----------
    deviations
        Profiles less their mean over classes, (n_classes, n_features).

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
        """Return the enrichment score of each set in each class, (n_sets, n_classes), for features (n_sets, n)."""
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
            # The sum is highest just after a feature of the set and lowest just before one.
            high = (risen / in_all - fallen).max(axis=2)
            low = ((risen - sizes) / in_all - fallen).min(axis=2)
        scores = np.where(high >= -low, high, low)
        return np.asarray(np.where(in_all[..., 0] > 0, scores, 0.0).T)

    def connectivity(self, up: Index, down: Index) -> Array:
        """Return the connectivity of one query to each class, (n_classes,); up or down may be empty."""
        return connectivity(*(self.enrichment(part[None])[0] if len(part) else None for part in (up, down)))


class RandomSets:
    """The enrichment of random sets, drawn once for each size and direction.

    Parameters
    ----------
    ranked
        The features of the classes.
    n
        Sets of each size.
    seed
        The scores of a size do not depend on what was asked before.
    """

    def __init__(self, ranked: RankedFeatures, n: int = N_RANDOM, seed: int = 0) -> None:
        self.ranked, self.n, self.seed = ranked, n, seed
        self.drawn: dict[tuple[int, int], Array] = {}

    def connectivity(self, n_up: int, n_down: int) -> Array:
        """Return the connectivity of random queries with so many features up and down, (n, n_classes)."""
        return connectivity(*(self._enrichment(k, size) if size else None for k, size in enumerate((n_up, n_down))))

    def _enrichment(self, direction: int, size: int) -> Array:
        if (direction, size) not in self.drawn:
            rng = np.random.default_rng([self.seed, direction, size])
            n_features = self.ranked.places.shape[1]
            members = np.stack([rng.choice(n_features, size, replace=False) for _ in range(self.n)])
            self.drawn[direction, size] = self.ranked.enrichment(members)
        return self.drawn[direction, size]


def connectivity(up: Array | None, down: Array | None) -> Array:
    """Return (up - down) / 2 where enrichment scores differ in sign, else 0; up or -down where there is no other."""
    if up is not None and down is not None:
        return np.asarray(np.where(up * down < 0, (up - down) / 2, 0.0))
    if up is not None:
        return up
    if down is not None:
        return -down
    raise ValueError("A query must have features up or down; got neither.")


@dataclass(frozen=True)
class Matched:
    """Gene sets as the features of an atlas.

    Attributes
    ----------
    members
        The indices of the features up and down of each query, by its name.
    n_genes, n_found
        Different genes in all queries, and those of them that are features.
    left_out
        The queries that share too few features with the atlas.
    """

    members: dict[str, tuple[Index, Index]]
    n_genes: int
    n_found: int
    left_out: tuple[str, ...]


def match_features(
    gene_sets: Mapping[str, tuple[Sequence[str], Sequence[str]]], feature_names: Sequence[str]
) -> Matched:
    """Find the genes of sets among the features of an atlas, by name.

    A query is left out where a set of it shares fewer than 5 features with the atlas, or all of them.

    Raises
    ------
    ValueError
        Where every query is left out.
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
