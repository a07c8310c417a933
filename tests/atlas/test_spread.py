"""How samples spread around their class, against planted covariances."""

import numpy as np
import pytest
from numpy.typing import NDArray

from svqvae.atlas import spread as spread_module
from svqvae.atlas.spread import Spread, Whitening, fit_spread

F = 6


def correlated(n: int, seed: int = 0, n_features: int = F) -> NDArray[np.float64]:
    """Draw rows with one common direction and unequal variances."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 1)) + rng.normal(size=(n, n_features))) * np.linspace(0.5, 2, n_features)


def spread_of(rows: NDArray[np.float64], y: NDArray[np.int64]) -> Spread:
    spread = fit_spread(rows, y, len(np.unique(y)), seed=0)
    assert spread is not None
    return spread


def covariance(spread: Spread, k: int) -> NDArray[np.float64]:
    R = spread.factors @ spread.factors.T + np.diag(spread.rest)
    return np.asarray(np.outer(spread.deviations[k], spread.deviations[k]) * R, dtype=np.float64)


def test_the_covariance_of_many_samples_is_found() -> None:
    rows = correlated(20_000)
    spread = fit_spread(rows, np.zeros(len(rows), dtype=np.int64), 1, seed=0)
    np.testing.assert_allclose(covariance(spread, 0), np.cov(rows.T), rtol=0.02, atol=0.02)


def test_the_correlations_have_a_unit_diagonal() -> None:
    for n, n_features in ((9, 40), (300, F)):
        y = np.arange(n) % 3
        spread = fit_spread(correlated(n, n_features=n_features), y, 3, seed=0)
        np.testing.assert_allclose((spread.factors**2).sum(1) + spread.rest, 1, rtol=1e-5)
        assert spread.rest.min() > 0


def test_wide_and_tall_tables_go_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = correlated(30, n_features=30)
    y = np.arange(30) % 2
    wide = fit_spread(rows[:, :29], y, 2, seed=0)
    tall = fit_spread(np.concatenate([rows[:, :29], np.zeros((30, 1))], axis=1), y, 2, seed=0)
    np.testing.assert_allclose(covariance(wide, 0), covariance(tall, 0)[:29, :29], rtol=0.05, atol=0.02)


def test_variances_of_alike_classes_are_taken_together_and_of_unlike_ones_not() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [500, 500, 5])
    alike = fit_spread(rng.normal(size=(len(y), 200)), y, 3, seed=0)
    np.testing.assert_allclose(alike.deviations, 1, atol=0.1)
    assert alike.degrees.min() > 100
    own = np.exp(0.5 * rng.normal(size=(3, 200)))
    unlike = fit_spread(rng.normal(size=(len(y), 200)) * own[y], y, 3, seed=0)
    np.testing.assert_allclose(unlike.deviations[:2], own[:2], rtol=0.15, atol=0.1)
    assert unlike.degrees[2] < 20


def test_a_class_that_varies_more_in_all_features_is_told_from_others() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 100)
    spread = fit_spread(rng.normal(size=(200, 50)) * np.where(y == 1, 3, 1)[:, None], y, 2, seed=0)
    np.testing.assert_allclose(spread.deviations.mean(1), [1, 3], rtol=0.1)


def test_classes_of_one_sample_and_constant_features_do_no_harm() -> None:
    rows = correlated(12)
    rows[:, 2] = 7.0
    y = np.repeat([0, 1, 2], [10, 1, 1])
    spread = fit_spread(rows, y, 3, seed=0)
    assert np.isfinite(spread.deviations).all()
    assert (spread.deviations[:, 2] == 0).all()
    assert np.isfinite(Whitening(spread)(rows)).all()


def test_errors_of_class_means_have_the_covariance_over_the_count() -> None:
    rows = correlated(5000)
    spread = fit_spread(rows, np.arange(5000) % 2, 2, seed=0)
    rng = np.random.default_rng(0)
    counts = np.array([4, 100])
    drawn = np.stack([spread.draw_errors(counts, rng) for _ in range(20_000)])
    for k, n in enumerate(counts):
        np.testing.assert_allclose(n * np.cov(drawn[:, k].T), covariance(spread, k), rtol=0.06, atol=0.06)
    variances = np.stack([np.diag(covariance(spread, k)) for k in range(2)])
    np.testing.assert_allclose(spread.mean_variances(counts) * counts[:, None], variances, rtol=1e-5)


def test_whitening_makes_the_covariance_within_classes_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread_module, "FLOOR", 0.0)
    rows = correlated(20_000)
    spread = fit_spread(rows, np.zeros(len(rows), dtype=np.int64), 1, seed=0)
    whitening = Whitening(spread)
    np.testing.assert_allclose(np.cov(whitening(rows).T), np.eye(F), atol=0.03)
    np.testing.assert_allclose(whitening.unit_norms(), (whitening(np.eye(F)) ** 2).sum(1), rtol=1e-6)
    exact = np.linalg.inv(np.cov(rows.T))
    gap = rows[0] - rows[1]
    assert ((whitening(rows[:1]) - whitening(rows[1:2])) ** 2).sum() == pytest.approx(gap @ exact @ gap, rel=0.02)


def test_many_rows_are_thinned_out_with_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread_module, "MAX_CELLS", 50 * F)
    rows, y = correlated(400), np.arange(400) % 2
    a, b, other = (fit_spread(rows, y, 2, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a.factors, b.factors)
    assert not np.array_equal(a.factors, other.factors)


def test_classes_without_two_unlike_samples_have_no_spread() -> None:
    rows = correlated(5)
    assert fit_spread(rows, np.arange(5), 5, seed=0) is None
    assert fit_spread(np.repeat(rows, 2, axis=0), np.repeat(np.arange(5), 2), 5, seed=0) is None


def test_degrees_are_no_more_than_all_classes_have() -> None:
    spread = spread_of(np.random.default_rng(0).normal(size=(6, 100)), np.array([0, 0, 0, 1, 1, 1]))
    assert spread.degrees.max() <= 4
