"""Cross-validation against scikit-learn and plain numpy, and what it refuses and warns of."""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from svqvae import SVQVAE
from svqvae.cli.printing import print_comparison, verdict
from svqvae.data.samples import Samples
from svqvae.evaluation.cross_validation import (
    Comparison,
    baselines,
    cross_validate,
    make_folds,
)
from svqvae.evaluation.leakage import LeakageWarning

SLOW_BASELINE = "shrunken LDA, unit-length rows"
Planted = tuple[NDArray[np.float64], NDArray[np.str_], NDArray[np.int64]]


def tiny(**settings: Any) -> SVQVAE:
    return SVQVAE(**{"n_epochs": 2, "latent_dim": 4, "hidden": (8,)} | settings)


@pytest.fixture(scope="module")
def planted() -> Planted:
    """63 samples of three classes in groups of three; the features differ in unit."""
    rng = np.random.default_rng(0)
    groups = np.arange(63) // 3
    y = np.array(["a", "b", "c"])[groups % 3]
    X = rng.normal(size=(63, 12)) + 1.5 * (y[:, None] == np.repeat(["a", "b", "c"], 4))
    return X * np.linspace(1, 20, 12), y, groups


@pytest.fixture(scope="module")
def found(planted: Planted) -> Comparison:
    X, y, groups = planted
    return cross_validate(X, y, {"svqvae": tiny()}, groups=groups, n_folds=3, seeds=(0, 1))


def test_folds_hold_out_each_sample_once_and_part_no_group(planted: Planted) -> None:
    _, y, groups = planted
    for seed in range(5):
        folds = make_folds(y, groups, 4, seed)
        assert sorted(np.concatenate([test for _, test in folds])) == list(range(63))
        for train, test in folds:
            assert not set(groups[train]) & set(groups[test])
            assert len(train) + len(test) == 63
    assert any((a[1].tolist() != b[1].tolist()) for a, b in zip(folds, make_folds(y, groups, 4, 0), strict=True))


