"""The tree of classes by hierarchical clustering, with the support of each clade."""

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
        Names of the classes, (n_classes,).
    linkage
        One row per inner node, as `scipy.cluster.hierarchy.linkage` returns it, (n_classes - 1, 4).
    support
        Share of resampled trees in which the classes below each inner node form a clade, (n_classes - 1,); 1 for the
        root, NaN without resamples.
    refit_support
        The same share of the trees of other fits, or None.

    Examples
    --------
    >>> joined = join(np.array([[0.0, 1.0, 4.0], [1.0, 0.0, 4.0], [4.0, 4.0, 0.0]]), "average")
    >>> Tree(("a", "b", "c"), joined, np.array([0.9, 1.0])).newick()
    '(c:2,(a:0.5,b:0.5)90:1.5)100;'
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
        """Return one row per inner node.

        The columns are ``classes``, the names of the classes below the node with tabs between; their number ``n``; the
        ``height`` of the node; ``support`` and, where other fits were compared, ``refit_support``.
        """
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
        """Return the tree in Newick format, with branch lengths; inner nodes are named by their support in per cent."""
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
    """Return a name for Newick, quoted unless it is plain: without quotes an underscore would be read as a blank."""
    return name if name and all(c.isalnum() or c in ".-" for c in name) else "'" + name.replace("'", "''") + "'"


def join(dissimilarities: Array, method: str) -> Array:
    """Return the linkage of classes, (n_classes - 1, 4), as `scipy.cluster.hierarchy.linkage` does.

    Dissimilarities below 0, which scipy does not take, keep their order, and their heights become 0. For Ward's method,
    which squares them, they count as 0.

    Parameters
    ----------
    dissimilarities
        (n_classes, n_classes).
    method
        One of `LINKAGES`.
    """
    condensed = squareform(dissimilarities, checks=False)
    low = min(0.0, float(condensed.min()))
    if method == "ward":
        condensed, low = np.maximum(condensed, 0), 0.0
    # All methods but Ward's give the same tree for shifted dissimilarities.
    joined = np.asarray(linkage(condensed - low, cast("Any", method)))
    joined[:, 2] = np.maximum(joined[:, 2] + low, 0)
    return joined


def clades_of(linkage_matrix: Array, n: int) -> list[bytes]:
    """Return which of n classes are below each inner node of a linkage, as packed bits that can be compared."""
    members = np.zeros((2 * n - 1, n), dtype=bool)
    members[np.arange(n), np.arange(n)] = True
    for number, (left, right) in enumerate(linkage_matrix[:, :2].astype(int)):
        members[n + number] = members[left] | members[right]
    return [row.tobytes() for row in np.packbits(members[n:], axis=1)]


def clade_support(joined: Array, drawn: Iterable[Array], method: str) -> Array:
    """Return the share of resampled trees that contain the clade below each inner node, (n_classes - 1,).

    Parameters
    ----------
    joined
        Linkage of the tree, (n_classes - 1, 4).
    drawn
        Dissimilarities of each resample, (n_classes, n_classes); where there are none, all shares are NaN.
    method
        As in `join`.
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
    """Return the tree of classes, with the support and refit support of each clade.

    Parameters
    ----------
    space
        The classes under a metric.
    names
        Names of the classes, (n_classes,).
    method
        One of `LINKAGES`.
    n_resamples, seed, on_resample
        As in `Space.resample`.
    refits
        Dissimilarities of other fits, (n_classes, n_classes) each.

    Raises
    ------
    ValueError
        The method is none of `LINKAGES`.
    """
    if method not in LINKAGES:
        raise ValueError(f"`linkage` must be one of {', '.join(map(repr, LINKAGES))}; got {method!r}.")
    joined = join(space.dissimilarities(), method)
    support = clade_support(joined, space.resample(n_resamples, seed, on_resample), method)
    return Tree(names, joined, support, clade_support(joined, refits, method) if refits else None)
