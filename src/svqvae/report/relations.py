"""How classes relate, as plain numbers: distances, nearest classes, tree, network, each with its support."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from svqvae.atlas.atlas import ClassAtlas
from svqvae.atlas.space import OnResample

# Enough to tell a support to 0.07, twice its standard error at worst; `svqvae classes` takes 1,000.
N_RESAMPLES = 200
# Nearest classes on each card, and classes each may be joined with in the network.
N_NEAREST, N_JOINED = 3, 3
# Support from which on the surest pair is named.
SURE = 0.5
# Classes up to which the branches of the tree are turned so that neighbours in the order are alike: O(n^4) at worst.
MAX_TURNED = 400


def summarise_relations(
    atlas: ClassAtlas, *, n_resamples: int = N_RESAMPLES, progress: Callable[[str], OnResample | None] = lambda _: None
) -> dict[str, Any]:
    """Return how the classes of an atlas relate in its default metric, in the space of profiles.

    Parameters
    ----------
    atlas
        The atlas.
    n_resamples
        Resamples for the supports; none where the spread within classes is not known.
    progress
        Called with a word for each part; returns what is called after each resample.

    Returns
    -------
    dict
        ``metric``; ``n_resamples``; ``is_corrected``, whether what chance adds to distances is taken off; ``order`` of
        the classes in the tree; ``distances``, classes in the order of the atlas; ``closest`` and ``farthest`` pair;
        ``surest``, the edge of most support, or None where none has half;
        ``nearest``, for each class a list of class, distance, support of being the nearest; ``nodes``, ``edges`` and
        ``n_communities`` of the network; ``merges`` and ``newick`` of the tree; ``agreement`` of metrics and spaces.
    """
    metric, n_classes = atlas.default_metric, len(atlas.classes)
    n_resamples = n_resamples if atlas.profile_spread is not None else 0
    with warnings.catch_warnings():
        # That distances are not corrected is told on the page.
        warnings.filterwarnings("ignore", "Decoded codes miss the means")
        distances = atlas.distances(metric).to_numpy()
        k = min(N_NEAREST, n_classes - 1)
        nearest = atlas.nearest(k, metric, n_resamples=n_resamples, on_resample=progress("nearest classes"))
        network = atlas.network(N_JOINED, metric, n_resamples=n_resamples, on_resample=progress("network"))
        tree = atlas.tree(metric, n_resamples=n_resamples, on_resample=progress("tree"))
        agreement = atlas.agreement()
    number = {name: position for position, name in enumerate(atlas.names)}
    partners = nearest["nearest"].map(lambda name: number[str(name)]).to_numpy().reshape(n_classes, k)
    figures = nearest[["distance", "support"]].to_numpy(dtype=np.float64).reshape(n_classes, k, 2)
    upper = np.triu_indices(n_classes, 1)
    ranked = np.argsort(distances[upper], kind="stable")
    edges = [
        {"a": number[a], "b": number[b], "distance": facts["distance"], "support": facts.get("support")}
        for a, b, facts in network.edges(data=True)
    ]
    nodes = [network.nodes[name] for name in atlas.names]
    return {
        "metric": metric,
        "n_resamples": n_resamples,
        "is_corrected": bool(atlas.profile_spread is not None and atlas.is_faithful),
        "order": _order(tree.linkage, distances),
        "distances": np.round(distances, 5),
        "closest": _pair(distances, upper, ranked[0]),
        "farthest": _pair(distances, upper, ranked[-1]),
        "surest": _surest(edges),
        "nearest": [
            [{"class": int(j), "distance": d, "support": s} for j, (d, s) in zip(row, both, strict=True)]
            for row, both in zip(partners, figures, strict=True)
        ],
        "nodes": [{"community": node["community"], "support": node.get("community_support")} for node in nodes],
        "n_communities": len({node["community"] for node in nodes}),
        "edges": edges,
        "merges": [
            {"left": int(left), "right": int(right), "height": height, "n": int(n), "support": support}
            for (left, right, height, n), support in zip(tree.linkage, tree.support, strict=True)
        ],
        "newick": tree.newick(),
        "agreement": agreement.to_dict("records"),
    }


def _order(linkage: NDArray[np.float64], distances: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the classes in the order of the tree, its branches turned so that neighbours are as near as can be."""
    if 2 < len(distances) <= MAX_TURNED:
        linkage = optimal_leaf_ordering(linkage, squareform(distances, checks=False))
    return np.asarray(leaves_list(linkage), dtype=np.int64)


def _surest(edges: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the edge of most support, the shortest of several; None where no edge is likelier than not to return."""
    found = [edge for edge in edges if (edge["support"] or 0) >= SURE]
    return max(found, key=lambda edge: (edge["support"], -edge["distance"]), default=None)


def _pair(distances: NDArray[np.float64], upper: tuple[NDArray[Any], ...], at: int) -> dict[str, Any]:
    a, b = int(upper[0][at]), int(upper[1][at])
    return {"a": a, "b": b, "distance": float(distances[a, b])}