def test_the_model_never_sees_the_group_of_what_it_predicts(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, groups = planted
    named = np.column_stack([X, groups])
    fit, predict, seen = SVQVAE.fit, SVQVAE.predict, []

    def watched_fit(self: SVQVAE, samples: Samples, **settings: Any) -> SVQVAE:
        seen.append(set(samples.rows[:, -1]))
        assert len(np.unique(samples.groups)) == len(seen[-1])
        return fit(self, samples, **settings)

    def watched_predict(self: SVQVAE, samples: Samples) -> Any:
        assert not seen[-1] & set(samples.rows[:, -1])
        return predict(self, samples)

    monkeypatch.setattr(SVQVAE, "fit", watched_fit)
    monkeypatch.setattr(SVQVAE, "predict", watched_predict)
    cross_validate(named, y, {"svqvae": tiny(n_epochs=1)}, groups=groups, n_folds=3, seeds=[0])
    assert len(seen) == 3


def test_the_same_seed_gives_the_same_figures(planted: Planted, found: Comparison) -> None:
    X, y, groups = planted
    again = cross_validate(X, y, {"svqvae": tiny()}, groups=[f"g{g}" for g in groups], n_folds=3, seeds=range(2))
    pd.testing.assert_frame_equal(again.runs, found.runs)
    pd.testing.assert_frame_equal(again.predictions, found.predictions)


def test_folds_may_be_fitted_at_the_same_time(planted: Planted, found: Comparison) -> None:
    X, y, groups = planted
    steps: list[tuple[int, int]] = []
    again = cross_validate(
        X, y, {"svqvae": tiny()}, groups=groups, n_folds=3, seeds=[0], n_jobs=2, on_fit=lambda *n: steps.append(n)
    )
    names = [name for name in again.predictions.columns.get_level_values("method") if name != "svqvae"]
    pd.testing.assert_frame_equal(again.predictions[names], found.predictions[names].loc[:, (slice(None), [0])])
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_figures_are_those_of_the_predictions(planted: Planted, found: Comparison) -> None:
    y = planted[1]
    assert list(found.predictions.columns.names) == ["method", "seed"]
    assert found.predictions.shape == (63, 2 * (1 + len(baselines(10, 10, 0))))
    for row in found.runs.to_dict("records"):
        guess = found.predictions[row["method"], row["seed"]]
        assert set(guess) <= {"a", "b", "c"}
        assert row["accuracy"] == accuracy_score(y, guess)
        assert row["balanced_accuracy"] == balanced_accuracy_score(y, guess)
        assert row["macro_f1"] == f1_score(y, guess, average="macro", zero_division=0)


@pytest.mark.parametrize(
    ("name", "classifier"),
    [
        ("majority", DummyClassifier(strategy="most_frequent")),
        ("nearest class mean", NearestCentroid()),
        (
            SLOW_BASELINE,
            make_pipeline(Normalizer(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.9)),
        ),
    ],
)
def test_baselines_are_those_of_scikit_learn(planted: Planted, found: Comparison, name: str, classifier: Any) -> None:
    X, y, groups = planted
    for train, test in make_folds(y, groups, 3, 1):
        # Features differ in unit, so that all are brought to the same.
        unit = X[train].std(0)
        expected = classifier.fit(X[train] / unit, y[train]).predict(X[test] / unit)
        np.testing.assert_array_equal(found.predictions[name, 1].to_numpy()[test], expected)


def test_features_of_one_unit_are_left_to_baselines_as_they_are() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = rng.normal(size=(60, 6)) * np.linspace(1, 4, 6) + y[:, None]
    found = cross_validate(X, y, {"svqvae": tiny()}, n_folds=3, seeds=(0,))
    for train, test in make_folds(y, None, 3, 0):
        expected = NearestCentroid().fit(X[train], y[train]).predict(X[test])
        np.testing.assert_array_equal(found.predictions["nearest class mean", 0].to_numpy()[test], expected)


def test_every_sample_is_predicted_where_folds_differ_in_size() -> None:
    # 52 samples in 5 folds: 41 or 42 are trained on, fewer than the principal components wanted.
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(52, 80)), np.arange(52) % 2
    found = cross_validate(X, y, {}, seeds=[0])
    assert sorted(found.runs["method"]) == sorted(baselines(42, 80, 0))
    for train, test in make_folds(y, None, 5, 0):
        for name, classifier in baselines(len(train), 80, 0).items():
            expected = classifier.fit(X[train], y[train]).predict(X[test])
            np.testing.assert_array_equal(found.predictions[name, 0].to_numpy()[test], expected)


def test_profile_errors_by_brute_force(planted: Planted, found: Comparison) -> None:
    X, y, groups = planted
    errors: dict[str, list[float]] = {"svqvae": [], "nearest class mean": [], "majority": []}
    for train, test in make_folds(y, groups, 3, 0):
        profiles = tiny(random_state=0).fit(X[train], y[train]).to_atlas().profiles
        for name in np.unique(y[test]):
            held_out = X[test][y[test] == name].mean(0)
            guesses = (profiles.loc[name], X[train][y[train] == name].mean(0), X[train].mean(0))
            for method, guess in zip(errors, guesses, strict=True):
                errors[method].append((((guess - held_out) / X[train].std(0)) ** 2).mean())
    runs = found.runs[found.runs["seed"] == 0].set_index("method")["profile_error"]
    assert runs.dropna().to_dict() == pytest.approx({name: np.mean(values) for name, values in errors.items()})


