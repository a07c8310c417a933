"""Cross-validation of a model beside plain classifiers, whole groups held out."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from svqvae import parameters
from svqvae.data.samples import Samples, read_samples, read_unlabelled
from svqvae.data.units import UNITS, Units
from svqvae.estimator import SVQVAE
from svqvae.evaluation.folding import Folded, Index, Labels
from svqvae.evaluation.leakage import LeakageWarning, count_near_duplicates
from svqvae.wording import list_some

# Called with the folds done, and their number in all.
OnFit = Callable[[int, int], None]
N_COMPONENTS, SHRINKAGE, N_NEIGHBORS = 50, 0.9, 5
# Features up to which there is an LDA: its time grows with their cube.
MAX_COVARIANCE = 2000
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "profile_error")


@dataclass(frozen=True)
class Comparison:
    """What `cross_validate` found.

    Attributes
    ----------
    runs
        One row per method and seed: ``method``, ``seed``, ``accuracy``, ``balanced_accuracy``, ``macro_f1``, and
        ``profile_error``, NaN for methods without profiles. See `cross_validate`.
    predictions
        What was predicted for each sample while it was held out, one row per sample; columns: method and seed.
    n_near_duplicates
        Held-out samples with a near-duplicate among the training samples, in the folds of the first seed.
    n_plain
        Most training samples that the plain classifiers were fitted on in a fold, where data on disk have more of
        them; None where they were fitted on all.
    """

    runs: pd.DataFrame
    predictions: pd.DataFrame
    n_near_duplicates: int
    n_plain: int | None = None

    def summary(self) -> pd.DataFrame:
        """Return the mean of each figure over seeds, and ``…_std``, its standard deviation, one row per method.

        A single seed has no spread: NaN.
        """
        runs = self.runs.drop(columns="seed").groupby("method", sort=False)
        return runs.mean().join(runs.std().add_suffix("_std"))

    def to_dict(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return by method and figure the mean, the standard deviation and the values of all seeds, for JSON."""
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for method in self.runs["method"].unique():
            runs = self.runs[self.runs["method"] == method]
            for figure in FIGURES:
                values = runs[figure].to_numpy(dtype=np.float64)
                if np.isfinite(values).all():
                    std = float(values.std(ddof=1)) if len(values) > 1 else None
                    figures = {"mean": float(values.mean()), "std": std, "values": values.tolist()}
                    found.setdefault(method, {})[figure] = figures
        return found


