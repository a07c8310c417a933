"""What takes samples to know, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.neighbors import NearestCentroid

from svqvae.report.samples import (
    GIVEN,
    HELD_OUT,
    TEST,
    TRAINING,
    SampleSet,
    evidence_of,
    summarise_accuracy,
    summarise_simulation,
)


def test_test_samples_tell_most_and_training_samples_least() -> None:
    sets = dict.fromkeys((TRAINING, GIVEN, HELD_OUT, TEST))
    for kind in (TEST, HELD_OUT, GIVEN, TRAINING):
        assert evidence_of(sets) == kind
        del sets[kind]
    assert evidence_of(sets) is None


def test_accuracy_and_confusion_are_those_of_scikit_learn(table) -> None:
    found, test = table.summary["accuracy"], table.sets[TEST]
    guesses = table.model.predict(test.X)
    assert found["methods"][0]["accuracy"] == accuracy_score(test.y, guesses)
    np.testing.assert_array_equal(found["confusion"], confusion_matrix(test.y, guesses))
    assert found["n_tested"] == np.unique(test.y, return_counts=True)[1].tolist()


def test_plain_methods_are_measured_on_the_same_samples(table) -> None:
    methods = {method["name"]: method for method in table.summary["accuracy"]["methods"]}
    training, test = table.sets[TRAINING], table.sets[TEST]
    scale = training.X.std(ddof=0)
    plain = NearestCentroid().fit(training.X / scale, training.y)
    assert methods["nearest class mean"]["accuracy"] == pytest.approx(plain.score(test.X / scale, test.y), abs=0.03)
    largest = training.y == max(table.summary["classes"], key=lambda facts: facts["count"])["name"]
    assert largest.any()
    gaps = [method["gap"] for method in methods.values() if "gap" in method]
    ours = methods["svqvae"]["accuracy"]
    np.testing.assert_allclose(gaps, [ours - m["accuracy"] for m in methods.values() if "gap" in m], atol=1e-12)
    assert len(methods) == 4


def test_most_frequent_confusions_are_the_largest_cells_off_the_diagonal(table) -> None:
    test = table.sets[TEST]
    shuffled = SampleSet(test.X, np.random.default_rng(0).permutation(test.y))
    found = summarise_accuracy(table.model, {TEST: shuffled})
    matrix = np.array(found["confusion"])
    np.fill_diagonal(matrix, 0)
    numbers = [row["n"] for row in found["confused"]]
    assert numbers == np.sort(matrix, axis=None)[::-1][: len(numbers)].tolist()
    assert all(row["n"] == matrix[row["class"], row["as"]] for row in found["confused"])


def test_classes_without_test_samples_have_no_share(table) -> None:
    training, test = table.sets[TRAINING], table.sets[TEST]
    kept = test.y != "b"
    found = summarise_accuracy(table.model, {TRAINING: training, TEST: SampleSet(test.X[kept], test.y[kept])})
    assert [right is None for right in found["right"]] == [name == "b" for name in table.model.classes_]


def test_samples_that_the_model_was_trained_on_are_told_as_near_duplicates(table) -> None:
    training = table.sets[TRAINING]
    found = summarise_accuracy(table.model, {TRAINING: training, TEST: SampleSet(training.X[:9], training.y[:9])})
    assert found["n_near_duplicates"] == 9


def test_simulation_is_compared_where_there_are_enough_real_samples(table) -> None:
    test = table.sets[TEST]
    few = np.flatnonzero(test.y == "a")[:4]
    found = summarise_simulation(table.model, {TEST: SampleSet(test.X.iloc[few], test.y[few])}, seed=0)
    assert found == [None] * 5
    found = summarise_simulation(table.model, table.sets, seed=0)
    assert [facts["set"] for facts in found] == [TEST] * 5
    assert all(facts["n_real"] == facts["n_simulated"] for facts in found)


def test_samples_of_another_class_are_farther_from_the_simulated_than_their_own(table) -> None:
    test = table.sets[TEST]
    swapped = np.where(test.y == "a", "b", np.where(test.y == "b", "a", test.y))
    own = summarise_simulation(table.model, {TEST: test}, seed=0)
    wrong = summarise_simulation(table.model, {TEST: SampleSet(test.X, swapped)}, seed=0)
    assert wrong[0]["mean_error"] > 2 * own[0]["mean_error"]
