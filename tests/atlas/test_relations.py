"""Distances without what chance adds, and relations with their support, on classes planted in a tree."""

import networkx as nx
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from svqvae.atlas import relations
from svqvae.atlas.relations import METRICS, Space, Tree
from svqvae.atlas.spread import fit_spread
from svqvae.data.simulate import plant_classes

Array = NDArray[np.float64]
NAMES = tuple("abcdef")


def planted_space(metric: str = "mahalanobis", seed: int = 0, corrected: bool = True, n: int = 12) -> Space:
    planted = plant_classes(n, 60, sizes=(4, 80), random_state=seed)
    y = np.unique(planted.y, return_inverse=True)[1].astype(np.int64)
    means = np.stack([planted.X[y == k].mean(0, dtype=np.float64) for k in range(n)])
    return Space(means, metric, fit_spread(planted.X, y, n, seed=0), np.bincount(y), corrected)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("corrected", [True, False])
def test_dissimilarities_are_symmetric_and_0_on_the_diagonal(metric: str, corrected: bool) -> None:
    values = planted_space(metric, corrected=corrected).dissimilarities()
    np.testing.assert_array_equal(values, values.T)
    assert not np.diag(values).any()
    assert np.isfinite(values).all()


def test_uncorrected_dissimilarities_are_the_metrics_of_scipy() -> None:
    points = np.random.default_rng(0).normal(size=(5, 9))
    for metric in ("euclidean", "cosine", "correlation"):
        found = Space(points, metric, None, np.ones(5, dtype=np.int64), True).dissimilarities()
        np.testing.assert_allclose(found, cdist(points, points, metric), atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_permuting_the_classes_permutes_the_dissimilarities(metric: str) -> None:
    planted = plant_classes(7, 30, sizes=(4, 40))
    y = np.unique(planted.y, return_inverse=True)[1].astype(np.int64)
    order = np.random.default_rng(0).permutation(7)

    def values(labels: NDArray[np.int64]) -> Array:
        means = np.stack([planted.X[labels == k].mean(0, dtype=np.float64) for k in range(7)])
        return Space(means, metric, fit_spread(planted.X, labels, 7, 0), np.bincount(labels), True).dissimilarities()

    np.testing.assert_allclose(values(np.argsort(order)[y]), values(y)[np.ix_(order, order)], atol=1e-5)


@pytest.mark.parametrize("metric", ["euclidean", "mahalanobis"])
def test_correction_takes_off_what_chance_adds_on_average(metric: str) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), [3, 5, 10, 40])
    true = 0.5 * rng.normal(size=(4, 80))
    gaps = []
    for _ in range(60):
        rows = true[y] + rng.normal(size=(len(y), 80))
        means = np.stack([rows[y == k].mean(0) for k in range(4)])
        spread = fit_spread(rows, y, 4, seed=0)
        found = Space(means, metric, spread, np.bincount(y), True).dissimilarities()
        exact = Space(true, metric, spread, np.bincount(y), False).dissimilarities()
        gaps.append((np.sign(found) * found**2 - exact**2)[np.triu_indices(4, 1)] / exact[np.triu_indices(4, 1)] ** 2)
    np.testing.assert_allclose(np.mean(gaps, axis=0), 0, atol=0.12)


def test_support_is_high_for_what_is_far_apart_and_low_for_a_draw() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(6), 50)
    true = np.repeat(rng.normal(size=(2, 40)) * 3, [2, 4], axis=0)
    true[:2] += 0.5 * rng.normal(size=(2, 40))
    rows = true[y] + rng.normal(size=(300, 40))
    means = np.stack([rows[y == k].mean(0) for k in range(6)])
    space = Space(means, "euclidean", fit_spread(rows, y, 6, 0), np.bincount(y), True)
    hits = np.zeros((6, 6))
    for drawn in space.resample(200, seed=1):
        hits[np.arange(6), relations.nearest_partners(drawn, 1)[:, 0]] += 1 / 200
    assert min(hits[0, 1], hits[1, 0]) > 0.999
    # Four classes that are one: each of three is as near to the fourth.
    assert hits[2:, 2:].max() < 0.85


