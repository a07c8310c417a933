"""Profiles drawn toward a center."""

import numpy as np
import pytest

from svqvae.atlas.shrinkage import shrink


def test_equal_errors_are_shrunk_as_by_james_and_stein() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(40, 500))
    found = true + rng.normal(size=true.shape)
    drawn, weights = shrink(found, np.ones_like(found))
    np.testing.assert_allclose(weights, 0.5, atol=0.03)
    assert ((drawn - true) ** 2).mean() == pytest.approx(0.5, rel=0.1)


def test_the_rarer_the_class_the_more_it_is_drawn_and_the_nearer_it_comes() -> None:
    rng = np.random.default_rng(1)
    true = rng.normal(size=(20, 300))
    variances = np.geomspace(0.01, 4, 20)[:, None] * np.ones(300)
    found = true + rng.normal(size=true.shape) * np.sqrt(variances)
    drawn, weights = shrink(found, variances)
    assert (np.diff(weights) < 0).all()
    np.testing.assert_allclose(weights, 1 / (1 + variances[:, 0]), atol=0.05)
    assert ((drawn - true)[-5:] ** 2).mean() < 0.5 * ((found - true)[-5:] ** 2).mean()


def test_classes_that_differ_by_chance_alone_become_one() -> None:
    rng = np.random.default_rng(2)
    found = rng.normal(size=(15, 400)) + 3
    drawn, weights = shrink(found, np.ones_like(found))
    assert weights.max() < 0.1
    np.testing.assert_allclose(drawn.mean(), 3, atol=0.1)


def test_without_errors_nothing_is_drawn() -> None:
    found = np.random.default_rng(0).normal(size=(4, 5))
    drawn, weights = shrink(found, np.zeros_like(found))
    np.testing.assert_allclose(drawn, found)
    np.testing.assert_allclose(weights, 1)


def test_a_rare_class_is_drawn_toward_its_parent() -> None:
    rng = np.random.default_rng(3)
    parents = ("a",) * 6 + ("b",) * 6 + ("alone",)
    middle = np.repeat([[-5.0], [5.0], [0.0]], [6, 6, 1], axis=0)
    true = middle + 0.3 * rng.normal(size=(13, 200))
    variances = np.full((13, 200), 0.01)
    variances[0] = 25.0
    found = true + rng.normal(size=true.shape) * np.sqrt(variances)
    by_parent, _ = shrink(found, variances, parents)
    by_all, weights = shrink(found, variances)
    assert ((by_parent - true)[0] ** 2).mean() < 0.1 * ((by_all - true)[0] ** 2).mean()
    np.testing.assert_allclose(by_parent[12], by_all[12])
    assert 0 <= weights.min() <= weights.max() <= 1
