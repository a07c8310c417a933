"""Calibration: p-values are uniform, sets cover, and what is unlike all classes is told."""

import numpy as np
import pytest
from scipy import stats

from svqvae.atlas import confidence
from svqvae.atlas.confidence import (
    N_FOLDS,
    Calibration,
    _draw_folds,
    class_sets,
    cross_fitted_surprises,
    p_values,
    surprise,
)
from svqvae.atlas.spread import FLOOR, fit_spread


def draw(n: int, seed: int, n_features: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Return samples of three Gaussian classes with correlated features."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    mixing = np.random.default_rng(0).normal(size=(n_features, n_features)) / 5 + np.eye(n_features)
    return rng.normal(size=(n, n_features)) @ mixing + 2 * np.eye(3, n_features)[y], y


def test_surprise_is_minus_twice_the_log_density_of_the_likeliest_class() -> None:
    rows, y = draw(300, 0)
    spread = fit_spread(rows, y, 3, 0)
    assert spread is not None
    means = np.stack([rows[y == k].mean(0) for k in range(3)])
    correlations = spread.factors @ spread.factors.T + np.diag(spread.rest)
    densities = []
    for mean, deviations in zip(means, spread.deviations.astype(float), strict=True):
        own = np.sqrt((1 - FLOOR) * deviations**2 + FLOOR * (deviations**2).mean())
        densities.append(stats.multivariate_normal(mean, correlations * np.outer(own, own)).logpdf(rows))
    expected = -2 * np.max(densities, axis=0) - 30 * np.log(2 * np.pi)
    np.testing.assert_allclose(surprise(rows, means, spread), expected, atol=1e-3)


def test_surprise_is_the_same_class_by_class_and_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, y = draw(300, 0)
    spread = fit_spread(rows, y, 3, 0)
    assert spread is not None
    means = np.stack([rows[y == k].mean(0) for k in range(3)])
    whole = surprise(rows, means, spread)
    monkeypatch.setattr(confidence, "MAX_CELLS", 1)
    np.testing.assert_allclose(surprise(rows, means, spread), whole, rtol=1e-5)


@pytest.mark.parametrize("size", [1e6, 1e30])
def test_rows_beyond_all_measure_are_the_most_surprising(size: float) -> None:
    rows, y = draw(300, 0)
    spread = fit_spread(rows, y, 3, 0)
    assert spread is not None
    means = np.stack([rows[y == k].mean(0) for k in range(3)])
    assert surprise(size * rows[:9], means, spread).min() > 1e9 > surprise(rows, means, spread).max()


def test_p_values_count_calibration_scores_that_are_as_large() -> None:
    rng = np.random.default_rng(0)
    calibration, scores = np.sort(rng.integers(0, 20, 50).astype(float)), rng.integers(-1, 22, 40).astype(float)
    expected = [(1 + (calibration >= score).sum()) / 51 for score in scores]
    np.testing.assert_allclose(p_values(scores, calibration), expected)
    assert np.isnan(p_values(scores, np.empty(0))).all()


def test_cross_fitted_p_values_of_new_samples_are_near_uniform() -> None:
    rows, y = draw(240, 1)
    spread = fit_spread(rows, y, 3, 0)
    assert spread is not None
    means = np.stack([rows[y == k].mean(0) for k in range(3)])
    scores = surprise(draw(3000, 2)[0], means, spread)
    honest = (p_values(scores, cross_fitted_surprises(rows, y, None, 0)) <= 0.1).mean()
    naive = (p_values(scores, np.sort(surprise(rows, means, spread))) <= 0.1).mean()
    assert 0.04 < honest < 0.12
    assert naive > 0.15
    far = surprise(draw(50, 3)[0] + 5, means, spread)
    assert (p_values(far, cross_fitted_surprises(rows, y, None, 0)) <= 0.05).all()


def test_folds_are_stratified_or_keep_groups_whole() -> None:
    rng, y = np.random.default_rng(0), np.repeat([0, 1], [50, 11])
    fold = _draw_folds(y, None, rng)
    assert np.bincount(fold[y == 0]).tolist() == [5] * N_FOLDS
    assert sorted(np.bincount(fold[y == 1], minlength=N_FOLDS)) == [1] * 9 + [2]
    groups = np.arange(61) // 3
    fold = _draw_folds(y, groups, rng)
    assert all(len(set(fold[groups == group])) == 1 for group in range(21))


def test_a_class_that_no_other_fold_has_is_not_scored() -> None:
    rows, y = draw(60, 0)
    alone = np.r_[y, 3]
    found = cross_fitted_surprises(np.r_[rows, [[100.0] * 30]], alone, None, 0)
    assert len(found) == 60
    assert found.max() < 1000
    assert len(cross_fitted_surprises(rows[:3], y[:3], None, 0)) == 0


def test_sets_cover_what_held_out_samples_promise() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(4000, 6)), rng.integers(0, 6, 4000)
    logits[np.arange(4000), labels] += 1.5
    # Far too sure.
    shares = np.exp(4 * logits) / np.exp(4 * logits).sum(1, keepdims=True)
    own = shares[np.arange(4000), labels]
    known = Calibration(np.zeros((6, 1), np.float32), np.empty(0), np.empty(0), np.sort(own[:400]))
    for coverage in (0.8, 0.9):
        covered = class_sets(shares[400:], known, coverage)[np.arange(3600), labels[400:]].mean()
        assert covered == pytest.approx(coverage, abs=0.04)
    naive = class_sets(shares[400:], None)
    assert naive[np.arange(3600), labels[400:]].mean() < 0.8
    assert naive.any(1).all()


def test_few_held_out_samples_leave_all_classes_in_the_set() -> None:
    known = Calibration(np.zeros((3, 1), np.float32), np.empty(0), np.empty(0), np.full(5, 0.9))
    assert class_sets(np.array([[0.98, 0.01, 0.01]]), known).all()
    with pytest.raises(ValueError, match=r"`coverage` must be above 0 and below 1; got 1\.0"):
        class_sets(np.eye(3), known, 1.0)