def baselines(n_samples: int, n_features: int, seed: int) -> dict[str, BaseEstimator]:
    """Return the plain classifiers to compare with, by name.

    Those that measure distances or lengths suit features of one unit: give them rows whose features have been divided
    by their standard deviations where these differ much. From 2,001 features on the LDA is left out: its covariance
    takes too long.

    Parameters
    ----------
    n_samples, n_features
        Of the training data; there are at most as many principal components.
    seed
        Of the principal components.

    Examples
    --------
    >>> list(baselines(100, 20, 0))[:2]
    ['majority', 'nearest class mean']
    """
    n_components = min(N_COMPONENTS, n_samples - 1, n_features)
    found: dict[str, BaseEstimator] = {
        "majority": DummyClassifier(strategy="most_frequent"),
        "nearest class mean": NearestCentroid(),
        "nearest class mean, unit-length rows": make_pipeline(Normalizer(), NearestCentroid()),
        "logistic regression, principal components": make_pipeline(
            StandardScaler(), PCA(n_components, random_state=seed), LogisticRegression(max_iter=3000)
        ),
        "logistic regression, unit-length rows": make_pipeline(Normalizer(), LogisticRegression(C=10, max_iter=3000)),
        "shrunken LDA, unit-length rows": make_pipeline(
            Normalizer(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
        ),
        f"{N_NEIGHBORS} nearest neighbours": KNeighborsClassifier(min(N_NEIGHBORS, n_samples)),
    }
    if n_features > MAX_COVARIANCE:
        del found["shrunken LDA, unit-length rows"]
    return found


def cross_validate(
    X: Any,
    y: Any,
    models: Mapping[str, SVQVAE],
    *,
    groups: Any = None,
    unlabelled: Any = None,
    unlabelled_groups: Any = None,
    n_folds: int = 5,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    n_jobs: int = 1,
    on_fit: OnFit | None = None,
) -> Comparison:
    """Predict each sample by models that have not seen it or its group, beside plain classifiers on the same folds.

    Folds keep the shares of the classes as far as whole groups let them. The seed decides folds and model.

    Parameters
    ----------
    X : (n, n_features) array, DataFrame or sparse matrix, images, or rows on disk
        Rows on disk stay there: the models read them as they are needed, and the plain classifiers are fitted on as
        many training samples, drawn at random, as take half a gibibyte.
    y : (n,), at least two classes
    models
        Unfitted models by name; cloned for each fit. Either all or none of them are for counts.
    groups : (n,), samples that must stay together, or None
    unlabelled, unlabelled_groups
        Samples without a label, and which of them should be alike; the models have them in each fold, see
        `SVQVAE.fit`. The baselines cannot use them.
    n_folds
        Number of folds.
    seeds
        One whole cross-validation each.
    n_jobs
        Folds fitted at the same time, each in a process of its own; -1 is one for each core. Processes share the cores,
        and with another number of threads the last bits of sums may differ.
    on_fit
        Called after each fold with the folds done and their number in all.

    Returns
    -------
    Comparison
        Figures of a seed are those of all samples, each predicted once. ``profile_error``: the mean squared difference
        per feature, in standard deviations of the training samples, between the profile of a class and the mean of its
        held-out samples; averaged over all pairs of a fold and a class in it that was trained on. For the baselines
        that is the class mean of the training samples ("nearest class mean") and the mean of all ("majority"). Counts
        are brought to log(1 + 10,000 × share) for the baselines; means are those of the shares.

    Raises
    ------
    ValueError
        Where data, settings or folds break a rule; the message says which, what was seen and what to do.

    Warns
    -----
    LeakageWarning
        Where more than one held-out sample in a hundred has a near-duplicate among the training samples.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> X, y = X[:100], y[:100]
    >>> found = cross_validate(X, y, {"svqvae": SVQVAE(n_epochs=2)}, n_folds=2, seeds=[0])
    >>> float(found.summary().loc["nearest class mean", "accuracy"])
    1.0
    """
    seeds = _check_seeds(seeds)
    samples = read_samples(X, y, groups=groups, are_labelled=True)
    y, groups = samples.labels, samples.groups
    units = _check_models(models)
    _check_units(models, samples)
    splits = {seed: make_folds(y, groups, n_folds, seed) for seed in seeds}
    are_images = len(samples.sample_shape) > 1 or any(model.image_shape is not None for model in models.values())
    data = Folded(samples, units, are_images or samples.image_shape is not None)
    n_near = count_near_duplicates(data.plain, y, splits[seeds[0]])
    if n_near > 0.01 * len(y):
        warnings.warn(
            f"{n_near} of {len(y)} held-out samples have a near-duplicate among the training samples: figures are too "
            "good. Name what belongs together, such as the compound or the donor, with `groups`.",
            LeakageWarning,
            stacklevel=2,
        )
    others = read_unlabelled(unlabelled, unlabelled_groups, None)
    tasks = [(seed, *split) for seed, folds in splits.items() for split in folds]
    work = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_fit_all)(models, data, others, train, test, seed) for seed, train, test in tasks
    )
    guesses: dict[tuple[str, int], Labels] = {}
    errors: dict[tuple[str, int], list[NDArray[np.float64]]] = {}
    for n_done, ((seed, _, test), fitted) in enumerate(zip(tasks, work, strict=True), start=1):
        for name, guess, error in fitted:
            guesses.setdefault((name, seed), np.empty_like(y))[test] = guess
            errors.setdefault((name, seed), []).append(error)
        if on_fit is not None:
            on_fit(n_done, len(tasks))
    runs = []
    for (name, seed), guess in guesses.items():
        pooled = np.concatenate(errors[name, seed])
        profile_error = float(pooled.mean()) if len(pooled) else np.nan
        runs.append({"method": name, "seed": seed, **_figures(y, guess), "profile_error": profile_error})
    predictions = pd.DataFrame(guesses).rename_axis(columns=["method", "seed"])
    is_part = data.n_most < max(len(train) for _, train, _ in tasks)
    return Comparison(pd.DataFrame(runs), predictions, n_near, data.n_most if is_part else None)


