"""Scaling against numpy and scikit-learn, and back again."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from svqvae.data.scaling import TOTAL, Scaling, fit_scaling

N, P = 40, 6


@pytest.fixture(name="X")
def features() -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, P)) * np.logspace(-3, 3, P) + np.logspace(4, -2, P)


@pytest.fixture
def counts() -> NDArray[np.int64]:
    return np.random.default_rng(0).poisson(3.0, size=(N, P)) + 1


def test_standard_scaling_is_that_of_scikit_learn(X) -> None:
    expected = StandardScaler().fit_transform(X)
    np.testing.assert_allclose(fit_scaling(X, "standard").apply(X), expected, rtol=1e-5, atol=1e-6)


def test_features_of_one_unit_share_a_scale(X) -> None:
    alike = (X - X.mean(0)) / X.std(0) * np.linspace(1, 9, P)
    scaling = fit_scaling(alike, "standard")
    np.testing.assert_allclose(scaling.scale, np.sqrt(alike.var()))
    other = np.column_stack([alike, 20 * alike[:, 0], np.full(N, 5.0)])
    np.testing.assert_allclose(fit_scaling(other, "standard").scale, [*other[:, :-1].std(0), 1])


def test_range_scaling_brings_the_extremes_of_all_features_to_one(X) -> None:
    scaled = fit_scaling(X, "range").apply(X)
    assert (scaled.min(), scaled.max()) == (-1, 1)
    np.testing.assert_allclose(scaled, 2 * (X - X.min()) / (X.max() - X.min()) - 1, atol=1e-6)


def test_count_scaling_is_the_standardised_log_of_shares(counts) -> None:
    logs = np.log1p(TOTAL * counts / counts.sum(1, keepdims=True))
    expected = StandardScaler().fit_transform(logs)
    np.testing.assert_allclose(fit_scaling(counts, "counts").apply(counts), expected, rtol=1e-5, atol=1e-5)


def test_count_scaling_ignores_the_depth_of_a_sample(counts) -> None:
    scaling = fit_scaling(counts, "counts")
    np.testing.assert_allclose(scaling.apply(7 * counts), scaling.apply(counts), rtol=1e-5, atol=1e-5)


def test_a_sample_without_counts_is_finite(counts) -> None:
    scaling = fit_scaling(counts, "counts")
    assert np.isfinite(scaling.apply(np.zeros((1, P), dtype=np.int64))).all()


def test_no_scaling_only_changes_the_precision(X) -> None:
    np.testing.assert_array_equal(fit_scaling(X, "none").apply(X), X.astype(np.float32))


@pytest.mark.parametrize("kind", ["none", "standard", "range"])
def test_inverting_gives_the_data_back(X, kind) -> None:
    scaling = fit_scaling(X, kind)
    restored = scaling.invert(scaling.apply(X))
    assert restored.dtype == np.float64
    assert np.abs(restored - X).max() < 1e-6 * np.abs(X).max()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["none", "standard", "range", "counts"])
def test_any_type_of_number_becomes_single_precision(counts, kind, dtype) -> None:
    data = counts.astype(dtype)
    scaled = fit_scaling(data, kind).apply(data)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, fit_scaling(counts, kind).apply(counts), rtol=1e-5, atol=1e-5)


def test_a_small_spread_on_a_large_offset_survives() -> None:
    X = 1e9 + np.array([[0.0], [1.0], [2.0]])
    np.testing.assert_allclose(
        fit_scaling(X, "standard").apply(X), np.sqrt(1.5) * np.array([[-1], [0], [1]]), rtol=1e-6
    )


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6, 1e-300])
@pytest.mark.parametrize("n", [1, 3, 100_000])
def test_a_constant_feature_keeps_its_unit(value: float, n: int) -> None:
    scaling = fit_scaling(np.full((n, 2), value), "standard")
    np.testing.assert_array_equal(scaling.scale, 1)
    np.testing.assert_allclose(scaling.apply(np.array([[value, value + 5]])), [[0, 5]], atol=1e-6)


def test_constant_data_keep_their_unit_in_the_range() -> None:
    scaling = fit_scaling(np.full((3, 2), 7.0), "range")
    np.testing.assert_array_equal(scaling.apply(np.array([[7.0, 8.0]])), [[0, 1]])


def test_new_data_are_scaled_as_the_training_data_were(X) -> None:
    scaling = fit_scaling(X[:20], "standard")
    expected = StandardScaler().fit(X[:20]).transform(X[20:])
    np.testing.assert_allclose(scaling.apply(X[20:]), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["standard", "counts"])
def test_permuting_features_permutes_the_scaling(counts, kind) -> None:
    order = np.random.default_rng(1).permutation(P)
    plain, permuted = fit_scaling(counts, kind), fit_scaling(counts[:, order], kind)
    np.testing.assert_allclose(permuted.center, plain.center[order])
    np.testing.assert_allclose(permuted.scale, plain.scale[order])


def test_the_data_are_not_changed(X) -> None:
    before = X.copy()
    Scaling("standard", np.ones(P), np.ones(P)).apply(X)
    np.testing.assert_array_equal(X, before)
