"""What takes samples to know, as plain numbers: accuracy beside plain methods, confusions, simulation."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, pairwise_distances_argmin

from svqvae.evaluation.cross_validation import baselines
from svqvae.evaluation.leakage import count_near_duplicates
from svqvae.evaluation.quality import scaled_rows
from svqvae.report.numbers import gap_interval, share_interval

if TYPE_CHECKING:
    from svqvae.estimator import SVQVAE

TRAINING, HELD_OUT, TEST, GIVEN = "training", "held_out", "test", "samples"
# What tells most about new samples comes first.
EVIDENCE = (TEST, HELD_OUT, GIVEN, TRAINING)
# The plain classifier that is trained where that is quick: samples times classes.
CLASSIFIER, MAX_CLASSIFIED = "logistic regression, principal components", 150_000
N_CONFUSED = 8
# Real samples that a class must have to be compared with simulated ones, and most of either.
MIN_COMPARED, MAX_COMPARED = 5, 300

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class SampleSet:
    """Labelled samples.

    Attributes
    ----------
    X
        As the model takes them: an array, a DataFrame, images.
    y : (n,), classes of the fit
    """

    X: Any
    y: NDArray[np.generic]


def evidence_of(sets: Mapping[str, Any]) -> str | None:
    """Return the name of the samples that tell most about new ones, or None where there are none."""
    return next((kind for kind in EVIDENCE if kind in sets), None)


def summarise_accuracy(model: "SVQVAE", sets: Mapping[str, SampleSet]) -> dict[str, Any]:
    """Compare the model with plain methods on the samples that tell most about new ones.

    Parameters
    ----------
    model
        Fitted.
    sets
        Samples by kind: ``training``; ``held_out`` to stop training early; ``test``, which nothing has seen;
        ``samples``, of which it is not known whether the model was trained on them.

    Returns
    -------
    dict
        ``set``: the kind; ``n_samples``; ``methods``: for each, svqvae first, name, accuracy, its 95 % interval, and by
        how much svqvae is right more often, with its interval; ``right``: share of each class, None where it has no
        samples; ``n_tested`` of each class; ``confusion``: rows are classes, columns predictions; ``confused``: the
        most frequent confusions; ``n_near_duplicates`` of training samples among held-out ones, or None.
    """
    kind = evidence_of(sets)
    assert kind is not None  # noqa: S101
    tested, n_classes = sets[kind], len(model.classes_)
    own = np.searchsorted(model.classes_, tested.y)
    guesses = np.searchsorted(model.classes_, model.predict(tested.X))
    rights = {"svqvae": guesses == own} | _baseline_rights(model, sets, kind, own)
    matrix = confusion_matrix(own, guesses, labels=np.arange(n_classes))
    n_tested = matrix.sum(1)
    return {
        "set": kind,
        "n_samples": len(own),
        "methods": [_method(name, right, rights["svqvae"]) for name, right in rights.items()],
        "right": [matrix[k, k] / n if n else None for k, n in enumerate(n_tested)],
        "n_tested": n_tested,
        "confusion": matrix,
        "confused": _most_confused(matrix),
        "n_near_duplicates": _near_duplicates(model, sets, kind),
    }


def _method(name: str, right: Flags, ours: Flags) -> dict[str, Any]:
    low, high = share_interval(int(right.sum()), len(right))
    found = {"name": name, "accuracy": float(right.mean()), "low": low, "high": high}
    if right is not ours:
        gap, gap_low, gap_high = gap_interval(ours, right)
        found |= {"gap": gap, "gap_low": gap_low, "gap_high": gap_high}
    return found


def _baseline_rights(
    model: "SVQVAE", sets: Mapping[str, SampleSet], kind: str, own: NDArray[np.int64]
) -> dict[str, Flags]:
    """Return whether each plain method is right about each sample."""
    rows, found = scaled_rows(model, sets[kind].X), {}
    training = sets.get(TRAINING)
    means, counts = model.to_atlas().means, model.to_atlas().counts
    if training is not None:
        train, y = scaled_rows(model, training.X), np.asarray(training.y)
        means = np.stack([train[y == name].mean(0, dtype=np.float64) for name in model.classes_])
        n_cells = len(train) * len(model.classes_)
        if kind != TRAINING and n_cells <= MAX_CLASSIFIED:
            classifier = baselines(len(train), train.shape[1], model.seed_)[CLASSIFIER]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                guesses = classifier.fit(train, y).predict(rows)
            found[CLASSIFIER] = np.searchsorted(model.classes_, guesses) == own
    if np.isfinite(means).all():
        found["nearest class mean"] = pairwise_distances_argmin(rows, means) == own
    if counts.any():
        found["always the largest class"] = own == counts.argmax()
    return dict(sorted(found.items(), key=lambda item: -item[1].mean()))


def _most_confused(matrix: NDArray[np.int64]) -> list[dict[str, Any]]:
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong.ravel(), kind="stable")[:N_CONFUSED]
    pairs = [np.unravel_index(at, wrong.shape) for at in order]
    return [
        {"class": int(a), "as": int(b), "n": int(wrong[a, b]), "share": wrong[a, b] / matrix[a].sum()}
        for a, b in pairs
        if wrong[a, b]
    ]


def _near_duplicates(model: "SVQVAE", sets: Mapping[str, SampleSet], kind: str) -> int | None:
    if kind not in (TEST, HELD_OUT) or TRAINING not in sets:
        return None
    parts = [sets[TRAINING], sets[kind]]
    rows = np.concatenate([scaled_rows(model, part.X) for part in parts])
    y = np.concatenate([part.y for part in parts])
    n = len(parts[0].y)
    return count_near_duplicates(rows.__getitem__, y, [(np.arange(n), np.arange(n, len(y)))])


def rows_of(X: Any, chosen: NDArray[np.int64]) -> Any:
    """Return some rows of an array or a DataFrame."""
    return X.iloc[chosen] if hasattr(X, "iloc") else X[chosen]


def summarise_simulation(model: "SVQVAE", sets: Mapping[str, SampleSet], seed: int) -> list[dict[str, Any] | None]:
    """Compare simulated samples of each class with real ones, the evidence where it has enough, else the training set.

    Returns
    -------
    list of dict or None
        For each class: ``n_real``, ``set``, ``n_simulated``; ``mean_error`` and ``deviation_error``: root mean square
        difference over features of mean and standard deviation, in standard deviations within classes;
        ``chance``: what `mean_error` would be were both drawn from the same distribution. None where there are too few
        real samples or the model cannot simulate.
    """
    atlas = model.to_atlas()
    spread = atlas.profile_spread
    if atlas.density is None or spread is None:
        return [None] * len(atlas.classes)
    pooled = spread.pooled.astype(np.float64)
    unit = np.maximum(pooled, 0.1 * np.sqrt((pooled**2).mean()))
    found: list[dict[str, Any] | None] = []
    kinds = [kind for kind in EVIDENCE if kind in sets]
    for k, name in enumerate(model.classes_):
        own = {kind: np.flatnonzero(sets[kind].y == name)[:MAX_COMPARED] for kind in kinds}
        kind = next((kind for kind, rows in own.items() if len(rows) >= MIN_COMPARED), None)
        if kind is None:
            found.append(None)
            continue
        real = scaled_rows(model, rows_of(sets[kind].X, own[kind])) / unit
        drawn = scaled_rows(model, model.sample(name, len(real), random_state=seed + k)) / unit
        chances = (real.var(0, ddof=1) + drawn.var(0, ddof=1)) / len(real)
        found.append(
            {
                "set": kind,
                "n_real": len(real),
                "n_simulated": len(drawn),
                "mean_error": _rms(real.mean(0) - drawn.mean(0)),
                "deviation_error": _rms(real.std(0, ddof=1) - drawn.std(0, ddof=1)),
                "chance": float(np.sqrt(chances.mean())),
            }
        )
    return found


def _rms(values: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))
