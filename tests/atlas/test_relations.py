"""Nearest classes, network and pairs closer than chance, on classes planted in a tree."""

import networkx as nx
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from svqvae.atlas import relations
from svqvae.atlas.space import Space
from svqvae.atlas.spread import fit_spread
from svqvae.data.simulate import plant_classes

Array = NDArray[np.float64]
NAMES = tuple("abcdef")


def planted_space(metric: str = "mahalanobis", seed: int = 0, corrected: bool = True, n: int = 12) -> Space:
    planted = plant_classes(n, 60, sizes=(4, 80), random_state=seed)
    y = np.unique(planted.y, return_inverse=True)[1].astype(np.int64)
    means = np.stack([planted.X[y == k].mean(0, dtype=np.float64) for k in range(n)])
    return Space(means, metric, fit_spread(planted.X, y, n, seed=0), np.bincount(y), corrected)


def test_a_hub_is_nobodys_nearest_for_that_alone() -> None:
    # Class 0 sits amid three tight pairs and is nearer to each of their members than their partner is.
    values = np.full((7, 7), 10.0)
    values[0, :] = values[:, 0] = 3.9
    for a in (1, 3, 5):
        values[a, a + 1] = values[a + 1, a] = 4.0
    np.fill_diagonal(values, 0)
    assert (relations.nearest_partners(values, 1)[1:, 0] == 0).all()
    np.testing.assert_array_equal(relations.nearest_partners(values, 1, True)[1:, 0], [2, 1, 4, 3, 6, 5])


def test_mutual_edges_are_a_part_of_those_of_one_side() -> None:
    values = planted_space().dissimilarities()
    mutual, one_sided = relations.edges(values, 3, True), relations.edges(values, 3, False)
    assert (mutual <= one_sided).all()
    assert (one_sided.sum(1) >= 3).all()
    np.testing.assert_array_equal(mutual, mutual.T)


def random_labels(seed: int) -> Array:
    planted = plant_classes(20, 80, sizes=(5, 60), random_state=seed)
    y = np.unique(planted.y, return_inverse=True)[1]
    y = np.random.default_rng(seed).permutation(y).astype(np.int64)
    means = np.stack([planted.X[y == k].mean(0, dtype=np.float64) for k in range(20)])
    space = Space(means, "mahalanobis", fit_spread(planted.X, y, 20, 0), np.bincount(y), True)
    return relations.closer_than_chance(space, 200, seed)


def test_of_random_labels_hardly_a_pair_is_closer_than_chance() -> None:
    upper = np.triu_indices(20, 1)
    p = [random_labels(seed) for seed in range(5)]
    q = np.array([relations.control_false_discoveries(values)[upper] for values in p])
    assert (q <= 0.05).mean() <= 0.01
    assert np.mean([(values[upper] <= 0.05).mean() for values in p]) == pytest.approx(0.05, abs=0.03)


def test_similarities_are_cosines_of_deviations() -> None:
    points = np.array([[1.0, 0], [2, 0], [-1, 0], [0, 3]])
    space = Space(points, "euclidean", None, np.array([3, 1, 5, 1]), True)
    center = np.array([0, 0.3])
    deviations = points - center
    expected = 1 - cdist(deviations, deviations, "cosine")
    np.testing.assert_allclose(relations.similarities(space), expected, atol=1e-12)


def test_two_alike_classes_are_closer_than_chance_and_unrelated_ones_are_not() -> None:
    planted = plant_classes(15, 200, n_levels=1, sizes=(30, 80), random_state=3)
    y = np.unique(planted.y, return_inverse=True)[1].astype(np.int64)
    rows = planted.X.copy()
    profiles = planted.profiles.to_numpy(dtype=np.float32)
    rows[y == 1] += 0.9 * (profiles[0] - profiles[1])
    means = np.stack([rows[y == k].mean(0, dtype=np.float64) for k in range(15)])
    space = Space(means, "mahalanobis", fit_spread(rows, y, 15, 0), np.bincount(y), True)
    p = relations.closer_than_chance(space, 200, 0)
    q = relations.control_false_discoveries(p)
    assert q[0, 1] < 0.01
    others = q[np.triu_indices(15, 1)]
    assert (others <= 0.05).sum() <= 3
    np.testing.assert_array_equal(p, p.T)
    assert (np.diag(p) == 1).all()


def test_too_few_classes_and_permutations_are_refused() -> None:
    with pytest.raises(ValueError, match="`atlas` must have at least 4 classes to tell closeness from chance; got 3"):
        relations.closer_than_chance(planted_space(n=3), 10, 0)
    with pytest.raises(ValueError, match="`n_permutations` must be at least 1; got 0"):
        relations.closer_than_chance(planted_space(), 0, 0)


def test_a_network_survives_graphml() -> None:
    gaps = np.abs(np.subtract.outer([0.0, 1, 10, 11.5, 40, 100], [0.0, 1, 10, 11.5, 40, 100]))
    joined = relations.edges(gaps, 1, True)
    graph = relations.build_network(NAMES, gaps, joined, seed=0)
    read = nx.parse_graphml("\n".join(nx.generate_graphml(graph)))
    assert {frozenset(edge) for edge in read.edges} == {frozenset("ab"), frozenset("cd")}
    assert set(read.nodes) == set(NAMES)
    assert read.edges["a", "b"]["weight"] > read.edges["c", "d"]["weight"]
    assert read.nodes["a"]["community"] == read.nodes["b"]["community"] != read.nodes["c"]["community"]


def test_communities_are_ordered_by_size() -> None:
    graph = nx.Graph([("a", "b"), ("c", "d"), ("d", "e"), ("c", "e")])
    assert relations.communities(graph, 0) == [{"c", "d", "e"}, {"a", "b"}]
