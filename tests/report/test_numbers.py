"""Plain numbers, against scipy."""

import json

import numpy as np
import pytest
from scipy import stats

from svqvae.report.numbers import gap_interval, plain, share_interval


@pytest.mark.parametrize("n_right, n", [(0, 10), (7, 10), (10, 10), (533, 540)])
def test_interval_of_a_share_is_wilsons(n_right: int, n: int) -> None:
    theirs = stats.binomtest(n_right, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(share_interval(n_right, n), [theirs.low, theirs.high], atol=1e-12)


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


def test_what_is_not_finite_becomes_null() -> None:
    found = plain({"a": [np.nan, -np.inf, 1.5], 3: np.array([[np.inf]]), "b": (np.int64(2), np.bool_(True))})
    assert json.loads(json.dumps(found, allow_nan=False)) == {"a": [None, None, 1.5], "3": [[None]], "b": [2, True]}


def test_what_json_does_not_know_becomes_text() -> None:
    assert plain({"kind": complex(1, 2)}) == {"kind": "(1+2j)"}
