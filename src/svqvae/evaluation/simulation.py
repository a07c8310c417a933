"""How similar simulated samples are to real ones, beside two plain ways to simulate."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.covariance import OAS
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances_argmin_min, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from svqvae.estimator import SVQVAE
from svqvae.evaluation.quality import scaled_rows


def simulation_quality(
    model: SVQVAE, X_train: Any, y_train: Any, X_test: Any, y_test: Any, random_state: int = 0
) -> pd.DataFrame:
    """Compare simulated samples with held-out real samples, beside two plain ways to simulate.

    For each class, as many samples are simulated as there are training samples, at most 1,000: by the model, by
    resampling training rows, and from a Gaussian distribution of the features of each class, with a covariance by
    oracle approximating shrinkage. All comparisons are in the model's units.

    Parameters
    ----------
    model
        Model fitted to X_train, y_train.
    X_train, X_test : arrays, DataFrames or sparse matrices, (n, n_features), or images, (n, ...)
    y_train, y_test : labels, (n,), with at least 1 and 5 samples of each class
    random_state
        Seed of the simulations and the classifiers.

    Returns
    -------
    pandas.DataFrame
        One row per way to simulate, and ``real`` for the training rows. ``accuracy``: on the test samples, of a
        logistic regression trained on the simulated samples. ``detected``: area under the ROC curve, in 5-fold
        cross-validation, of a random forest that distinguishes simulated samples from as many test samples; 0.5 if it
        cannot. ``copied``: median distance of simulated samples to their nearest training row, divided by that of test
        samples; 0 for copies. ``mean_error``, ``deviation_error``, ``third_moment_error``: root mean square difference
        from the test samples in the mean, the standard deviation and the cube root of the third central moment of each
        feature in each class, in units of the feature's standard deviation within classes.

    Raises
    ------
    ValueError
        A class has too few samples, or samples do not match those of the fit.
    """
    y_train, y_test = np.asarray(y_train), np.asarray(y_test)
    fitted = model.fitted_
    training, tested = fitted.labelled(X_train, y_train, "y_train"), fitted.labelled(X_test, y_test, "y_test")
    train, test = fitted.read(training.rows[:]), fitted.read(tested.rows[:])
    rng = np.random.default_rng(random_state)
    counts = {name: min(1000, int((y_train == name).sum())) for name in model.classes_}
    for which, y, least in (("y_train", y_train, 1), ("y_test", y_test, 5)):
        for name in model.classes_:
            if (y == name).sum() < least:
                raise ValueError(
                    f"`{which}` must hold at least {least} samples of each class of the fit; {str(name)!r} has fewer."
                )
    labels = np.repeat(model.classes_, list(counts.values()))

    def simulate(draw: Callable[[Any, int], NDArray[np.floating]]) -> NDArray[np.float32]:
        return np.concatenate([draw(name, n) for name, n in counts.items()]).astype(np.float32)

    def resampled(name: Any, n: int) -> NDArray[np.floating]:
        return np.asarray(train[rng.choice(np.flatnonzero(y_train == name), n)])

    def gaussian(name: Any, n: int) -> NDArray[np.floating]:
        own = train[y_train == name].astype(np.float64)
        if not own.var(0).any():
            return np.repeat(own[:1], n, axis=0)
        shrunk = OAS().fit(own)
        drawn: NDArray[np.float64] = rng.multivariate_normal(shrunk.location_, shrunk.covariance_, n, method="cholesky")
        return drawn

    simulated = {
        "svqvae": simulate(lambda name, n: scaled_rows(fitted, model.sample(name, n, random_state=rng))),
        "resampled rows": simulate(resampled),
        "gaussian on features": simulate(gaussian),
    }
    gaps = _nearest_distances(test, train)
    rows = {
        name: {
            "accuracy": _trained_on(values, labels, test, y_test),
            "detected": _detected(values, labels, test, y_test, rng),
            "copied": float(np.median(_nearest_distances(values, train)) / max(float(np.median(gaps)), 1e-12)),
            **_moment_errors(values, labels, test, y_test),
        }
        for name, values in simulated.items()
    }
    rows["real"] = {
        "accuracy": _trained_on(train, y_train, test, y_test),
        "detected": _detected(train, y_train, test, y_test, rng),
        **_moment_errors(train, y_train, test, y_test),
    }
    return pd.DataFrame(rows).T.rename_axis("simulated by")


def _trained_on(
    rows: NDArray[np.float32], y: NDArray[np.generic], test: NDArray[np.float32], y_test: NDArray[np.generic]
) -> float:
    """Return the accuracy on test rows of a logistic regression trained on `rows`."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(classifier.fit(rows, y).score(test, y_test))


def _detected(
    rows: NDArray[np.float32],
    y: NDArray[np.generic],
    test: NDArray[np.float32],
    y_test: NDArray[np.generic],
    rng: np.random.Generator,
) -> float:
    """Return the area under the ROC curve of a random forest for rows against test rows, with equal class sizes."""
    ours, real = [], []
    for name in np.unique(y_test):
        n = min(int((y == name).sum()), int((y_test == name).sum()))
        ours.append(rows[rng.choice(np.flatnonzero(y == name), n, replace=False)])
        real.append(test[rng.choice(np.flatnonzero(y_test == name), n, replace=False)])
    both = np.concatenate([*ours, *real])
    is_real = np.repeat([0, 1], [len(both) // 2, len(both) // 2])
    forest = RandomForestClassifier(200, min_samples_leaf=2, random_state=int(rng.integers(2**31)))
    folds = StratifiedKFold(5, shuffle=True, random_state=int(rng.integers(2**31)))
    scores = cross_val_predict(forest, both, is_real, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(is_real, scores))


def _moment_errors(
    rows: NDArray[np.float32], y: NDArray[np.generic], test: NDArray[np.float32], y_test: NDArray[np.generic]
) -> dict[str, float]:
    """Return the root mean square error of three moments over features and classes."""
    names = np.unique(y_test)
    residuals = np.concatenate([test[y_test == name] - test[y_test == name].mean(0) for name in names])
    unit = residuals.std(0)
    # Otherwise features that hardly vary within classes would dominate the mean over features.
    unit = np.maximum(unit, 0.1 * np.sqrt((unit**2).mean()))
    errors = defaultdict(list)
    for name in names:
        a, b = (part / unit for part in (rows[y == name], test[y_test == name]))
        errors["mean_error"].append(a.mean(0) - b.mean(0))
        errors["deviation_error"].append(a.std(0) - b.std(0))
        errors["third_moment_error"].append(np.cbrt(_third_moment(a)) - np.cbrt(_third_moment(b)))
    return {name: float(np.sqrt(np.mean(np.square(values)))) for name, values in errors.items()}


def _third_moment(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(((rows - rows.mean(0)) ** 3).mean(0), dtype=np.float64)


def _nearest_distances(rows: NDArray[np.float32], train: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the Euclidean distance of each row to its nearest training row, (n,)."""
    return np.asarray(pairwise_distances_argmin_min(rows, train)[1], dtype=np.float64)
