"""Relations between classes as plain numbers: distances, and nearest classes, tree and network with support."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from svqvae.atlas.atlas import ClassAtlas
from svqvae.atlas.space import OnResample

# Resamples for supports, a guard for time: the standard error of a support is at most 0.035. `svqvae classes` takes
# 1,000.
N_RESAMPLES = 200
# Nearest classes on each card, chosen by hand; nearest classes in the network, the default of `ClassAtlas.network`.
N_NEAREST, N_JOINED = 3, 3
# Least support of a pair that is named as the surest: more likely than not to be found again. Chosen by hand.
SURE = 0.5
# Most classes with which the branches of the tree are ordered so that neighbours are similar: a guard for time, O(n^4)
# at worst; chosen by hand.
MAX_TURNED = 400


def summarise_relations(
    atlas: ClassAtlas, *, n_resamples: int = N_RESAMPLES, progress: Callable[[str], OnResample | None] = lambda _: None
) -> dict[str, Any]:
    """Return the relations between the classes of an atlas, by the distances of profiles in its default metric.

    Parameters
    ----------
    atlas
        The atlas.
    n_resamples
        Number of resamples for the supports; none are made if the spread within classes is not known.
    progress
        Called with the name of each part; returns a function to call after each resample, or None.

    Returns
    -------
    dict
        ``metric``; ``n_resamples``; ``is_corrected``, whether distances are corrected for sampling errors; ``order`` of
        the classes in the tree; ``distances``, classes × classes; ``closest`` and ``farthest`` pair; ``surest``, the
        edge with the highest support, or None if that is below 0.5; ``nearest``, for each class a list of class,
        distance, and support of being the nearest; ``nodes``, ``edges`` and ``n_communities`` of the network;
        ``merges`` and ``newick`` of the tree; ``agreement`` of metrics and spaces.
    """
    metric, n_classes = atlas.default_metric, len(atlas.classes)
    n_resamples = n_resamples if atlas.profile_spread is not None else 0
    with warnings.catch_warnings():
        # The page says whether distances are corrected.
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
    """Return the classes in the order of the leaves of the tree, with similar classes next to each other."""
    if 2 < len(distances) <= MAX_TURNED:
        linkage = optimal_leaf_ordering(linkage, squareform(distances, checks=False))
    return np.asarray(leaves_list(linkage), dtype=np.int64)


def _surest(edges: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the edge with the highest support, of several the shortest; None if no support is at least 0.5."""
    found = [edge for edge in edges if (edge["support"] or 0) >= SURE]
    return max(found, key=lambda edge: (edge["support"], -edge["distance"]), default=None)


def _pair(distances: NDArray[np.float64], upper: tuple[NDArray[Any], ...], at: int) -> dict[str, Any]:
    a, b = int(upper[0][at]), int(upper[1][at])
    return {"a": a, "b": b, "distance": float(distances[a, b])}
