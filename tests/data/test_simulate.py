"""Classes planted in a tree."""

import numpy as np
import pandas as pd
import pytest

from svqvae.data.simulate import plant_classes


def test_the_shapes_the_sizes_and_the_names_are_those_asked_for() -> None:
    planted = plant_classes(12, 40, sizes=(4, 90), random_state=1)
    sizes = pd.Series(planted.y).value_counts()
    assert planted.X.shape == (len(planted.y), 40)
    assert planted.X.dtype == np.float32
    assert list(planted.profiles.index) == [f"class {k:02}" for k in range(12)]
    assert (sizes.min(), sizes.max()) == (4, 90)


def test_the_variances_between_and_within_classes_are_those_asked_for() -> None:
    planted = plant_classes(40, 300, sizes=(50, 60), between_variance=0.5, within_variance=2.0)
    residuals = planted.X - planted.profiles.loc[planted.y].to_numpy()
    assert residuals.var() == pytest.approx(2.0, rel=0.1)
    # Classes share ancestors, so that their spread around their own mean is less than each one's variance.
    assert 0.2 < planted.profiles.to_numpy().var(axis=0).mean() < 0.6


@pytest.mark.parametrize("n_levels", [2, 3, 4])
def test_clades_are_nested_or_apart_and_hold_alike_classes(n_levels: int) -> None:
    planted = plant_classes(30, 978, n_levels=n_levels, random_state=2)
    assert planted.clades
    for a in planted.clades:
        assert all(a <= b or b <= a or not a & b for b in planted.clades)
    profiles = planted.profiles.to_numpy()
    distances = np.linalg.norm(profiles[:, None] - profiles, axis=2)
    names = np.array(planted.profiles.index)
    smallest = min(planted.clades, key=len)
    inside = np.isin(names, list(smallest))
    assert distances[np.ix_(inside, inside)].max() < distances[np.ix_(inside, ~inside)].min()


def test_the_same_seed_gives_the_same_data() -> None:
    a, b, other = (plant_classes(5, 20, sizes=(3, 9), random_state=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(a.X, b.X)
    assert a.clades == b.clades
    assert a.X.shape != other.X.shape or not np.array_equal(a.X, other.X)