def test_summary_and_dictionary_tell_the_same(found: Comparison) -> None:
    summary, by_method = found.summary(), found.to_dict()
    assert list(summary.index) == list(by_method) == ["svqvae", *baselines(10, 10, 0)]
    for name, figures in by_method.items():
        runs = found.runs[found.runs["method"] == name]
        for figure, told in figures.items():
            assert told["values"] == runs[figure].tolist()
            assert told["mean"] == pytest.approx(summary.loc[name, figure])
            assert told["std"] == pytest.approx(summary.loc[name, f"{figure}_std"])
    assert "profile_error" not in by_method["5 nearest neighbours"]
    assert json.loads(json.dumps(by_method, allow_nan=False)) == by_method


def test_planted_near_duplicates_are_told_unless_groups_keep_them_together() -> None:
    rng = np.random.default_rng(2)
    X = np.repeat(rng.normal(size=(40, 30)), 2, axis=0) + 0.01 * rng.normal(size=(80, 30))
    pairs = np.arange(80) // 2
    y = pairs % 2
    with pytest.warns(LeakageWarning, match=r"6\d of 80 held-out samples have a near-duplicate .* with `groups`"):
        found = cross_validate(X, y, {}, n_folds=4, seeds=[0])
    partners = sum(np.isin(pairs[test], pairs[train]).sum() for train, test in make_folds(y, None, 4, 0))
    assert found.n_near_duplicates == partners
    assert cross_validate(X, y, {}, groups=pairs, n_folds=4, seeds=[0]).n_near_duplicates == 0


def test_measurements_of_few_features_are_not_taken_for_duplicates() -> None:
    X, y = load_wine(return_X_y=True)
    assert cross_validate(X, y, {}, seeds=[0]).n_near_duplicates == 0


def test_random_labels_are_recognised_by_chance_only() -> None:
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(300, 10)), rng.integers(3, size=300)
    summary = cross_validate(X, y, {"svqvae": tiny(n_epochs=5)}, n_folds=3, seeds=(0, 1)).summary()
    assert summary["balanced_accuracy"].between(0.25, 0.42).all()


def test_planted_classes_are_recognised(found: Comparison) -> None:
    summary = found.summary()
    assert summary.loc["nearest class mean, unit-length rows", "accuracy"] > summary.loc["majority", "accuracy"] + 0.2
    assert summary.loc["nearest class mean", "profile_error"] < summary.loc["majority", "profile_error"]


def test_images_are_folded_as_images() -> None:
    rng = np.random.default_rng(5)
    y = np.arange(40) % 2 == 0
    images = rng.random((40, 8, 8)) + y[:, None, None] * np.tri(8)
    model = SVQVAE(architecture="conv", latent_dim=4, n_epochs=2)
    found = cross_validate(images, y, {"svqvae": model}, n_folds=2, seeds=[0])
    (train, test), _ = make_folds(y, None, 2, 0)
    model.set_params(random_state=0).fit(images[train], y[train])
    np.testing.assert_array_equal(found.predictions["svqvae", 0].to_numpy()[test], model.predict(images[test]))
    assert found.predictions["majority", 0].dtype == bool


def test_counts_are_compared_by_their_shares() -> None:
    rng = np.random.default_rng(6)
    y = np.arange(60) % 2
    depths = rng.integers(1, 30, size=60)[:, None]
    counts = rng.poisson(depths * (1 + 3 * (y[:, None] == np.arange(10) % 2)))
    counts[:, 0] += 1
    model = tiny(likelihood="negative_binomial", n_epochs=10)
    found = cross_validate(counts, y, {"svqvae": model}, n_folds=2, seeds=[0])
    shares = counts / counts.sum(1, keepdims=True)
    errors = []
    for train, test in make_folds(y, None, 2, 0):
        spread = np.log1p(1e4 * shares[train]).std(0)
        for k in (0, 1):
            a, b = (np.log1p(1e4 * shares[part][y[part] == k].mean(0)) for part in (train, test))
            errors.append((((a - b) / spread) ** 2).mean())
    runs = found.runs.set_index("method")
    assert runs.loc["nearest class mean", "profile_error"] == pytest.approx(np.mean(errors))
    assert runs.loc["svqvae", "profile_error"] < runs.loc["majority", "profile_error"]


