"""Classes as points seen through a metric, and their distances without what chance adds."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from svqvae.atlas import relations
from svqvae.atlas.space import METRICS, Space
from svqvae.atlas.spread import fit_spread
from svqvae.data.simulate import plant_classes

Array = NDArray[np.float64]


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
    assert list(space.resample(2, 0)) == []
    with pytest.raises(ValueError, match="`spread` must be known to tell relations from chance; got None"):
        space.draw_errors(np.random.default_rng(0))
    with pytest.raises(ValueError, match="`n_resamples` must be a whole number of at least 0; got -1"):
        next(space.resample(-1, 0))
    with pytest.raises(ValueError, match=r"`metric` must be 'euclidean', .* is not known; got 'mahalanobis'"):
        Space(points, "mahalanobis", None, counts, True)
    with pytest.raises(ValueError, match=r"`metric` must be one of 'mahalanobis', .*; got 'manhattan'"):
        Space(points, "manhattan", None, counts, True)
