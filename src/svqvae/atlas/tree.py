"""The tree of classes by hierarchical clustering."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from svqvae.atlas.space import OnResample, Space

Array = NDArray[np.float64]
LINKAGES = ("average", "complete", "single", "ward", "weighted")


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
    refit_support
        The same over other fits of the same samples, or None.
    """

    names: tuple[str, ...]
    linkage: Array
    support: Array
    refit_support: Array | None = None

    def clades(self) -> list[frozenset[str]]:
        """Return the classes below each inner node, in the order of `linkage`."""
        members = [frozenset([name]) for name in self.names]
        for left, right in self.linkage[:, :2].astype(int):
            members.append(members[left] | members[right])
        return members[len(self.names) :]

    def to_table(self) -> pd.DataFrame:
        """Return one row per inner node: ``classes`` below it, tabs between, their ``n``, ``height``, and supports."""
        clades = [sorted(clade) for clade in self.clades()]
        table = pd.DataFrame(
            {
                "classes": ["\t".join(clade) for clade in clades],
                "n": [len(clade) for clade in clades],
                "height": self.linkage[:, 2],
                "support": self.support,
            }
        )
        return table if self.refit_support is None else table.assign(refit_support=self.refit_support)

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
    """Return a name as Newick takes it: quoted unless it is plain; a bare underscore would be read as a blank."""
    return name if name and all(c.isalnum() or c in ".-" for c in name) else "'" + name.replace("'", "''") + "'"


def join(dissimilarities: Array, method: str) -> Array:
    """Return the linkage of classes by their dissimilarities, its heights none below 0.

    Pairs below 0 keep their order, but for Ward's method, which has no meaning for them: there they count as 0.
    """
    condensed = squareform(dissimilarities, checks=False)
    low = min(0.0, float(condensed.min()))
    if method == "ward":
        condensed, low = np.maximum(condensed, 0), 0.0
    # All methods but Ward's give the same tree after a shift.
    joined = np.asarray(linkage(condensed - low, cast("Any", method)))
    joined[:, 2] = np.maximum(joined[:, 2] + low, 0)
    return joined


def clades_of(linkage_matrix: Array, n: int) -> list[bytes]:
    """Return the clade below each inner node of a linkage as packed membership flags."""
    members = np.zeros((2 * n - 1, n), dtype=bool)
    members[np.arange(n), np.arange(n)] = True
    for number, (left, right) in enumerate(linkage_matrix[:, :2].astype(int)):
        members[n + number] = members[left] | members[right]
    return [row.tobytes() for row in np.packbits(members[n:], axis=1)]


def clade_support(joined: Array, drawn: Iterable[Array], method: str) -> Array:
    """Return how often the clade below each inner node is one of the trees of dissimilarities drawn anew.

    (n_classes - 1,); NaN where nothing was drawn.
    """
    hits: dict[bytes, int] = {}
    n, n_drawn = len(joined) + 1, 0
    for values in drawn:
        for clade in clades_of(join(values, method), n):
            hits[clade] = hits.get(clade, 0) + 1
        n_drawn += 1
    if not n_drawn:
        return np.full(len(joined), np.nan)
    return np.array([hits.get(clade, 0) / n_drawn for clade in clades_of(joined, n)])


def build_tree(
    space: Space,
    names: tuple[str, ...],
    method: str,
    n_resamples: int,
    seed: int,
    on_resample: OnResample | None,
    refits: Sequence[Array] = (),
) -> Tree:
    """Return the tree of classes, with the share of resamples that have each clade, and that of refits."""
    if method not in LINKAGES:
        raise ValueError(f"`linkage` must be one of {', '.join(map(repr, LINKAGES))}; got {method!r}.")
    joined = join(space.dissimilarities(), method)
    support = clade_support(joined, space.resample(n_resamples, seed, on_resample), method)
    return Tree(names, joined, support, clade_support(joined, refits, method) if refits else None)
