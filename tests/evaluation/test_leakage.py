"""Near-duplicates are counted where they were planted, and not where chance brings samples close."""

import numpy as np
import pytest

from svqvae.evaluation.leakage import count_near_duplicates

Y, TRAIN, TEST = np.arange(400) % 4, np.arange(200), np.arange(200, 400)


def rows_with(n_planted: int, n_features: int = 30) -> np.ndarray:
    """400 samples, of which the second half repeats some of the first, with noise of a hundredth."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(400, n_features))
    rows[200 : 200 + n_planted] = rows[:n_planted] + 0.01 * rng.normal(size=(n_planted, n_features))
    return rows


@pytest.mark.parametrize("n_features", [1, 2, 30])
def test_samples_that_are_close_by_chance_are_no_duplicates(n_features: int) -> None:
    rng = np.random.default_rng(3)
    rows, y = rng.normal(size=(400, n_features)) * np.geomspace(1, 1000, n_features), np.arange(400) % 4
    train, test = np.arange(200), np.arange(200, 400)
    assert count_near_duplicates(rows.__getitem__, y, [(train, test)]) <= 1
    rows[200:250] = rows[:50]
    assert 50 <= count_near_duplicates(rows.__getitem__, y, [(train, test)]) <= 51


def test_of_many_samples_a_part_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("svqvae.evaluation.leakage.MAX_LOOKED_AT", 25)
    rows = np.tile(np.random.default_rng(0).normal(size=(50, 20)), (2, 1))
    assert count_near_duplicates(rows.__getitem__, np.arange(100) % 2, [(np.arange(50), np.arange(50, 100))]) == 50


@pytest.mark.parametrize("n_planted", [0, 1, 80])
def test_planted_near_duplicates_are_counted(n_planted: int) -> None:
    assert count_near_duplicates(rows_with(n_planted).__getitem__, Y, [(TRAIN, TEST)]) == n_planted


def test_near_duplicates_within_a_part_are_none() -> None:
    rows = rows_with(80)
    rows[100:180] = rows[:80]
    assert count_near_duplicates(rows.__getitem__, Y, [(TRAIN[80:100], TEST), (TEST[80:], TRAIN)]) == 0


def test_each_split_counts_by_itself() -> None:
    take = rows_with(80).__getitem__
    assert count_near_duplicates(take, Y, [(TRAIN, TEST), (TEST, TRAIN)]) == 160


def test_the_unit_of_a_feature_and_the_order_of_classes_change_nothing() -> None:
    rows = rows_with(80)
    moved = rows * np.geomspace(1e-3, 1e3, 30) + 1e4
    assert count_near_duplicates(moved.__getitem__, 3 - Y, [(TRAIN, TEST)]) == 80


def test_rows_are_taken_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("svqvae.evaluation.leakage.CHUNK", 33)
    rows, asked = rows_with(80), []
    assert count_near_duplicates(lambda part: asked.append(len(part)) or rows[part], Y, [(TRAIN, TEST)]) == 80
    # The held-out samples and those that tell the spread come at once, since they are few.
    assert sorted(asked)[-2:] == [200, 400]
    assert max(sorted(asked)[:-2]) == 33


def test_no_samples_have_no_near_duplicates() -> None:
    assert count_near_duplicates(np.empty((0, 3)).__getitem__, Y[:0], []) == 0
