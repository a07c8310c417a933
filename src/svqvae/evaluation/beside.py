"""Compare the accuracy of a fitted model with that of plain classifiers, and find the classes that it confuses."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, pairwise_distances_argmin

from svqvae.data.samples import CHUNK, Samples
from svqvae.evaluation.cross_validation import baselines
from svqvae.evaluation.intervals import gap_interval, share_interval
from svqvae.evaluation.leakage import count_near_duplicates
from svqvae.fitting.fitted import Fitted

TRAINING, HELD_OUT, TEST, GIVEN = "training", "held_out", "test", "samples"
# Kinds of samples, those that say most about new samples first.
EVIDENCE = (TEST, HELD_OUT, GIVEN, TRAINING)
# The classifier that is trained for the comparison, if training samples × classes are at most this number: a guard for
# time, chosen by hand.
CLASSIFIER, MAX_CLASSIFIED = "logistic regression, principal components", 150_000
# Confusions that are listed; chosen by hand.
N_CONFUSED = 8

Flags = NDArray[np.bool_]
Sets = Mapping[str, Samples]


def evidence_of(sets: Mapping[str, Any]) -> str | None:
    """Return the kind of samples that says most about new samples, or None if there are no samples."""
    return next((kind for kind in EVIDENCE if kind in sets), None)


def compare_beside(fitted: Fitted, sets: Sets) -> dict[str, Any] | None:
    """Compare the model with plain classifiers on the samples that say most about new samples.

    Parameters
    ----------
    fitted
        The fitted model.
    sets
        Samples by kind, with the classes of the fit: ``training``; ``held_out``, used for early stopping; ``test``, not
        used in training at all; ``samples``, which may or may not have been used in training.

    Returns
    -------
    dict or None
        ``set``: the kind; ``n_samples``; ``methods``: for svqvae and then each plain classifier its name, accuracy and
        95 % interval, and the accuracy of svqvae minus its own with a 95 % interval; ``right``: accuracy in each class,
        None for a class without samples; ``n_tested``: samples of each class; ``confusion``: counts, classes ×
        predictions; ``confused``: the most frequent confusions; ``n_near_duplicates``: near-duplicates of training
        samples among test or held-out samples, or None. None if there are no samples.
    """
    kind = evidence_of(sets)
    if kind is None:
        return None
    tested, n_classes = sets[kind], len(fitted.classes)
    own, recognizer = tested.y, fitted.recognizer()
    guesses = np.concatenate([recognizer.nearest(fitted.encode(block)) for block in fitted.blocks(tested, CHUNK)])
    rights = {"svqvae": guesses == own} | _baseline_rights(fitted, sets, kind)
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
        "n_near_duplicates": _near_duplicates(fitted, sets, kind),
    }


def _method(name: str, right: Flags, ours: Flags) -> dict[str, Any]:
    low, high = share_interval(int(right.sum()), len(right))
    found = {"name": name, "accuracy": float(right.mean()), "low": low, "high": high}
    if right is not ours:
        gap, gap_low, gap_high = gap_interval(ours, right)
        found |= {"gap": gap, "gap_low": gap_low, "gap_high": gap_high}
    return found


def _baseline_rights(fitted: Fitted, sets: Sets, kind: str) -> dict[str, Flags]:
    """Return for each plain classifier, in descending order of accuracy, whether it is right about each sample."""
    rows, own, found = read_all(fitted, sets[kind]), sets[kind].y, {}
    training = sets.get(TRAINING)
    means, counts = fitted.atlas.means, fitted.atlas.counts
    if training is not None:
        train, y = read_all(fitted, training), training.y
        means = np.stack([train[y == k].mean(0, dtype=np.float64) for k in range(len(fitted.classes))])
        n_cells = len(train) * len(fitted.classes)
        if kind != TRAINING and n_cells <= MAX_CLASSIFIED:
            classifier = baselines(len(train), train.shape[1], fitted.seed)[CLASSIFIER]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[CLASSIFIER] = classifier.fit(train, y).predict(rows) == own
    if np.isfinite(means).all():
        found["nearest class mean"] = pairwise_distances_argmin(rows, means) == own
    if counts.any():
        found["always the largest class"] = own == counts.argmax()
    return dict(sorted(found.items(), key=lambda item: -item[1].mean()))


def read_all(fitted: Fitted, samples: Samples) -> NDArray[np.float32]:
    """Return all samples in the model's units, (n, n_features)."""
    return fitted.read(samples.rows[:])


def _most_confused(matrix: NDArray[np.int64]) -> list[dict[str, Any]]:
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong.ravel(), kind="stable")[:N_CONFUSED]
    pairs = [np.unravel_index(at, wrong.shape) for at in order]
    return [
        {"class": int(a), "as": int(b), "n": int(wrong[a, b]), "share": wrong[a, b] / matrix[a].sum()}
        for a, b in pairs
        if wrong[a, b]
    ]


def _near_duplicates(fitted: Fitted, sets: Sets, kind: str) -> int | None:
    if kind not in (TEST, HELD_OUT) or TRAINING not in sets:
        return None
    parts = [sets[TRAINING], sets[kind]]
    rows = np.concatenate([read_all(fitted, part) for part in parts])
    y = np.concatenate([part.y for part in parts])
    n = len(parts[0])
    return count_near_duplicates(rows.__getitem__, y, [(np.arange(n), np.arange(n, len(y)))])
