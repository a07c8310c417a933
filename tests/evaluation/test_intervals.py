"""Intervals of shares, against scipy."""

import numpy as np
import pytest
from scipy import stats

from svqvae.evaluation.intervals import gap_interval, share_interval


@pytest.mark.parametrize("n_right, n", [(0, 10), (7, 10), (10, 10), (533, 540)])
def test_interval_of_a_share_is_wilsons(n_right: int, n: int) -> None:
    # The shares p whose score test does not reject: (n_right - n p)^2 = z^2 n p (1 - p) at both ends.
    z = stats.norm.ppf(0.975)
    ends = np.sort(np.roots([n**2 + z**2 * n, -2 * n * n_right - z**2 * n, n_right**2]).real)
    np.testing.assert_allclose(share_interval(n_right, n), ends, atol=1e-12)


@pytest.mark.parametrize("n_right, n", [(0, 10), (7, 10), (533, 540)])
def test_interval_of_a_share_is_mirrored_where_right_and_wrong_change_places(n_right: int, n: int) -> None:
    low, high = share_interval(n_right, n)
    np.testing.assert_allclose(share_interval(n - n_right, n), [1 - high, 1 - low], atol=1e-12)


def test_interval_of_a_gap_is_that_of_the_mean_paired_difference() -> None:
    rng = np.random.default_rng(0)
    ours, others = rng.random(400) < 0.9, rng.random(400) < 0.8
    differences = ours.astype(float) - others
    low, high = stats.norm.interval(0.95, differences.mean(), stats.sem(differences))
    np.testing.assert_allclose(gap_interval(ours, others), [differences.mean(), low, high], atol=1e-12)


def test_gap_of_a_method_to_itself_is_nothing() -> None:
    right = np.array([True, False, True])
    assert gap_interval(right, right) == (0, 0, 0)


def test_a_single_sample_tells_nothing_of_a_gap() -> None:
    assert gap_interval(np.array([True]), np.array([True])) == (0, -1, 1)