@pytest.mark.parametrize("grouped", [False, True])
def test_classes_with_fewer_samples_or_groups_than_folds_work(planted: Planted, grouped: bool) -> None:
    X, y, groups = (part.copy() for part in planted)
    y[0], y[3:5], y[6:9] = "rare", "two", "one group"
    X = X.astype(np.float32)
    found = cross_validate(X, y, {"svqvae": tiny()}, groups=groups if grouped else None, n_folds=4, seeds=[0])
    assert set(found.predictions["svqvae", 0]) <= set(y)
    assert (found.predictions.loc[0] != "rare").all()
    assert found.runs["balanced_accuracy"].between(0, 1).all()


def test_profiles_of_classes_never_trained_on_have_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(7)
    y = np.repeat(["a", "b", "c"], 6)
    found = cross_validate(rng.normal(size=(18, 5)), y, {"svqvae": tiny()}, groups=y, n_folds=3, seeds=[0])
    assert found.runs["profile_error"].isna().all()
    assert (found.runs["accuracy"] == 0).all()
    assert set(found.to_dict()["svqvae"]) == {"accuracy", "balanced_accuracy", "macro_f1"}
    print_comparison(found, "18 samples [held out]")
    assert "18 samples [held out]" in capsys.readouterr().out


def test_a_wide_table_with_names_and_labels_of_any_kind(planted: Planted) -> None:
    X, y, _ = planted
    wide = pd.DataFrame(np.tile(X, 300), columns=[f"gene {j}" for j in range(3600)])
    texts = cross_validate(wide, pd.Categorical(y), {}, n_folds=2, seeds=[0])
    numbers = cross_validate(wide, np.searchsorted(["a", "b", "c"], y), {}, n_folds=2, seeds=[0])
    pd.testing.assert_frame_equal(texts.runs, numbers.runs)
    assert set(texts.runs["method"]) == set(baselines(31, 3600, 0)) == set(baselines(31, 12, 0)) - {SLOW_BASELINE}


