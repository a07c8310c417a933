"""Simulated samples are judged beside plain ways to simulate."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from svqvae import SVQVAE
from svqvae.data.simulate import plant_classes
from svqvae.evaluation import simulation
from svqvae.evaluation.simulation import simulation_quality

Parts = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grow a tenth of the trees, for speed."""
    monkeypatch.setattr(simulation, "RandomForestClassifier", lambda n, **rest: RandomForestClassifier(n // 10, **rest))


@pytest.fixture(scope="module")
def parts() -> Parts:
    """Return training samples and labels, test samples and labels."""
    planted = plant_classes(4, 30, n_levels=2, sizes=(60, 90))
    train = np.arange(len(planted.y)) % 2 == 0
    return planted.X[train], planted.y[train], planted.X[~train], planted.y[~train]


@pytest.fixture(scope="module")
def model(parts: Parts) -> SVQVAE:
    return SVQVAE(n_epochs=20, random_state=0).fit(*parts[:2])


@pytest.fixture
def table(model: SVQVAE, parts: Parts) -> pd.DataFrame:
    return simulation_quality(model, *parts)


def test_simulated_samples_are_judged_beside_plain_ways_to_simulate(table: pd.DataFrame) -> None:
    assert list(table.index) == ["svqvae", "resampled rows", "gaussian on features", "real"]
    assert table.loc["resampled rows", "copied"] == 0
    assert table.loc["svqvae", "copied"] > 0.5
    assert table["accuracy"].between(0, 1).all()
    assert table["detected"].between(0, 1).all()
    assert abs(table.loc["real", "detected"] - 0.5) < 0.1


def test_noise_that_is_too_large_is_detected(model: SVQVAE, parts: Parts, table: pd.DataFrame) -> None:
    noisy = SVQVAE.of_fitted(replace(model.fitted_, noise=10 * model.fitted_.noise))
    worse = simulation_quality(noisy, *parts)
    assert worse.loc["svqvae", "detected"] > table.loc["svqvae", "detected"]
    assert worse.loc["svqvae", "deviation_error"] > table.loc["svqvae", "deviation_error"]


def test_the_same_seed_gives_the_same_figures(model: SVQVAE, parts: Parts, table: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(simulation_quality(model, *parts), table)
    assert not simulation_quality(model, *parts, random_state=1).loc["svqvae"].equals(table.loc["svqvae"])


def test_moment_errors_of_the_training_samples_are_those_of_plain_numpy(
    model: SVQVAE, parts: Parts, table: pd.DataFrame
) -> None:
    train, test = (model.fitted_.units.apply(rows).astype(np.float64) for rows in (parts[0], parts[2]))
    of_class = [(train[parts[1] == name], test[parts[3] == name]) for name in model.classes_]
    unit = np.concatenate([b - b.mean(0) for _, b in of_class]).std(0)
    assert (unit > 0.1 * np.sqrt((unit**2).mean())).all()
    means, deviations = ([(f(a) - f(b)) / unit for a, b in of_class] for f in (lambda x: x.mean(0), lambda x: x.std(0)))
    assert table.loc["real", "mean_error"] == pytest.approx(np.sqrt(np.mean(np.square(means))), rel=1e-4)
    assert table.loc["real", "deviation_error"] == pytest.approx(np.sqrt(np.mean(np.square(deviations))), rel=1e-4)


def test_each_class_must_have_enough_samples(model: SVQVAE, parts: Parts) -> None:
    X_train, y_train, X_test, y_test = parts
    with pytest.raises(
        ValueError, match=r"`y_test` must hold at least 5 samples of each class .*; 'class 0' has fewer"
    ):
        simulation_quality(model, X_train, y_train, X_test[:1], y_test[:1])
    own = y_train != "class 0"
    with pytest.raises(ValueError, match=r"`y_train` must hold at least 1 samples of each class .*; 'class 0' has"):
        simulation_quality(model, X_train[own], y_train[own], X_test, y_test)


def test_classes_that_the_model_does_not_know_are_refused(model: SVQVAE, parts: Parts) -> None:
    y_test = np.where(parts[3] == "class 1", "another", parts[3])
    with pytest.raises(ValueError, match=r"`y_test` must hold classes of the fit; got .*another"):
        simulation_quality(model, *parts[:3], y_test)
