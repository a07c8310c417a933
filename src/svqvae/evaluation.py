"""How good a fitted model is on samples it has not seen, beside the plainest things one could do instead."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_argmin

from svqvae.inputs import dense

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
    X_train, X_test : (n, n_features) arrays, DataFrames or sparse matrices, or images
    y_train, y_test : (n,)

    Returns
    -------
    Quality
        Errors are in the squared units of the model's scaling: for images of any range that is pixels scaled to
        [-1, 1], for tables standard deviations of each feature.
    """
    y_train, y_test = np.asarray(y_train), np.asarray(y_test)
    train, test = _scaled(model, X_train), _scaled(model, X_test)
    means = np.stack([train[y_train == name].mean(0, dtype=np.float64) for name in model.classes_])
    unknown = np.setdiff1d(y_test, model.classes_)
    if len(unknown):
        raise ValueError(f"`y_test` must hold classes of the fit; got {unknown[0]!r}, which is none of them.")
    own = np.searchsorted(model.classes_, y_test)
    profiles = _scaled(model, model.class_profiles())
    return Quality(
        accuracy=float((model.predict(X_test) == y_test).mean()),
        accuracy_class_means=float((pairwise_distances_argmin(test, means) == own).mean()),
        class_reconstruction=_error(profiles[own], test),
        class_reconstruction_means=_error(means[own], test),
        sample_reconstruction=_error(_scaled(model, model.reconstruct(X_test)), test),
        n_samples=len(y_test),
    )


def _scaled(model: "SVQVAE", X: Any) -> NDArray[np.float32]:
    values = dense(X)
    return model.scaling_.apply(values.reshape(len(values), -1))


def _error(predicted: NDArray[np.floating], seen: NDArray[np.floating]) -> float:
    return float(np.square(np.subtract(predicted, seen, dtype=np.float64)).mean())
