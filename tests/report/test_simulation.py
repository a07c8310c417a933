"""Simulated samples of each class beside real ones."""

from dataclasses import replace

import numpy as np
import pytest

from svqvae.evaluation.beside import TEST, TRAINING
from svqvae.report import simulation
from svqvae.report.simulation import summarise_simulation


def test_simulation_is_compared_where_there_are_enough_real_samples(table) -> None:
    test = table.sets[TEST]
    few = test.subset(np.flatnonzero(test.labels == "a")[:4])
    assert summarise_simulation(table.fitted, {TEST: few}, seed=0) == [None] * 5
    found = summarise_simulation(table.fitted, table.sets, seed=0)
    assert [facts["set"] for facts in found] == [TEST] * 5
    assert all(facts["n_real"] == facts["n_simulated"] for facts in found)


def test_classes_with_too_few_test_samples_are_compared_with_training_samples(table) -> None:
    test = table.sets[TEST]
    sets = {TRAINING: table.sets[TRAINING], TEST: test.subset(np.flatnonzero(test.labels != "b"))}
    found = summarise_simulation(table.fitted, sets, seed=0)
    assert [facts["set"] for facts in found] == [TEST, TRAINING, TEST, TEST, TEST]


def test_figures_of_a_class_are_those_of_plain_numpy(table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "MAX_COMPARED", 12)
    test, units, spread = table.sets[TEST], table.fitted.units, table.fitted.atlas.profile_spread
    drawn = table.model.sample("b", 12, random_state=7 + 1)
    real = test.rows[test.labels == "b"][:12]
    a, b = (units.apply(rows) / spread.pooled for rows in (real, drawn))
    expected = {
        "mean_error": np.sqrt(((a.mean(0) - b.mean(0)) ** 2).mean()),
        "deviation_error": np.sqrt(((a.std(0, ddof=1) - b.std(0, ddof=1)) ** 2).mean()),
        "chance": np.sqrt(((a.var(0, ddof=1) + b.var(0, ddof=1)) / 12).mean()),
    }
    found = summarise_simulation(table.fitted, table.sets, seed=7)[1]
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_samples_of_another_class_are_farther_from_the_simulated_than_their_own(table) -> None:
    test = table.sets[TEST]
    swapped = replace(test, y=np.array([1, 0, 2, 3, 4])[test.y])
    own = summarise_simulation(table.fitted, {TEST: test}, seed=0)
    wrong = summarise_simulation(table.fitted, {TEST: swapped}, seed=0)
    assert wrong[0]["mean_error"] > 2 * own[0]["mean_error"]


def test_a_model_without_a_density_simulates_nothing(table) -> None:
    fitted = replace(table.fitted, atlas=replace(table.fitted.atlas, density=None))
    assert summarise_simulation(fitted, table.sets, seed=0) == [None] * 5