def test_each_fold_is_told(planted: Planted) -> None:
    X, y, _ = planted
    told: list[tuple[int, int]] = []
    cross_validate(X, y, {}, n_folds=2, seeds=(3, 4), on_fit=lambda *step: told.append(step))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_an_interruption_ends_the_whole(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def impatient(is_shown: bool) -> Iterator[Callable[..., None]]:
        def on_epoch(*_: object) -> None:
            raise KeyboardInterrupt

        yield on_epoch

    monkeypatch.setattr("svqvae.estimator.epoch_bar", impatient)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(*planted[:2], {"svqvae": tiny()}, n_folds=2, seeds=[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_folds": 1}, "`n_folds` must be a whole number from 2 to 21, the number of samples of the largest class"),
        ({"n_folds": 22}, "`n_folds` must be .* got 22"),
        ({"n_folds": 2.0}, "`n_folds` must be .* got 2.0"),
        ({"n_folds": 7, "groups": np.arange(63) % 6}, "`n_folds` must be .* to 6, the number of groups; got 7"),
        ({"seeds": ()}, r"`seeds` must hold one or more different whole numbers from 0, such as \(0, 1\); got \(\)"),
        ({"seeds": 0}, "`seeds` must hold .* got 0"),
        ({"seeds": (1, 1)}, "`seeds` must hold .* different"),
        ({"seeds": (-1,)}, "`seeds` must hold"),
        ({"y": ["a"] * 63}, "`y` must hold at least 2 classes; got 1 class, 'a'"),
        ({"y": ["a"] * 62}, "`y` must have a label for each of the 63 samples of `X`; got 62"),
        ({"groups": [1, 2]}, "`groups` must name a group for each of 63 samples; got 2"),
        ({"models": {"majority": SVQVAE()}}, "`models` must have other names than the baselines; got 'majority'"),
        ({"models": {"m": SVQVAE(geometry="flat")}}, "`geometry` must be one of"),  # type: ignore[arg-type]
        ({"models": {"m": SVQVAE(likelihood="negative_binomial")}}, "`X` must hold counts"),
        ({"X": np.full((63, 2), "x")}, "'numeric'"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(planted: Planted, changes: dict[str, Any], message: str) -> None:
    X, y, _ = planted
    arguments: dict[str, Any] = {"X": X, "y": y, "models": {"svqvae": tiny()}, "n_folds": 3, "seeds": [0]} | changes
    with pytest.raises(ValueError, match=message):
        cross_validate(**arguments)


def test_groups_must_leave_two_classes_to_train_on() -> None:
    y = np.repeat(["a", "b"], [9, 6])
    groups = np.where(y == "a", np.arange(15) // 3, 9)
    with pytest.raises(ValueError, match=r"`groups` must leave two classes to train on .* got a fold with 'a' alone"):
        cross_validate(np.random.default_rng(0).normal(size=(15, 3)), y, {}, groups=groups, n_folds=3, seeds=[0])
    with pytest.raises(ValueError, match="`n_folds` must leave more samples to train on than classes; got 2 of 2"):
        make_folds(np.array(["a", "a", "b", "b"]), None, 2, 0)
    with pytest.raises(ValueError, match="`y` must hold at least 2 classes; got 'a'"):
        make_folds(np.array(["a", "a"]), None, 2, 0)


def test_missing_values_are_told_as_by_the_estimator(planted: Planted) -> None:
    X = pd.DataFrame(planted[0].copy(), columns=[f"gene {j}" for j in range(12)])
    X.iloc[4, 2] = np.nan
    with pytest.raises(ValueError, match=r"`X` must be finite; got 1 NaN .* row 4, feature 'gene 2'") as ours:
        cross_validate(X, planted[1], {"svqvae": tiny()}, n_folds=3, seeds=[0])
    with pytest.raises(ValueError, match="`X` must be finite") as theirs:
        tiny().fit(X, planted[1])
    assert str(ours.value) == str(theirs.value)


def test_models_for_counts_are_not_compared_with_others() -> None:
    counts = np.random.default_rng(0).poisson(5, size=(20, 4))
    models = {"counts": tiny(likelihood="negative_binomial"), "plain": tiny()}
    with pytest.raises(ValueError, match="`models` must all be for counts or none"):
        cross_validate(counts, np.arange(20) % 2, models, seeds=[0])


@pytest.mark.parametrize(
    ("ours", "sentence"),
    [
        ([0.9, 0.8], "svqvae is more accurate than the best baseline, b, by 0.150 ± 0.071 over 2 seeds."),
        ([0.6, 0.6], "svqvae is less accurate than the best baseline, b, by 0.100 ± 0.000 over 2 seeds."),
        ([0.7, 0.7], "svqvae is as accurate as the best baseline, b: a difference of 0.000 ± 0.000 over 2 seeds."),
        ([0.8], "svqvae is more accurate than the best baseline, b, by 0.100 with one seed."),
    ],
)
def test_the_verdict_names_the_best_baseline_and_the_spread(ours: list[float], sentence: str) -> None:
    accuracies = {"svqvae": ours, "a": [0.75, 0.5], "b": [0.7, 0.7]} if len(ours) > 1 else {"svqvae": ours, "b": [0.7]}
    rows = [
        {"method": name, "seed": seed, "accuracy": value, "balanced_accuracy": 0, "macro_f1": 0, "profile_error": 0}
        for name, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    assert verdict(Comparison(pd.DataFrame(rows), pd.DataFrame(), 0)) == sentence


def test_nothing_is_warned_of_on_sound_data(planted: Planted) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cross_validate(*planted[:2], {"svqvae": tiny()}, n_folds=3, seeds=[0])
    assert not [str(warning.message) for warning in caught]
