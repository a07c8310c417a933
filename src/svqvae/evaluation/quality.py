"""Accuracy and reconstruction errors of a fitted model on held-out samples, beside those of class means."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_argmin

from svqvae.atlas.moments import ClassMoments
from svqvae.data.samples import CHUNK, Samples, dense
from svqvae.estimator import SVQVAE
from svqvae.fitting.fitted import Fitted


@dataclass(frozen=True)
class Quality:
    """Figures on held-out samples, beside those of class means.

    Errors are mean squared errors per feature in the model's units; see `held_out_quality`.

    Attributes
    ----------
    accuracy
        Share of samples whose nearest code is that of their class.
    accuracy_class_means
        Share of samples whose nearest class mean of the training data is that of their class.
    class_reconstruction
        Error of the decoded code of its class for each sample.
    class_reconstruction_means
        The same for the class means of the training data, about the least error of one profile per class.
    sample_reconstruction
        Error of the decoded latent of each sample.
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


def held_out_quality(model: SVQVAE, X_train: Any, y_train: Any, X_test: Any, y_test: Any) -> Quality:
    """Measure a fitted model on held-out samples.

    Parameters
    ----------
    model
        Model fitted to X_train, y_train.
    X_train, X_test : arrays, DataFrames, sparse matrices or rows on disk, (n, n_features), or images, (n, ...)
    y_train, y_test : labels, (n,)

    Returns
    -------
    Quality
        Errors are in squared units of the model: by default, pixels scaled to [-1, 1] for images, and standard
        deviations for tables.

    Raises
    ------
    ValueError
        Samples do not match those of the fit, or labels are not among its classes.
    """
    fitted = model.fitted_
    return quality_of(fitted, fitted.labelled(X_train, y_train, "y_train"), fitted.labelled(X_test, y_test, "y_test"))


def quality_of(fitted: Fitted, training: Samples, tested: Samples) -> Quality:
    """As `held_out_quality`, for samples whose class indices are those of the fit."""
    moments, start = ClassMoments(len(fitted.classes), training.n_features), 0
    for block in fitted.blocks(training, CHUNK):
        stop = start + len(block)
        moments.add(fitted.read(block), training.y[start:stop])
        start = stop
    means = np.where(moments.counts[:, None] > 0, moments.means, np.nan)
    return quality_beside(fitted, means, tested)


def quality_beside(fitted: Fitted, means: NDArray[np.floating], tested: Samples) -> Quality:
    """As `quality_of`, from the class means of the training data instead of the samples.

    Each sample is read and encoded once.

    Parameters
    ----------
    fitted
        The fitted model.
    means
        Class means of the training data in the model's units, (n_classes, n_features); NaN if unknown, which makes the
        figures of class means NaN.
    tested
        Held-out samples.
    """
    profiles, recognizer = scaled_rows(fitted, fitted.class_profiles()), fitted.recognizer()
    is_known, start = bool(np.isfinite(means).all()), 0
    sums: dict[str, float] = defaultdict(float)
    for block in fitted.blocks(tested, CHUNK):
        test = fitted.read(block)
        latents, own = fitted.encode_read(test), tested.y[start : start + len(block)]
        nearest = pairwise_distances_argmin(test, means) if is_known else None
        sums["accuracy"] += (recognizer.nearest(latents) == own).sum()
        sums["accuracy_class_means"] += np.nan if nearest is None else (nearest == own).sum()
        sums["class_reconstruction"] += _error(profiles[own], test)
        sums["class_reconstruction_means"] += _error(means[own], test)
        sums["sample_reconstruction"] += _error(scaled_rows(fitted, fitted.reconstruct(block, latents)), test)
        start += len(block)
    n = len(tested)
    return Quality(n_samples=n, **{name: float(total / n) for name, total in sums.items()})


def scaled_rows(fitted: Fitted, X: Any) -> NDArray[np.float32]:
    """Return samples in any container as flat rows in the model's units, (n, n_features)."""
    values = dense(X)
    return fitted.read(values.reshape(len(values), -1))


def _error(predicted: NDArray[np.floating], seen: NDArray[np.floating]) -> float:
    """Return the mean squared error per feature, summed over samples."""
    return float(np.square(np.subtract(predicted, seen, dtype=np.float64)).sum() / seen.shape[1])
