"""Tree and network as positions."""

import itertools

import numpy as np
import pytest
from scipy.cluster.hierarchy import average
from scipy.spatial.distance import pdist

from svqvae.report.diagrams import WIDTH, draw_network, draw_tree


def relations(n: int):
    """Return a tree of random points, and a network of chains with classes that are joined with none."""
    linkage = average(pdist(np.random.default_rng(0).normal(size=(n, 4))))
    merges = [
        {"left": int(a), "right": int(b), "height": height, "n": int(size), "support": 0.5}
        for a, b, height, size in linkage
    ]
    joined = range(2 * n // 3)
    edges = [{"a": a, "b": b, "distance": 1.0, "support": 0.4} for a, b in itertools.pairwise(joined) if b % 6]
    return {"order": list(range(n)), "merges": merges, "edges": edges, "nodes": [{"community": k} for k in range(n)]}


@pytest.mark.parametrize("n", [2, 10, 75, 300])
def test_every_class_has_a_row_of_the_tree_and_every_merge_a_bracket(n: int) -> None:
    drawn = draw_tree(relations(n), [f"class {k}" for k in range(n)])
    assert [row["class"] for row in drawn["rows"]] == list(range(n))
    assert np.diff([row["y"] for row in drawn["rows"]]).min() >= 12
    assert len(drawn["brackets"]) == n - 1
    assert sum(bracket["is_root"] for bracket in drawn["brackets"]) == 1


def test_branches_end_farther_left_the_farther_apart_groups_are() -> None:
    drawn = draw_tree(relations(30), ["name"] * 30)
    by_height = sorted(drawn["brackets"], key=lambda bracket: bracket["height"])
    assert all(a["x"] >= b["x"] for a, b in itertools.pairwise(by_height))
    assert by_height[-1]["x"] == 14


def test_a_tree_of_classes_in_one_place_is_drawn() -> None:
    merges = [{"left": 0, "right": 1, "height": 0.0, "n": 2, "support": None}]
    assert draw_tree({"order": [0, 1], "merges": merges}, ["a", "b"])["brackets"][0]["x"] > 0


@pytest.mark.parametrize("n", [2, 10, 75, 300])
def test_the_network_stays_within_its_frame_and_marks_keep_apart(n: int) -> None:
    classes = [{"name": f"CP_SOME_KIND_OF_INHIBITOR_{k}", "count": k} for k in range(n)]
    drawn = draw_network(relations(n), classes)
    places = np.array([[mark["x"], mark["y"]] for mark in drawn["marks"]])
    assert places.min() > 0
    assert (places.max(0) < [WIDTH, drawn["height"]]).all()
    assert pdist(places).min() > 12


def test_edges_end_at_the_marks_of_their_classes() -> None:
    drawn = draw_network(relations(12), [{"name": str(k), "count": 1} for k in range(12)])
    marks = drawn["marks"]
    for edge in drawn["edges"]:
        assert (edge["x1"], edge["y1"]) == (marks[edge["a"]]["x"], marks[edge["a"]]["y"])
        assert (edge["x2"], edge["y2"]) == (marks[edge["b"]]["x"], marks[edge["b"]]["y"])
    assert drawn["n_lone"] == sum(mark["degree"] == 0 for mark in marks)


def test_larger_classes_have_larger_marks() -> None:
    drawn = draw_network(relations(9), [{"name": str(k), "count": 10 * k} for k in range(9)])
    assert (np.diff([mark["radius"] for mark in drawn["marks"]]) > 0).all()