def test_resampling_tells_how_far_it_is_and_is_a_function_of_the_seed() -> None:
    space, told = planted_space(), []
    a = list(space.resample(3, 7, lambda done, in_all: told.append((done, in_all))))
    b = list(space.resample(3, 7))
    np.testing.assert_array_equal(a, b)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_without_spread_there_is_no_support_and_no_mahalanobis() -> None:
    points, counts = np.random.default_rng(0).normal(size=(3, 4)), np.ones(3, dtype=np.int64)
    space = Space(points, "euclidean", None, counts, True)
    with pytest.raises(ValueError, match="`n_resamples` must be 0"):
        next(space.resample(2, 0))
    with pytest.raises(ValueError, match="`n_permutations` must be 0"):
        relations.closer_than_chance(space, 10, 0)
    with pytest.raises(ValueError, match="`metric` 'mahalanobis' must have the spread"):
        Space(points, "mahalanobis", None, counts, True)
    with pytest.raises(ValueError, match=r"`metric` must be one of 'mahalanobis', .*; got 'manhattan'"):
        Space(points, "manhattan", None, counts, True)


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


def test_classes_of_one_branch_are_closer_than_chance() -> None:
    planted = plant_classes(12, 60, sizes=(30, 80), random_state=3)
    p = relations.closer_than_chance(planted_space(seed=3), 200, 0)
    names = list(planted.profiles.index)
    smallest = min(planted.clades, key=lambda clade: (len(clade), sorted(clade)))
    a, b = sorted(names.index(name) for name in smallest)[:2]
    assert p[a, b] < 0.01
    np.testing.assert_array_equal(p, p.T)
    assert (np.diag(p) == 1).all()


@pytest.fixture
def tree() -> Tree:
    gaps = np.abs(np.subtract.outer([0.0, 1, 10, 11.5, 40, 100], [0.0, 1, 10, 11.5, 40, 100]))
    return Tree(NAMES, relations.join(gaps, "average"), np.array([1.0, 0.5, 0.25, 0.75, 1.0]))


def test_the_tree_has_a_clade_for_each_inner_node(tree: Tree) -> None:
    assert tree.clades() == [frozenset("ab"), frozenset("cd"), frozenset("abcd"), frozenset("abcde"), frozenset(NAMES)]
    flags = relations.clades_of(tree.linkage, 6)
    assert [frozenset(np.array(NAMES)[np.unpackbits(np.frombuffer(row, np.uint8))[:6] == 1]) for row in flags] == (
        tree.clades()
    )


def test_newick_is_read_by_biopython_with_lengths_and_support(tree: Tree) -> None:
    import io

    from Bio import Phylo

    names = ("plain", "two words", "it's", "a:b", "(c)", "größe")
    read = Phylo.read(io.StringIO(Tree(names, tree.linkage, tree.support).newick()), "newick")
    assert {leaf.name for leaf in read.get_terminals()} == set(names)
    assert read.distance("plain", "two words") == pytest.approx(1.0)
    assert read.distance("plain", "größe") == pytest.approx(tree.linkage[-1, 2])
    assert {node.confidence for node in read.get_nonterminals()} == {100, 50, 25, 75}


def test_a_network_survives_graphml(tree: Tree) -> None:
    gaps = np.abs(np.subtract.outer([0.0, 1, 10, 11.5, 40, 100], [0.0, 1, 10, 11.5, 40, 100]))
    joined = relations.edges(gaps, 1, True)
    graph = relations.build_network(NAMES, gaps, joined, np.full((6, 6), 0.5), seed=0)
    read = nx.parse_graphml("\n".join(nx.generate_graphml(graph)))
    assert {frozenset(edge) for edge in read.edges} == {frozenset("ab"), frozenset("cd")}
    assert set(read.nodes) == set(NAMES)
    assert read.edges["a", "b"]["weight"] > read.edges["c", "d"]["weight"]
    assert read.edges["a", "b"]["support"] == 0.5
    assert read.nodes["a"]["community"] == read.nodes["b"]["community"] != read.nodes["c"]["community"]


def test_communities_are_ordered_by_size() -> None:
    graph = nx.Graph([("a", "b"), ("c", "d"), ("d", "e"), ("c", "e")])
    assert relations.communities(graph, 0) == [{"c", "d", "e"}, {"a", "b"}]
