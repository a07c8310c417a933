"""Units against numpy and scikit-learn, and back again."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from svqvae.data.units import TOTAL, UNITS, Standard, Units

N, P = 40, 6


def measure(kind: str, rows: NDArray[np.number]) -> Units:
    return UNITS[kind].measure(rows)


@pytest.fixture(name="X")
def features() -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, P)) * np.logspace(-3, 3, P) + np.logspace(4, -2, P)


@pytest.fixture
def counts() -> NDArray[np.int64]:
    return np.random.default_rng(0).poisson(3.0, size=(N, P)) + 1


def test_standard_scaling_is_that_of_scikit_learn(X) -> None:
    expected = StandardScaler().fit_transform(X)
    np.testing.assert_allclose(measure("standard", X).apply(X), expected, rtol=1e-5, atol=1e-6)


def test_features_of_one_unit_share_a_scale(X) -> None:
    alike = (X - X.mean(0)) / X.std(0) * np.linspace(1, 9, P)
    units = measure("standard", alike)
    np.testing.assert_allclose(units.scale, np.sqrt(alike.var()))
    other = np.column_stack([alike, 20 * alike[:, 0], np.full(N, 5.0)])
    np.testing.assert_allclose(measure("standard", other).scale, [*other[:, :-1].std(0), 1])


def test_range_scaling_brings_the_extremes_of_all_features_to_one(X) -> None:
    scaled = measure("range", X).apply(X)
    assert (scaled.min(), scaled.max()) == (-1, 1)
    np.testing.assert_allclose(scaled, 2 * (X - X.min()) / (X.max() - X.min()) - 1, atol=1e-6)


def test_count_scaling_is_the_standardised_log_of_shares(counts) -> None:
    logs = np.log1p(TOTAL * counts / counts.sum(1, keepdims=True))
    expected = StandardScaler().fit_transform(logs)
    np.testing.assert_allclose(measure("counts", counts).apply(counts), expected, rtol=1e-5, atol=1e-5)


def test_count_scaling_ignores_the_depth_of_a_sample(counts) -> None:
    units = measure("counts", counts)
    np.testing.assert_allclose(units.apply(7 * counts), units.apply(counts), rtol=1e-5, atol=1e-5)


def test_a_sample_without_counts_is_finite(counts) -> None:
    units = measure("counts", counts)
    assert np.isfinite(units.apply(np.zeros((1, P), dtype=np.int64))).all()


def test_no_scaling_only_changes_the_precision(X) -> None:
    np.testing.assert_array_equal(measure("bounded", X).apply(X), X.astype(np.float32))


@pytest.mark.parametrize("kind", ["bounded", "standard", "range"])
def test_inverting_gives_the_data_back(X, kind) -> None:
    units = measure(kind, X)
    restored = units.invert(units.apply(X))
    assert restored.dtype == np.float64
    assert np.abs(restored - X).max() < 1e-6 * np.abs(X).max()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["bounded", "standard", "range", "counts"])
def test_any_type_of_number_becomes_single_precision(counts, kind, dtype) -> None:
    data = counts.astype(dtype)
    scaled = measure(kind, data).apply(data)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, measure(kind, counts).apply(counts), rtol=1e-5, atol=1e-5)


def test_a_small_spread_on_a_large_offset_survives() -> None:
    X = 1e9 + np.array([[0.0], [1.0], [2.0]])
    np.testing.assert_allclose(measure("standard", X).apply(X), np.sqrt(1.5) * np.array([[-1], [0], [1]]), rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6, 1e-300])
@pytest.mark.parametrize("n", [1, 3, 100_000])
def test_a_constant_feature_keeps_its_unit(value: float, n: int) -> None:
    units = measure("standard", np.full((n, 2), value))
    np.testing.assert_array_equal(units.scale, 1)
    np.testing.assert_allclose(units.apply(np.array([[value, value + 5]])), [[0, 5]], atol=1e-6)


def test_constant_data_keep_their_unit_in_the_range() -> None:
    units = measure("range", np.full((3, 2), 7.0))
    np.testing.assert_array_equal(units.apply(np.array([[7.0, 8.0]])), [[0, 1]])


def test_new_data_are_scaled_as_the_training_data_were(X) -> None:
    units = measure("standard", X[:20])
    expected = StandardScaler().fit(X[:20]).transform(X[20:])
    np.testing.assert_allclose(units.apply(X[20:]), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["standard", "counts"])
def test_permuting_features_permutes_the_scaling(counts, kind) -> None:
    order = np.random.default_rng(1).permutation(P)
    plain, permuted = measure(kind, counts), measure(kind, counts[:, order])
    np.testing.assert_allclose(permuted.center, plain.center[order])
    np.testing.assert_allclose(permuted.scale, plain.scale[order])


def test_the_data_are_not_changed(X) -> None:
    before = X.copy()
    Standard(np.ones(P), np.ones(P)).apply(X)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("kind", sorted(UNITS))
def test_units_measured_part_by_part_are_those_of_all_rows(counts, kind: str) -> None:
    found = UNITS[kind].survey()
    for part in np.split(counts, [1, 7, 30]):
        found.add(part)
    parts, whole = found.result(), measure(kind, counts)
    assert type(parts) is type(whole) is UNITS[kind]
    np.testing.assert_allclose(parts.center, whole.center, rtol=1e-12)
    np.testing.assert_allclose(parts.scale, whole.scale, rtol=1e-12)
    assert parts.to_dict() == pytest.approx(whole.to_dict(), rel=1e-12)


def test_units_of_some_features_are_those_features_alone(X, counts) -> None:
    chosen = np.array([4, 1])
    units = measure("standard", X)
    np.testing.assert_array_equal(units.subset(chosen).apply(X[:, chosen]), units.apply(X)[:, chosen])
    assert measure("bounded", X).subset(chosen).scale.tolist() == [1.0]
    with pytest.raises(ValueError, match=r"`features` must be all features for counts, since shares are of the total"):
        measure("counts", counts).subset(chosen)


def test_counts_know_the_totals_of_their_samples(counts) -> None:
    units, totals = measure("counts", counts), counts.sum(1)
    np.testing.assert_array_equal(units.sizes(counts), totals)
    assert units.to_dict() == {"median_size": np.median(totals), "log_size_spread": np.log(totals).std()}
    drawn = units.draw_sizes(20_000, np.random.default_rng(0))
    assert np.median(drawn) == pytest.approx(units.typical_size, rel=0.02)
    assert np.log(drawn).std() == pytest.approx(units.size_spread, rel=0.03)
    assert measure("standard", counts).sizes(counts).tolist() == [1.0] * N
