"""A model beside plain methods on the same samples, against scikit-learn."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.neighbors import NearestCentroid

from svqvae import SVQVAE
from svqvae.data.samples import Samples
from svqvae.evaluation import beside
from svqvae.evaluation.beside import CLASSIFIER, GIVEN, HELD_OUT, TEST, TRAINING, compare_beside, evidence_of
from svqvae.evaluation.cross_validation import baselines
from svqvae.evaluation.intervals import gap_interval, share_interval
from svqvae.fitting.fitted import Fitted

Sets = dict[str, Samples]


@pytest.fixture(scope="module")
def model_and_sets() -> tuple[SVQVAE, Sets]:
    """Return a model of five classes that overlap, one of them rare, its training samples, and others."""
    rng = np.random.default_rng(3)
    y = rng.permutation(np.repeat(list("abcde"), [40, 50, 40, 40, 12]))
    X = rng.normal(size=(5, 20))[np.unique(y, return_inverse=True)[1]] + rng.normal(size=(182, 20))
    model = SVQVAE(n_epochs=30, hidden=(24,), latent_dim=8, random_state=0).fit(X[::2], y[::2])
    fitted = model.fitted_
    return model, {TRAINING: fitted.labelled(X[::2], y[::2]), TEST: fitted.labelled(X[1::2], y[1::2])}


@pytest.fixture
def fitted(model_and_sets: tuple[SVQVAE, Sets]) -> Fitted:
    return model_and_sets[0].fitted_


@pytest.fixture
def sets(model_and_sets: tuple[SVQVAE, Sets]) -> Sets:
    return model_and_sets[1]


def test_test_samples_tell_most_and_training_samples_least() -> None:
    kinds = dict.fromkeys((TRAINING, GIVEN, HELD_OUT, TEST))
    for kind in (TEST, HELD_OUT, GIVEN, TRAINING):
        assert evidence_of(kinds) == kind
        del kinds[kind]
    assert evidence_of(kinds) is None


def test_without_samples_there_is_nothing_to_compare(fitted: Fitted) -> None:
    assert compare_beside(fitted, {}) is None


def test_accuracy_and_confusion_are_those_of_scikit_learn(model_and_sets: tuple[SVQVAE, Sets]) -> None:
    model, sets = model_and_sets
    found, labels = compare_beside(model.fitted_, sets), sets[TEST].labels
    guesses = model.predict(sets[TEST])
    assert (found["set"], found["n_samples"]) == (TEST, 91)
    assert found["methods"][0]["accuracy"] == accuracy_score(labels, guesses)
    np.testing.assert_array_equal(found["confusion"], confusion_matrix(labels, guesses))
    assert found["n_tested"].tolist() == np.unique(labels, return_counts=True)[1].tolist()
    np.testing.assert_allclose(found["right"], confusion_matrix(labels, guesses, normalize="true").diagonal())


def test_plain_methods_are_those_of_scikit_learn_on_the_same_samples(fitted: Fitted, sets: Sets) -> None:
    train, test = (fitted.units.apply(sets[kind].rows) for kind in (TRAINING, TEST))
    plain = {
        "nearest class mean": NearestCentroid(),
        "always the largest class": DummyClassifier(),
        CLASSIFIER: baselines(*train.shape, fitted.seed)[CLASSIFIER],
    }
    expected = {name: each.fit(train, sets[TRAINING].y).score(test, sets[TEST].y) for name, each in plain.items()}
    methods = compare_beside(fitted, sets)["methods"]
    assert {method["name"]: method["accuracy"] for method in methods[1:]} == pytest.approx(expected)
    accuracies = [method["accuracy"] for method in methods[1:]]
    assert accuracies == sorted(accuracies, reverse=True)


def test_intervals_are_those_of_shares_and_of_paired_differences(fitted: Fitted, sets: Sets) -> None:
    methods, own = compare_beside(fitted, sets)["methods"], sets[TEST].y
    right = fitted.recognizer().nearest(fitted.encode(sets[TEST].rows)) == own
    assert (methods[0]["low"], methods[0]["high"]) == share_interval(right.sum(), len(own))
    assert "gap" not in methods[0]
    largest = next(method for method in methods if method["name"] == "always the largest class")
    assert (largest["gap"], largest["gap_low"], largest["gap_high"]) == gap_interval(right, own == 1)


def test_most_frequent_confusions_are_the_largest_cells_off_the_diagonal(fitted: Fitted, sets: Sets) -> None:
    mixed = replace(sets[TEST], y=np.random.default_rng(0).permutation(sets[TEST].y))
    found = compare_beside(fitted, {TEST: mixed})
    matrix = found["confusion"].copy()
    np.fill_diagonal(matrix, 0)
    numbers = [row["n"] for row in found["confused"]]
    assert numbers == np.sort(matrix, axis=None)[::-1][: len(numbers)].tolist()
    assert all(row["n"] == matrix[row["class"], row["as"]] for row in found["confused"])
    assert all(row["share"] == row["n"] / found["n_tested"][row["class"]] for row in found["confused"])


def test_classes_without_test_samples_have_no_share(fitted: Fitted, sets: Sets) -> None:
    kept = sets[TEST].subset(np.flatnonzero(sets[TEST].labels != "b"))
    found = compare_beside(fitted, {TRAINING: sets[TRAINING], TEST: kept})
    assert [right is None for right in found["right"]] == [False, True, False, False, False]
    assert found["confusion"].shape == (5, 5)


def test_samples_that_the_model_was_trained_on_are_told_as_near_duplicates(fitted: Fitted, sets: Sets) -> None:
    training = sets[TRAINING]
    found = compare_beside(fitted, {TRAINING: training, TEST: training.subset(np.arange(9))})
    assert found["n_near_duplicates"] == 9
    assert compare_beside(fitted, sets)["n_near_duplicates"] == 0


@pytest.mark.parametrize("kind", [TEST, GIVEN])
def test_without_training_samples_the_means_of_the_atlas_stand_in(fitted: Fitted, sets: Sets, kind: str) -> None:
    found, whole = compare_beside(fitted, {kind: sets[TEST]}), compare_beside(fitted, sets)
    accuracies, same = ({m["name"]: m["accuracy"] for m in each["methods"]} for each in (found, whole))
    del same[CLASSIFIER]
    assert accuracies == same
    assert found["n_near_duplicates"] is None


def test_no_classifier_is_tested_on_what_it_learnt_or_trained_where_that_is_slow(
    fitted: Fitted, sets: Sets, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_training = compare_beside(fitted, {TRAINING: sets[TRAINING]})
    monkeypatch.setattr(beside, "MAX_CLASSIFIED", 5 * 91 - 1)
    of_many = compare_beside(fitted, sets)
    for found in (of_training, of_many):
        assert {method["name"] for method in found["methods"]} == {
            "svqvae",
            "nearest class mean",
            "always the largest class",
        }


def test_permuting_the_samples_changes_no_figure(fitted: Fitted, sets: Sets) -> None:
    order = np.random.default_rng(1).permutation(91)
    mixed = replace(sets[TEST], rows=sets[TEST].rows[order], y=sets[TEST].y[order])
    found, same = compare_beside(fitted, sets | {TEST: mixed}), compare_beside(fitted, sets)
    np.testing.assert_array_equal(found["confusion"], same["confusion"])
    for ours, theirs in zip(found["methods"], same["methods"], strict=True):
        assert ours == pytest.approx(theirs)
