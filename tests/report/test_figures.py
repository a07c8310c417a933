"""Numbers as positions."""

import numpy as np
import pytest
from scipy.stats import rankdata

from svqvae.report.figures import Scale, draw_curves, draw_map, draw_matrix, shade_distances


@pytest.fixture
def distances():
    points = np.random.default_rng(0).normal(size=(7, 3))
    return np.linalg.norm(points[:, None] - points[None], axis=2)


def test_a_scale_is_linear_between_its_ends() -> None:
    scale = Scale(-1, 3, 200, 0)
    assert [scale(-1), scale(1), scale(3)] == [200, 100, 0]


def test_a_scale_of_one_number_puts_it_in_the_middle() -> None:
    assert Scale(2, 2, 0, 100)(2) == 50


@pytest.mark.parametrize("low, high", [(0, 0.87), (-3, 12345), (1e-6, 2e-6)])
def test_ticks_are_few_and_within_the_range(low: float, high: float) -> None:
    ticks = Scale(low, high, 0, 100).ticks(4)
    assert 2 <= len(ticks) <= 5
    assert all(-1e-6 <= tick["at"] <= 100 + 1e-6 for tick in ticks)


def test_the_closest_pair_is_darkest_and_the_diagonal_clear(distances) -> None:
    shades = shade_distances(distances)
    pairs = np.triu_indices(7, 1)
    assert np.isnan(np.diag(shades)).all()
    np.testing.assert_array_equal(rankdata(-shades[pairs]), rankdata(distances[pairs]))
    assert shades[pairs].max() == 1
    assert shades[pairs].min() == pytest.approx(0.04)


def test_matrices_follow_the_order_of_the_tree(distances) -> None:
    order = [3, 0, 6, 1, 5, 2, 4]
    drawn = draw_matrix(shade_distances(distances), list("abcdefg"), order, np.arange(49.0).reshape(7, 7))
    assert [row["text"] for row in drawn["rows"]] == list("dagbfce")
    assert [column["class"] for column in drawn["columns"]] == order
    first = min(drawn["cells"], key=lambda cell: (cell["y"], cell["x"]))
    assert first["value"] == 24


@pytest.mark.parametrize("n, is_named", [(16, True), (75, True), (90, True), (91, False), (300, False)])
def test_names_stand_beside_rows_where_they_have_room(n: int, is_named: bool) -> None:
    drawn = draw_matrix(np.zeros((n, n)), [f"CP_VERY_LONG_NAME_OF_A_CLASS_{k}" for k in range(n)], list(range(n)))
    assert bool(drawn["rows"]) is is_named
    assert not is_named or drawn["font"] <= drawn["cell"]
    assert drawn["side"] <= 1000
    assert drawn["width"] > drawn["left"] + drawn["side"]


def history(**changes):
    term = {"name": "label", "training": [3.0, 2.0, 1.0], "validation": [3.5, 2.5, None]}
    return {"epoch": [0, 1, 2], "terms": [term], "validation_accuracy": None} | changes


def test_each_loss_term_has_a_panel_with_its_first_and_last_value() -> None:
    loss = {"name": "loss", "training": [9.0, 8.0, 7.0], "validation": None}
    panels = draw_curves(history(terms=[history()["terms"][0], loss]))
    assert [panel["name"] for panel in panels] == ["loss", "label"]
    assert (panels[1]["first"], panels[1]["last"]) == (3.0, 1.0)
    assert [line["kind"] for line in panels[1]["lines"]] == ["training", "validation"]


def test_unknown_values_leave_no_point_in_a_curve() -> None:
    (panel,) = draw_curves(history())
    assert [line["path"].count("L") for line in panel["lines"]] == [2, 1]


def test_accuracy_of_held_out_samples_has_a_panel_where_known() -> None:
    panels = draw_curves(history(validation_accuracy=[0.1, 0.5, 0.9]))
    assert [panel["name"] for panel in panels] == ["label", "validation_accuracy"]
    assert panels[1]["last"] == 0.9


def test_a_single_epoch_has_no_curve() -> None:
    assert draw_curves({"epoch": [0], "terms": [], "validation_accuracy": None}) == []


@pytest.mark.parametrize("is_wide", [True, False])
def test_the_map_keeps_order_and_stays_within_its_frame(is_wide: bool) -> None:
    places = {"x": [0.0, 1.0, 5.0], "y": [2.0, -1.0, 0.0], "class": [0, 1, 1], "set": ["training", "test", "training"]}
    drawn = draw_map(places | {"codes": [[0.0, 0.0], [9.0, 9.0]]}, ["a", "b"], is_wide=is_wide)
    xs, ys = ([mark[axis] for mark in (*drawn["points"], *drawn["codes"])] for axis in "xy")
    assert 0 < min(xs) == xs[0] < xs[1] < xs[2] < max(xs) == xs[4] < drawn["width"]
    assert 0 < min(ys) == ys[4] < ys[0] < ys[2] < ys[1] < drawn["height"]
    assert [point["is_new"] for point in drawn["points"]] == [False, True, False]
