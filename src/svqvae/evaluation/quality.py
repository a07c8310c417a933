"""How good a fitted model is on samples it has not seen, beside the plainest things one could do instead."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_argmin

from svqvae.atlas.moments import ClassMoments
from svqvae.data.inputs import dense, parts
from svqvae.data.rows import StoredRows

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
        check_known(model, y)
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


def check_known(model: "SVQVAE", y_test: NDArray[np.generic]) -> None:
    """Refuse classes that a model does not know."""
    unknown = np.setdiff1d(y_test, model.classes_)
    if len(unknown):
        raise ValueError(f"`y_test` must hold classes of the fit; got {unknown[0]!r}, which is none of them.")


def scaled_rows(model: "SVQVAE", X: Any) -> NDArray[np.float32]:
    """Return samples in any form as flat rows on the scale that the model works on, (n, n_features)."""
    values = dense(X)
    return model.scaling_.apply(values.reshape(len(values), -1))


def _error(predicted: NDArray[np.floating], seen: NDArray[np.floating]) -> float:
    """Return the mean squared error of each sample, summed over the samples."""
    return float(np.square(np.subtract(predicted, seen, dtype=np.float64)).sum() / seen.shape[1])
