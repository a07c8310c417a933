"""How good a fitted model is on samples it has not seen, beside the plainest things one could do instead."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.covariance import OAS
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_distances_argmin, pairwise_distances_argmin_min, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from svqvae.atlas.moments import ClassMoments
from svqvae.data.rows import StoredRows
from svqvae.inputs import dense, parts

if TYPE_CHECKING:
    from svqvae.estimator import SVQVAE


@dataclass(frozen=True)
class Quality:
    """Figures on held-out samples, each beside its baseline.

    Errors are mean squared differences per feature on the scale that the model works on; see `held_out_quality`.

    Attributes
    ----------
    accuracy
        Share of samples whose nearest code is that of their class.
    accuracy_class_means
        The same for the nearest class mean of the training data.
    class_reconstruction
        Error of the decoded code of a sample's class as a picture of the sample.
    class_reconstruction_means
        The same for a table of training class means: the floor of what one picture a class can do.
    sample_reconstruction
        Error of the decoded latent of a sample.
    n_samples
        Number of held-out samples.
    """

    accuracy: float
    accuracy_class_means: float
    class_reconstruction: float
    class_reconstruction_means: float
    sample_reconstruction: float
    n_samples: int

    def to_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


def held_out_quality(model: "SVQVAE", X_train: Any, y_train: Any, X_test: Any, y_test: Any) -> Quality:
    """Measure a fitted model on held-out samples.

    Parameters
    ----------
    model
        Fitted on X_train, y_train.
    X_train, X_test : (n, n_features) arrays, DataFrames or sparse matrices, images, or rows on disk
    y_train, y_test : (n,)

    Returns
    -------
    Quality
        Errors are in the squared units of the model's scaling: for images of any range that is pixels scaled to
        [-1, 1], for tables standard deviations of each feature.
    """
    moments = ClassMoments(len(model.classes_), model.n_features_in_)
    for X, y in _parts(model, X_train, y_train):
        moments.add(scaled_rows(model, X), np.searchsorted(model.classes_, y))
    means = np.where(moments.counts[:, None] > 0, moments.means, np.nan)
    return quality_beside(model, means, X_test, y_test)


def quality_beside(model: "SVQVAE", means: NDArray[np.floating], X_test: Any, y_test: Any) -> Quality:
    """Measure a fitted model beside a table of class means in the model's units, (n_classes, n_features).

    As `held_out_quality`, where the training samples themselves are not at hand. Unknown means are NaN, and so are the
    figures of theirs.
    """
    profiles = scaled_rows(model, model.class_profiles())
    is_known = bool(np.isfinite(means).all())
    sums: dict[str, float] = defaultdict(float)
    for X, y in _parts(model, X_test, y_test):
        _check_known(model, y)
        test, own = scaled_rows(model, X), np.searchsorted(model.classes_, y)
        nearest = pairwise_distances_argmin(test, means) if is_known else None
        sums["accuracy"] += (model.predict(X) == y).sum()
        sums["accuracy_class_means"] += np.nan if nearest is None else (nearest == own).sum()
        sums["class_reconstruction"] += _error(profiles[own], test)
        sums["class_reconstruction_means"] += _error(means[own], test)
        sums["sample_reconstruction"] += _error(scaled_rows(model, model.reconstruct(X)), test)
    n = len(y_test)
    return Quality(n_samples=n, **{name: float(total / n) for name, total in sums.items()})


def _parts(model: "SVQVAE", X: Any, y: Any) -> Iterator[tuple[Any, NDArray[np.generic]]]:
    """Yield samples on disk part by part, as a model takes them, and all others at once; with their classes."""
    y, start = np.asarray(y), 0
    for part in parts(model, X):
        stop = start + len(part) if isinstance(X, StoredRows) else len(y)
        yield part, y[start:stop]
        start = stop


def simulation_quality(
    model: "SVQVAE", X_train: Any, y_train: Any, X_test: Any, y_test: Any, random_state: int = 0
) -> pd.DataFrame:
    """Compare simulated samples with real ones that the model has not seen, beside two plain ways to simulate.

    As many samples of each class are simulated as it has training samples (at most 1,000), by the model, by drawing
    training rows again, and by a Gaussian per class on the features, with the oracle approximating shrinkage of its
    covariance. All is measured on the scale that the model works on.

    Parameters
    ----------
    model
        Fitted on X_train, y_train.
    X_train, X_test : (n, n_features) arrays, DataFrames or sparse matrices, or images
    y_train, y_test : (n,); each class must be in both
    random_state
        Seed of the simulations and the classifiers.

    Returns
    -------
    pandas.DataFrame
        One row per way to simulate, and ``real`` for the training rows themselves. ``accuracy``: of a logistic
        regression trained on the simulated samples, on the real test samples. ``detected``: area under the curve of a
        random forest that tells simulated samples from as many real test samples, in five folds; 0.5 where it cannot,
        1 where it always can. ``copied``: median distance of a simulated sample to its nearest training row over that
        of a test sample; 0 for copies. ``mean_error``, ``deviation_error``, ``third_moment_error``: of mean, standard
        deviation and cube root of the third central moment of each feature in each class against those of the test
        samples, root mean square, in units of the feature's standard deviation within classes.
    """
    y_train, y_test = np.asarray(y_train), np.asarray(y_test)
    train, test = scaled_rows(model, X_train), scaled_rows(model, X_test)
    rng = np.random.default_rng(random_state)
    counts = {name: min(1000, int((y_train == name).sum())) for name in model.classes_}
    _check_known(model, y_test)
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
        fitted = OAS().fit(own)
        drawn: NDArray[np.float64] = rng.multivariate_normal(fitted.location_, fitted.covariance_, n, method="cholesky")
        return drawn

    simulated = {
        "svqvae": simulate(lambda name, n: scaled_rows(model, model.sample(name, n, random_state=rng))),
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


def _check_known(model: "SVQVAE", y_test: NDArray[np.generic]) -> None:
    unknown = np.setdiff1d(y_test, model.classes_)
    if len(unknown):
        raise ValueError(f"`y_test` must hold classes of the fit; got {unknown[0]!r}, which is none of them.")


def _trained_on(
    rows: NDArray[np.float32], y: NDArray[np.generic], test: NDArray[np.float32], y_test: NDArray[np.generic]
) -> float:
    """Return the accuracy on test rows of a logistic regression trained on other rows."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(classifier.fit(rows, y).score(test, y_test))


def _detected(
    rows: NDArray[np.float32],
    y: NDArray[np.generic],
    test: NDArray[np.float32],
    y_test: NDArray[np.generic],
    rng: np.random.Generator,
) -> float:
    """Return how well a random forest tells rows from test rows, of each class as many as both have."""
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
    """Return the root mean square error of three moments of each feature in each class."""
    names = np.unique(y_test)
    residuals = np.concatenate([test[y_test == name] - test[y_test == name].mean(0) for name in names])
    unit = residuals.std(0)
    # Features that hardly vary within classes would rule the mean over features.
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


def scaled_rows(model: "SVQVAE", X: Any) -> NDArray[np.float32]:
    """Return samples in any form as flat rows on the scale that the model works on, (n, n_features)."""
    values = dense(X)
    return model.scaling_.apply(values.reshape(len(values), -1))


def _error(predicted: NDArray[np.floating], seen: NDArray[np.floating]) -> float:
    """Return the mean squared error of each sample, summed over the samples."""
    return float(np.square(np.subtract(predicted, seen, dtype=np.float64)).sum() / seen.shape[1])
