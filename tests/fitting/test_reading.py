"""Held-out samples: shares, groups and seeds."""

import numpy as np
import pytest

from svqvae.fitting.reading import split_validation

SIZES = [40, 20, 10, 3, 1]
Y = np.random.default_rng(0).permutation(np.repeat(np.arange(5), SIZES))


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_each_class_gives_its_share(fraction: float) -> None:
    _, validation = split_validation(Y, None, fraction, seed=0)
    expected = [min(round(fraction * size), size - 1) for size in SIZES]
    np.testing.assert_array_equal(np.bincount(Y[validation], minlength=5), expected)


@pytest.mark.parametrize("groups", [None, np.arange(len(Y)) // 3])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.99])
def test_each_row_is_on_one_side_in_rising_order(groups, fraction: float) -> None:
    train, validation = split_validation(Y, groups, fraction, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(len(Y)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()


@pytest.mark.parametrize("groups", [None, np.arange(len(Y)) // 3])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
def test_every_class_keeps_samples_to_learn_from(groups, fraction: float) -> None:
    for seed in range(20):
        train, _ = split_validation(Y, groups, fraction, seed)
        np.testing.assert_array_equal(np.unique(Y[train]), np.arange(5))


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99])
def test_a_class_of_one_sample_stays_in_training(fraction: float) -> None:
    _, validation = split_validation(Y, None, fraction, seed=0)
    assert 4 not in Y[validation]


@pytest.mark.parametrize("groups", [None, np.arange(len(Y))])
def test_nothing_is_held_out_where_nothing_is_asked(groups) -> None:
    train, validation = split_validation(Y, groups, 0.0, seed=0)
    assert len(train) == len(Y)
    assert len(validation) == 0


def test_groups_stay_whole() -> None:
    # Every group holds every class, so no class can be lost.
    y, groups = np.tile(np.arange(3), 40), np.repeat(np.arange(20), 6)
    for seed in range(20):
        train, validation = split_validation(y, groups, 0.3, seed)
        assert not set(groups[train]) & set(groups[validation])
        assert len(validation) == pytest.approx(0.3 * len(y), abs=6)


def test_a_group_of_a_lost_class_and_others_stays_whole() -> None:
    # Class 2 lives in group 0 alone, together with samples of class 0.
    y, groups = np.array([0, 0, 2, 2, 0, 0, 1, 1, 0, 0, 1, 1]), np.repeat([0, 1, 2], 4)
    for seed in range(20):
        train, validation = split_validation(y, groups, 0.4, seed)
        assert not set(groups[train]) & set(groups[validation])


def test_a_class_that_would_lose_all_its_groups_keeps_its_samples() -> None:
    # Each class is one group of its own.
    y = np.repeat(np.arange(4), 5)
    train, validation = split_validation(y, y, 0.5, seed=0)
    assert len(train) == len(y)
    assert len(validation) == 0


def test_a_group_beyond_the_share_is_not_held_out() -> None:
    y, groups = np.tile([0, 1], 50), np.repeat([0, 1], [98, 2])
    for seed in range(10):
        assert len(split_validation(y, groups, 0.1, seed)[1]) <= 2


def test_the_seed_decides_the_split() -> None:
    for groups in (None, np.arange(len(Y)) // 3):
        first, again = (split_validation(Y, groups, 0.3, seed=5)[1] for _ in range(2))
        np.testing.assert_array_equal(first, again)
        others = {tuple(split_validation(Y, groups, 0.3, seed)[1]) for seed in range(10)}
        assert len(others) > 5


def test_every_sample_of_a_class_may_be_held_out() -> None:
    seen = {int(row) for seed in range(60) for row in split_validation(Y, None, 0.25, seed)[1]}
    assert seen == set(np.flatnonzero(Y < 4))
