"""Moments of classes against numpy, however the samples are parted."""

import numpy as np
import pytest

from svqvae.atlas.moments import ClassMoments

N, P, K = 5000, 6, 7


@pytest.mark.parametrize("n_parts", [1, 3, 500])
def test_moments_are_those_of_all_rows_at_once(n_parts: int) -> None:
    rng = np.random.default_rng(0)
    # Far from 0, where sums of squares would lose all digits.
    rows, y = (1e6 + rng.normal(size=(N, P))).astype(np.float64), rng.integers(0, K - 1, N)
    moments = ClassMoments(K, P)
    for part in np.array_split(np.arange(N), n_parts):
        moments.add(rows[part], y[part])
    np.testing.assert_array_equal(moments.counts, np.bincount(y, minlength=K))
    for k in range(K - 1):
        np.testing.assert_allclose(moments.means[k], rows[y == k].mean(0), rtol=1e-14)
        np.testing.assert_allclose(moments.squares[k], rows[y == k].var(0) * (y == k).sum(), rtol=1e-8)
    assert not moments.squares[K - 1].any()
    residuals = rows - moments.means[y]
    np.testing.assert_allclose(moments.within_variance, (residuals**2).sum(0) / (N - K + 1), rtol=1e-8)


def test_moments_without_rows_are_zero() -> None:
    assert not ClassMoments(2, 3).within_variance.any()
