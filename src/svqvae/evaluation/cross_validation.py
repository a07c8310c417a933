"""Cross-validation of models beside plain classifiers, with whole groups held out."""

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

# Called with the number of folds that are done, and of all.
OnFit = Callable[[int, int], None]
# Principal components of a logistic regression, and shrinkage of a linear discriminant analysis (LDA): chosen by hand.
# Neighbours: scikit-learn's default. docs/results.md has the accuracy of these baselines on A375 signatures.
N_COMPONENTS, SHRINKAGE, N_NEIGHBORS = 50, 0.9, 5
# Features up to which the LDA is fitted: a guard for time, which grows with their cube; chosen by hand.
MAX_COVARIANCE = 2000
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "profile_error")


@dataclass(frozen=True)
class Comparison:
    """Result of `cross_validate`.

    Attributes
    ----------
    runs
        One row per method and seed: ``method``, ``seed``, ``accuracy``, ``balanced_accuracy``, ``macro_f1``, and
        ``profile_error``, which is NaN for methods without profiles. See `cross_validate`.
    predictions
        Prediction for each sample while it was held out, samples × (method, seed).
    n_near_duplicates
        Number of held-out samples with a near-duplicate among the training samples, in the folds of the first seed.
    n_plain
        Largest number of training samples to which the plain classifiers were fitted in a fold, if data on disk had
        more; None if they were fitted to all.
    """

    runs: pd.DataFrame
    predictions: pd.DataFrame
    n_near_duplicates: int
    n_plain: int | None = None

    def summary(self) -> pd.DataFrame:
        """Return the mean of each figure over seeds, and its standard deviation ``…_std``, one row per method.

        Standard deviations are NaN for a single seed.
        """
        runs = self.runs.drop(columns="seed").groupby("method", sort=False)
        return runs.mean().join(runs.std().add_suffix("_std"))

    def to_dict(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return mean, standard deviation and values of all seeds by method and figure, as JSON can hold them."""
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
    """Return unfitted plain classifiers to compare with, by name.

    Some of them use distances or lengths of rows, so features should share a unit: divide them by their standard
    deviations if these differ much. With more than 2,000 features there is no LDA, which would take too long.

    Parameters
    ----------
    n_samples, n_features
        Size of the training data, which limits the number of principal components and neighbours.
    seed
        Seed of the principal components.

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
    """Cross-validate models and plain classifiers on the same folds, holding out whole groups.

    Folds are stratified by class, as far as whole groups allow. Each seed determines folds and models.

    Parameters
    ----------
    X : array, DataFrame, sparse matrix or rows on disk, (n, n_features), or images, (n, ...)
        Rows on disk are read when they are needed; the plain classifiers are then fitted to a random subset of the
        training samples that takes at most half a gibibyte.
    y : labels of at least two classes, (n,)
    models
        Unfitted models by name, cloned for each fit. Either all or none of them are for counts.
    groups : group of each sample, which is held out as a whole, (n,), or None
    unlabelled, unlabelled_groups
        Samples without labels, and their groups, which the models get in each fold, see `SVQVAE.fit`. The plain
        classifiers do not use them.
    n_folds
        Number of folds.
    seeds
        Seeds, with a full cross-validation for each.
    n_jobs
        Number of folds fitted in parallel, each in its own process; -1 takes one per core. Processes share the cores,
        and another number of threads may change the last bits of sums.
    on_fit
        Called after each fold with the number of folds that are done, and of all.

    Returns
    -------
    Comparison
        The figures of a seed are over all samples, each predicted once. ``profile_error`` is the mean squared
        difference per feature, in units of the training samples' standard deviations, between the profile of a class
        and the mean of its held-out samples, averaged over all folds and all classes in them that have training
        samples. For "nearest class mean" the profile is the class mean of the training samples, for "majority" the mean
        of all training samples. Plain classifiers get counts as log(1 + 10,000 × share); means are those of shares.

    Raises
    ------
    ValueError
        Data, settings or folds break a rule; the message says which, what was found and what to do.

    Warns
    -----
    LeakageWarning
        More than 1 % of the held-out samples have a near-duplicate among the training samples.

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
    """Return the positions of the training samples and of the held-out samples of each fold.

    Parameters
    ----------
    y
        Label of each sample, (n,).
    groups
        Group index of each sample, (n,), which is held out as a whole, or None.
    n_folds
        Number of folds.
    seed
        Seed of the folds.

    Raises
    ------
    ValueError
        There are too few classes, samples or groups for this number of folds.

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
        # Rare classes may be missing in some folds, which does not invalidate the figures.
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
    """Return name, predictions and profile errors of each model and plain classifier in one fold."""
    y, scaler, survey = data.y, StandardScaler(), data.survey()
    for _, values in data.plain_parts(train):
        scaler.partial_fit(values)
        if survey is not None:
            survey.add(values)
    held_out = data.class_means(test, y[test])
    found = []
    for name, model in models.items():
        with warnings.catch_warnings():
            # Warnings about codes that do not represent their class show in the figures.
            warnings.simplefilter("ignore")
            fitted = clone(model).set_params(random_state=seed)
            fitted.fit(data.for_models(train), unlabelled=others)
        if "interrupted" in fitted.history_:
            # Figures of a model whose training was interrupted would mislead.
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
            # The covariance of a class with one sample is entirely the target of the shrinkage, as it should be.
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
    """Return the mean squared difference of profile and held-out mean for each class that has both, (n_shared,)."""
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
    """Return the seeds; refuse an empty list, repeated seeds and values that are no seeds."""
    found = list(seeds) if np.iterable(seeds) else []
    is_right = all(isinstance(seed, int | np.integer) and 0 <= seed < 2**32 for seed in found)
    if not found or not is_right or len(set(found)) < len(found):
        raise ValueError(
            f"`seeds` must hold one or more different whole numbers from 0, such as (0, 1); got {seeds!r}."
        )
    return [int(seed) for seed in found]


def _check_units(models: Mapping[str, SVQVAE], samples: Samples) -> None:
    """Refuse data that are not finite or outside the range of a model's likelihood."""
    start = 0
    for block in samples.blocks():
        for model in models.values():
            units = UNITS[parameters.resolve_units(model.get_params(deep=False))]
            units.check(block, start, float(model.output_scale or 1.0))
        start += len(block)


def _check_models(models: Mapping[str, SVQVAE]) -> type[Units]:
    """Refuse invalid settings, and return the units of the models."""
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
