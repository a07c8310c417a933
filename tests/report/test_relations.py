"""How classes relate, against the atlas that it comes from."""

import numpy as np
import pytest

from svqvae.report.relations import _surest, summarise_relations


@pytest.fixture(scope="module")
def relations(table):
    return summarise_relations(table.model.to_atlas(), n_resamples=20)


def test_distances_and_nearest_classes_are_those_of_the_atlas(table, relations) -> None:
    atlas = table.model.to_atlas()
    np.testing.assert_allclose(relations["distances"], atlas.distances(atlas.default_metric), atol=1e-5)
    theirs = atlas.nearest(3, atlas.default_metric, n_resamples=20)
    names = [atlas.names[near["class"]] for row in relations["nearest"] for near in row]
    assert names == theirs["nearest"].tolist()
    supports = [near["support"] for row in relations["nearest"] for near in row]
    np.testing.assert_array_equal(supports, theirs["support"])


def test_closest_and_farthest_pairs_are_the_ends_of_the_distances(relations) -> None:
    distances = np.asarray(relations["distances"])
    apart = distances[np.triu_indices(len(distances), 1)]
    for end, wanted in (("closest", apart.min()), ("farthest", apart.max())):
        pair = relations[end]
        assert distances[pair["a"], pair["b"]] == pytest.approx(wanted) == pytest.approx(pair["distance"], abs=1e-5)


def test_the_order_is_a_turn_of_the_tree_that_keeps_neighbours_near(table, relations) -> None:
    order = list(relations["order"])
    assert sorted(order) == list(range(5))
    for merge in relations["merges"]:
        if merge["left"] < 5 and merge["right"] < 5:
            assert abs(order.index(merge["left"]) - order.index(merge["right"])) == 1


def test_the_surest_pair_has_the_most_support_among_edges(relations) -> None:
    assert relations["surest"]["support"] == max(edge["support"] for edge in relations["edges"])


def test_every_edge_joins_classes_among_the_nearest_of_each_other(relations) -> None:
    near = [{found["class"] for found in row} for row in relations["nearest"]]
    assert relations["edges"]
    assert all(edge["b"] in near[edge["a"]] and edge["a"] in near[edge["b"]] for edge in relations["edges"])


def test_without_samples_nothing_has_support(lincs) -> None:
    found = summarise_relations(lincs[0].atlas)
    assert found["n_resamples"] == 0
    assert found["surest"] is None
    assert not found["is_corrected"]
    assert all(near["support"] is None or np.isnan(near["support"]) for row in found["nearest"] for near in row)


def test_two_classes_are_enough(make_case, draw) -> None:
    case = make_case(*draw(["a", "b"]))
    assert case.summary["relations"]["closest"] == case.summary["relations"]["farthest"]
    assert "<h2>Better than" in case.page or "As good as" in case.page or "plain method" in case.page


def test_no_pair_is_called_sure_that_would_rather_not_return() -> None:
    edges = [{"a": 0, "b": 1, "distance": 2.0, "support": 0.9}, {"a": 0, "b": 2, "distance": 1.0, "support": 0.9}]
    assert _surest(edges) == edges[1]
    assert _surest([{**edge, "support": 0.4} for edge in edges]) is None
    assert _surest([{**edge, "support": None} for edge in edges]) is None
