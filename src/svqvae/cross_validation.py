"""Cross-validation of a model beside plain classifiers, whole groups held out."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, pairwise_distances_argmin_min
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from svqvae.data.scaling import log_shares
from svqvae.data.text import list_some
from svqvae.estimator import SVQVAE
from svqvae.inputs import Rows, check_groups, check_labels, dense
from svqvae.parameters import resolve_likelihood

Labels = NDArray[np.generic]
# Called with the fits done, and their number in all.
OnFit = Callable[[int, int], None]
N_COMPONENTS, SHRINKAGE, N_NEIGHBORS = 50, 0.9, 5
# A sample is a near-duplicate of another at less than this share of the distance that samples of a class have.
NEAR = 0.1
# Samples among which near-duplicates are looked for.
MAX_LOOKED_AT = 5000
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "profile_error")


class LeakageWarning(UserWarning):
    """Near-duplicates of held-out samples stand among the training samples, so that figures are too good."""


@dataclass(frozen=True)
class Comparison:
    """What `cross_validate` found.

    Attributes
    ----------
    runs
        One row per method and seed: ``method``, ``seed``, ``accuracy``, ``balanced_accuracy``, ``macro_f1``, and
        ``profile_error``, NaN for methods without profiles. See `cross_validate`.
    predictions
        What was predicted for each sample while it was held out, one row per sample; columns: methods, then seeds.
    n_near_duplicates
        Held-out samples with a near-duplicate among the training samples, in the folds of the first seed.
    """

    runs: pd.DataFrame
    predictions: pd.DataFrame
    n_near_duplicates: int

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

    Those on unit-length rows and the k nearest neighbours take features as they are, which suits features of one unit;
    the others do not mind or standardise.

    Parameters
    ----------
    n_samples, n_features
        Of the training data; there are at most as many principal components.
    seed
        Of the principal components.
    """
    n_components = min(N_COMPONENTS, n_samples - 1, n_features)
    return {
        "majority": DummyClassifier(strategy="most_frequent"),
        "nearest class mean": NearestCentroid(),
        "nearest class mean, unit-length rows": make_pipeline(Normalizer(), NearestCentroid()),
        f"logistic regression, {n_components} principal components": make_pipeline(
            StandardScaler(), PCA(n_components, random_state=seed), LogisticRegression(max_iter=3000)
        ),
        "logistic regression, unit-length rows": make_pipeline(Normalizer(), LogisticRegression(C=10, max_iter=3000)),
        "shrunken LDA, unit-length rows": make_pipeline(
            Normalizer(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
        ),
        f"{N_NEIGHBORS} nearest neighbours": KNeighborsClassifier(min(N_NEIGHBORS, n_samples)),
    }


def cross_validate(
    X: Any,
    y: Any,
    models: Mapping[str, SVQVAE],
    *,
    groups: Any = None,
    n_folds: int = 5,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    on_fit: OnFit | None = None,
) -> Comparison:
    """Predict each sample by models that have not seen it or its group, beside plain classifiers on the same folds.

    Folds keep the shares of the classes as far as whole groups let them. The seed decides folds and model.

    Parameters
    ----------
    X : (n, n_features) array, DataFrame or sparse matrix, or images
    y : (n,), at least two classes
    models
        Unfitted models by name; cloned for each fit.
    groups : (n,), samples that must stay together, or None
    n_folds
        Number of folds.
    seeds
        One whole cross-validation each.
    on_fit
        Called after each fit.

    Returns
    -------
    Comparison
        Figures of a seed are those of all samples, each predicted once. ``profile_error``: for each fold and each class
        in it, the mean squared difference per feature, in standard deviations of the training samples, between the
        profile of the class and the mean of its held-out samples; averaged over folds and classes. For the baselines
        that is the class mean of the training samples ("nearest class mean") and the mean of all ("majority").

    Warns
    -----
    LeakageWarning
        Where more than one held-out sample in a hundred has a near-duplicate among the training samples.
    """
    rows = dense(X)
    y = np.asarray(y)
    check_labels(y, len(rows))
    groups = check_groups(groups, len(rows))
    splits = {seed: make_folds(y, groups, n_folds, seed) for seed in seeds}
    is_counts = any(resolve_likelihood(model) == "negative_binomial" for model in models.values())
    flat = log_shares(rows.reshape(len(rows), -1)) if is_counts else rows.reshape(len(rows), -1).astype(np.float64)
    n_near = sum(count_near_duplicates(flat, y, *split) for split in splits[seeds[0]])
    if n_near > 0.01 * len(y):
        warnings.warn(
            f"{n_near} of {len(y)} held-out samples have a near-duplicate among the training samples: figures are too "
            "good. Name what belongs together, such as the compound or the donor, with groups (--group).",
            LeakageWarning,
            stacklevel=2,
        )
    rows_of, found = [], {}
    n_done, n_fits = 0, len(seeds) * n_folds
    for seed, folds in splits.items():
        predictions: dict[str, Labels] = {}
        errors: dict[str, list[float]] = {}
        for train, test in folds:
            for name, guess, error in _fit_all(models, rows, flat, y, train, test, seed):
                predictions.setdefault(name, y.copy())[test] = guess
                errors.setdefault(name, []).append(error)
            n_done += 1
            if on_fit is not None:
                on_fit(n_done, n_fits)
        for name, guess in predictions.items():
            rows_of.append({"method": name, "seed": seed, **_figures(y, guess), "profile_error": np.mean(errors[name])})
            found[name, seed] = guess
    return Comparison(pd.DataFrame(rows_of), pd.DataFrame(found), n_near)


def make_folds(
    y: Labels, groups: NDArray[np.int64] | None, n_folds: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the rows to train on and the rows held out of each fold, whole groups together."""
    n_units = len(y) if groups is None else len(np.unique(groups))
    unit = "samples" if groups is None else "groups"
    if not isinstance(n_folds, int | np.integer) or not 2 <= n_folds <= n_units:
        raise ValueError(f"`n_folds` must be from 2 to {n_units}, the number of {unit}; got {n_folds!r}.")
    names = np.unique(y)
    if len(names) < 2:
        raise ValueError(f"`y` must hold at least two classes; got {list_some(names) or 'none'}.")
    folds = StratifiedKFold if groups is None else StratifiedGroupKFold
    with warnings.catch_warnings():
        # That rare classes miss in some folds is told by whoever reads the figures by class.
        warnings.filterwarnings("ignore", "The least populated class")
        splits = list(folds(n_folds, shuffle=True, random_state=seed).split(np.zeros(len(y)), y, groups))
    for train, _ in splits:
        if len(np.unique(y[train])) < 2:
            raise ValueError(
                f"`groups` must leave two classes to train on in each of {n_folds} folds; got a fold with "
                f"{np.unique(y[train])[0]!r} alone. Use more folds or finer groups."
            )
    return splits


def count_near_duplicates(rows: Rows, y: Labels, train: NDArray[np.int64], test: NDArray[np.int64]) -> int:
    """Count held-out rows that are nearly equal to a training row of any class.

    Nearly: the distance is at most a tenth of the root mean square distance between samples of a class. Of many rows
    a part is looked at and the count scaled up.
    """
    step = -(-len(test) // MAX_LOOKED_AT)
    variance = np.mean([rows[y == name].var(0).sum() * (y == name).sum() for name in np.unique(y)])
    typical = np.sqrt(2 * variance * len(np.unique(y)) / len(y))
    distances = pairwise_distances_argmin_min(rows[test][::step], rows[train])[1]
    return int((distances <= NEAR * typical).mean() * len(test))


def _fit_all(
    models: Mapping[str, SVQVAE],
    rows: Rows,
    flat: NDArray[np.float64],
    y: Labels,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    seed: int,
) -> list[tuple[str, Labels, float]]:
    """Return name, predictions and error of the profiles of each model and baseline in one fold."""
    scaler = StandardScaler().fit(flat[train])
    held_out = _means(scaler.transform(flat[test]), y[test])
    found = []
    for name, model in models.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = clone(model).set_params(random_state=seed).fit(rows[train], y[train])
        profiles = pd.DataFrame(scaler.transform(fitted.to_atlas().profiles.to_numpy()), index=fitted.classes_)
        found.append((name, fitted.predict(rows[test]), _profile_error(profiles, held_out)))
    means = _means(scaler.transform(flat[train]), y[train])
    tables = {"nearest class mean": means, "majority": means * 0}
    for name, classifier in baselines(len(train), flat.shape[1], seed).items():
        classifier.fit(flat[train], y[train])
        error = _profile_error(tables[name], held_out) if name in tables else np.nan
        found.append((name, classifier.predict(flat[test]), error))
    return found


def _means(rows: NDArray[np.float64], y: Labels) -> pd.DataFrame:
    """Return the mean of each class, classes × features."""
    return pd.DataFrame(rows).groupby(y).mean()


def _profile_error(profiles: pd.DataFrame, held_out: pd.DataFrame) -> float:
    """Return the mean squared difference of profiles and held-out means over the classes that both have."""
    shared = held_out.index.intersection(profiles.index)
    return float(((profiles.loc[shared].to_numpy() - held_out.loc[shared].to_numpy()) ** 2).mean())


def _figures(y: Labels, guess: Labels) -> dict[str, float]:
    return {
        "accuracy": float(accuracy_score(y, guess)),
        "balanced_accuracy": float(balanced_accuracy_score(y, guess)),
        "macro_f1": float(f1_score(y, guess, average="macro", zero_division=0)),
    }