def make_folds(
    y: Labels, groups: NDArray[np.int64] | None, n_folds: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the rows to train on and the rows held out of each fold, whole groups together.

    Examples
    --------
    >>> folds = make_folds(np.array(list("aaabbb")), np.array([0, 0, 1, 2, 2, 3]), 2, 0)
    >>> sorted(test.tolist() for _, test in folds)
    [[0, 1, 5], [2, 3, 4]]
    """
    names, counts = np.unique(y, return_counts=True)
    if len(names) < 2:
        raise ValueError(f"`y` must hold at least 2 classes; got {list_some(names) or 'none'}.")
    most, what = int(counts.max()), "samples of the largest class"
    if groups is not None and len(np.unique(groups)) < most:
        most, what = len(np.unique(groups)), "groups"
    if most < 2:
        rule = "`groups` must name" if what == "groups" else "the largest class of `y` must have"
        raise ValueError(f"{rule} at least 2 {what.split()[0]}; got {most}. Nothing can be held out.")
    if not isinstance(n_folds, int | np.integer) or not 2 <= n_folds <= most:
        raise ValueError(f"`n_folds` must be a whole number from 2 to {most}, the number of {what}; got {n_folds!r}.")
    folds = StratifiedKFold if groups is None else StratifiedGroupKFold
    with warnings.catch_warnings():
        # That rare classes miss in some folds is told by whoever reads the figures by class.
        warnings.filterwarnings("ignore", "The least populated class")
        splits = list(folds(n_folds, shuffle=True, random_state=seed).split(np.zeros(len(y)), y, groups))
    cause, remedy = ("n_folds", "Use more folds") if groups is None else ("groups", "Use other folds or finer groups")
    for train, test in splits:
        left = np.unique(y[train])
        if len(left) < 2 or not len(test):
            seen = f"a fold with {list_some(left)} alone" if len(test) else "a fold that holds out none"
            raise ValueError(f"`{cause}` must leave two classes to train on in each fold; got {seen}. {remedy}.")
        if len(train) <= len(left):
            raise ValueError(
                f"`{cause}` must leave more samples to train on than classes; got {len(train)} of {len(left)} classes. "
                f"{remedy}."
            )
    return splits


def _fit_all(
    models: Mapping[str, SVQVAE], data: Folded, others: Samples | None, train: Index, test: Index, seed: int
) -> list[tuple[str, Labels, NDArray[np.float64]]]:
    """Return name, predictions and errors of the profiles of each model and baseline in one fold."""
    y, scaler, survey = data.y, StandardScaler(), data.survey()
    for _, values in data.plain_parts(train):
        scaler.partial_fit(values)
        if survey is not None:
            survey.add(values)
    held_out = data.class_means(test, y[test])
    found = []
    for name, model in models.items():
        with warnings.catch_warnings():
            # Codes that do not stand for their class show in the figures.
            warnings.simplefilter("ignore")
            fitted = clone(model).set_params(random_state=seed)
            fitted.fit(data.for_models(train), unlabelled=others)
        if "interrupted" in fitted.history_:
            # The model would keep what it learnt until then; figures of a model half trained would mislead.
            raise KeyboardInterrupt
        profiles = pd.DataFrame(fitted.to_atlas().profiles.to_numpy(), index=fitted.classes_)
        guess = fitted.predict(data.for_models(test))
        found.append((name, guess, _profile_errors(profiles, held_out, scaler)))
    means = data.class_means(train, y[train])
    overall = data.class_means(train, np.zeros(len(train))).to_numpy()
    of_all = pd.DataFrame(np.repeat(overall, len(means), axis=0), index=means.index)
    tables = {"nearest class mean": means, "majority": of_all}
    unit, drawn = 1.0 if survey is None else survey.result().scale, data.drawn(train, seed)
    plain = data.plain(drawn)
    plain /= unit
    classifiers = baselines(len(drawn), plain.shape[1], seed)
    for classifier in classifiers.values():
        with warnings.catch_warnings():
            # Of a class of a single sample the shrunken covariance is the shrinkage's target, as it should be.
            warnings.filterwarnings("ignore", "Only one sample available")
            classifier.fit(plain, y[drawn])
    guesses: dict[str, list[Labels]] = {name: [] for name in classifiers}
    for _, values in data.plain_parts(test):
        for name, classifier in classifiers.items():
            guesses[name].append(classifier.predict(values / unit))
    for name, parts in guesses.items():
        errors = _profile_errors(tables[name], held_out, scaler) if name in tables else np.empty(0)
        found.append((name, np.concatenate(parts), errors))
    return found


def _profile_errors(profiles: pd.DataFrame, held_out: pd.DataFrame, scaler: StandardScaler) -> NDArray[np.float64]:
    """Return the mean squared difference of profile and held-out mean for each class that has both."""
    shared = held_out.index.intersection(profiles.index)
    gaps = (profiles.loc[shared].to_numpy() - held_out.loc[shared].to_numpy()) / scaler.scale_
    return np.asarray((gaps**2).mean(1), dtype=np.float64)


def _figures(y: Labels, guess: Labels) -> dict[str, float]:
    return {
        "accuracy": float(accuracy_score(y, guess)),
        "balanced_accuracy": float(balanced_accuracy_score(y, guess)),
        "macro_f1": float(f1_score(y, guess, average="macro", zero_division=0)),
    }


def _check_seeds(seeds: Sequence[int]) -> list[int]:
    """Return the seeds; refuse none, repeated ones and what is no seed."""
    found = list(seeds) if np.iterable(seeds) else []
    is_right = all(isinstance(seed, int | np.integer) and 0 <= seed < 2**32 for seed in found)
    if not found or not is_right or len(set(found)) < len(found):
        raise ValueError(
            f"`seeds` must hold one or more different whole numbers from 0, such as (0, 1); got {seeds!r}."
        )
    return [int(seed) for seed in found]


def _check_units(models: Mapping[str, SVQVAE], samples: Samples) -> None:
    """Refuse data that are not finite or that a model's likelihood cannot give."""
    start = 0
    for block in samples.blocks():
        for model in models.values():
            units = UNITS[parameters.resolve_units(model.get_params(deep=False))]
            units.check(block, start, float(model.output_scale or 1.0))
        start += len(block)


def _check_models(models: Mapping[str, SVQVAE]) -> type[Units]:
    """Refuse settings that no fit would take, and return what the numbers are to the models."""
    taken = sorted(set(models) & set(baselines(2, 1, 0)))
    if taken:
        raise ValueError(f"`models` must have other names than the baselines; got {taken[0]!r}.")
    given = [model.get_params(deep=False) for model in models.values()]
    for settings in given:
        parameters.check(settings)
    kinds = [UNITS[parameters.resolve_units(settings)] for settings in given]
    if len({kind.total for kind in kinds}) > 1:
        raise ValueError(
            "`models` must all be for counts or none; got likelihood='negative_binomial' beside another. "
            "Compare them in two calls."
        )
    return kinds[0] if kinds else UNITS["standard"]
