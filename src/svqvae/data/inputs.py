"""What may be handed to the model, and one clear sentence where it may not."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, validate_data

from svqvae.data.rows import StoredRows
from svqvae.wording import list_some

Rows = NDArray[np.number]
AnyRows = Rows | StoredRows

# Rows in memory that are worked on at a time, and bytes of rows on disk.
CHUNK, MAX_BYTES = 8192, 1 << 24
# Samples from which on labels that stand once each are taken for names of samples.
MANY = 20


@dataclass(frozen=True)
class Unpacked:
    """X and y as arrays, whatever container they came in.

    Attributes
    ----------
    X
        Array, DataFrame, sparse matrix, or rows on disk.
    y
        Labels, or None.
    image_shape
        Shape of one image that the container tells, or None.
    """

    X: Any
    y: Any
    image_shape: tuple[int, ...] | None


def dense(X: Any) -> Rows:
    """Return an array, a sparse matrix or rows on disk as a dense array."""
    return np.asarray(X.toarray() if hasattr(X, "toarray") else X)


def is_anndata(X: Any) -> bool:
    """Return whether X is AnnData, without loading it."""
    return type(X).__module__.startswith("anndata")


def unpack(X: Any, y: Any, label: str | None, layer: str | None) -> Unpacked:
    """Take X and y out of an AnnData object; leave anything else as it is."""
    if not is_anndata(X):
        if label is not None or layer is not None:
            raise TypeError(f"`label` and `layer` go with AnnData; got a {type(X).__name__}. Pass the labels as `y`.")
        return Unpacked(X, y, None)
    if label is not None and y is not None:
        raise TypeError(f"`label` and `y` cannot both be given; got label={label!r} and {len(y)} labels in `y`.")
    from svqvae.data.tables import from_anndata

    table = from_anndata(X, label=label, layer=layer)
    is_on_disk = isinstance(table.X, StoredRows)
    named = table.X if is_on_disk else pd.DataFrame(dense(table.X), columns=table.feature_names)
    return Unpacked(named, table.y if label is not None else y, table.image_shape)


def check_rows(
    estimator: BaseEstimator, unpacked: Unpacked, *, takes_images: bool, is_fitting: bool
) -> tuple[AnyRows, tuple[int, ...]]:
    """Return X as dense finite rows, (n, n_features), and the shape of one sample as it came.

    Rows on disk stay there; whether they are finite is told by `blocks`, which reads them. Sets `n_features_in_` and
    `feature_names_in_` where `is_fitting`, and holds X against them where not.
    """
    X = unpacked.X
    _check_names(estimator, unpacked, is_fitting)
    if isinstance(X, StoredRows):
        head = pd.DataFrame(X[:1], columns=X.feature_names)
        validate_data(estimator, head, reset=is_fitting, dtype="numeric", ensure_all_finite=False)
        return X, (X.shape[1],)
    if hasattr(X, "ndim") and X.ndim > 2 and not sparse.issparse(X):
        if not takes_images:
            raise ValueError(
                f"`X` must be a table (n, n_features) for architecture='dense'; got shape {tuple(X.shape)}. "
                "Use architecture='conv' for images, or flatten them."
            )
        sample_shape = tuple(int(side) for side in X.shape[1:])
        X = np.asarray(X).reshape(len(X), prod(sample_shape))
    else:
        sample_shape = ()
    X = validate_data(estimator, X, reset=is_fitting, accept_sparse="csr", dtype="numeric", ensure_all_finite=False)
    rows = dense(X)
    if rows.dtype == bool:
        rows = rows.astype(np.float32)
    _check_finite(rows, getattr(estimator, "feature_names_in_", None))
    return rows, sample_shape or (rows.shape[1],)


def blocks(estimator: BaseEstimator, rows: AnyRows, n_most: int | None = None) -> Iterator[Rows]:
    """Yield rows part by part, (n_part, n_features).

    Parameters
    ----------
    estimator
        Knows the names of the features.
    rows
        (n, n_features). What is in memory comes in one part unless `n_most` is given; what is on disk in parts of 16
        MiB, or 1,024 rows where these are more.
    n_most
        Rows in memory that come at a time.

    Raises
    ------
    ValueError
        Rows on disk are not finite.
    """
    if isinstance(rows, StoredRows):
        n_most = max(1024, MAX_BYTES // (rows.shape[1] * rows.dtype.itemsize))
    n_most = n_most or len(rows)
    for start in range(0, len(rows), n_most):
        block = rows[start : start + n_most]
        if isinstance(rows, StoredRows):
            _check_finite(block, rows.feature_names, start)
        yield block


def parts(estimator: BaseEstimator, X: Any) -> Iterator[Any]:
    """Yield samples on disk, as AnnData or rows, part by part as data frames, and all others at once as they are."""
    rows = unpack(X, None, None, getattr(estimator, "layer_", None)).X if is_anndata(X) else X
    if not isinstance(rows, StoredRows):
        yield X
        return
    for block in blocks(estimator, rows):
        yield pd.DataFrame(block, columns=rows.feature_names)


def check_labels(y: Any, n_samples: int) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """Return the classes, sorted, and the class index of each sample."""
    if y is None:
        raise ValueError(
            "SVQVAE requires y to be passed, but the target y is None. Pass labels, or `label=` with AnnData."
        )
    y = column_or_1d(y, warn=True)
    is_infinite = np.isinf(y) if y.dtype.kind == "f" else np.zeros(len(y), dtype=bool)
    missing = np.flatnonzero(pd.isna(y) | is_infinite)
    if len(missing):
        raise ValueError(
            f"`y` must have a label for each sample; {len(missing)} are NaN or infinite, the first in row "
            f"{missing[0]}. Drop these samples."
        )
    if y.dtype == object and 0 < sum(isinstance(label, str) for label in y) < len(y):
        kinds = sorted({type(label).__name__ for label in y})
        raise ValueError(f"`y` must hold labels of one kind; got {' and '.join(kinds)}. Make all of them strings.")
    try:
        check_classification_targets(y)
    except ValueError as error:
        told = f"{str(error).split('.')[0]}. `y` must hold classes; got {y[0]!s} and others."
        raise ValueError(f"{told} Name a column of classes, or sort the values into some.") from error
    if y.dtype.kind not in "biufUSO":
        raise ValueError(f"`y` must hold text, numbers or booleans; got {y.dtype}. Turn the labels into text.")
    if len(y) != n_samples:
        raise ValueError(f"`y` must have a label for each of the {n_samples} samples of `X`; got {len(y)}.")
    classes, index = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"`y` must hold at least 2 classes; got 1 class, {str(classes[0])!r}. Nothing can be told apart."
        )
    if len(classes) == len(y) >= MANY:
        raise ValueError(
            f"`y` must have classes of several samples; got {len(classes)} classes of one each. Is this an identifier? "
            "Name the column of the classes."
        )
    return classes, index.astype(np.int64)


def check_groups(groups: Any, n_samples: int) -> NDArray[np.int64] | None:
    """Return the index of each sample's group, or None."""
    if groups is None:
        return None
    groups = column_or_1d(groups)
    if len(groups) != n_samples:
        raise ValueError(f"`groups` must name a group for each of {n_samples} samples; got {len(groups)}.")
    return np.asarray(pd.factorize(groups, use_na_sentinel=False)[0], dtype=np.int64)


@dataclass(frozen=True)
class Unlabelled:
    """Samples without a label, (n, n_features), and the index of the group of each, (n,)."""

    rows: Rows
    groups: NDArray[np.int64]


def check_unlabelled(estimator: BaseEstimator, X: Any, groups: Any, layer: str | None) -> Unlabelled | None:
    """Return samples without a label and their groups, held against the features of the fit, or None.

    Those whose group is missing are left out.
    """
    if X is None:
        if groups is not None:
            raise ValueError("`unlabelled` must be given with `unlabelled_groups`; got None. Give both, or none.")
        return None
    if groups is None:
        raise ValueError(
            "`unlabelled_groups` must say which unlabelled samples should be alike, such as those of one compound; got "
            "None. Nothing is learnt from samples without label and group: leave them out."
        )
    unpacked = unpack(X, None, None, layer if is_anndata(X) else None)
    found, _ = check_rows(estimator, unpacked, takes_images=True, is_fitting=False)
    rows = dense(found)
    _check_finite(rows, getattr(estimator, "feature_names_in_", None))
    check_groups(groups, len(rows))
    index = pd.factorize(column_or_1d(groups))[0].astype(np.int64)
    return Unlabelled(rows[index >= 0], index[index >= 0])


def check_units(rows: Rows, likelihood: str, output_scale: float | None, start: int = 0) -> None:
    """Refuse values that the likelihood cannot give; `start` is the number of the first row."""
    if likelihood == "negative_binomial":
        check_counts(rows, start)
    elif likelihood == "bernoulli":
        check_probabilities(rows)
    elif output_scale is not None:
        check_bounds(rows, output_scale)


def check_counts(rows: Rows, start: int = 0) -> None:
    """Refuse what is not counts: negative or fractional values, and samples without any; `start` numbers the first."""
    if rows.min() < 0:
        raise ValueError(
            f"`X` must hold counts for likelihood='negative_binomial'; got {rows.min():g}. "
            "Pass raw counts, or use likelihood='gaussian'."
        )
    if np.issubdtype(rows.dtype, np.floating) and (rows != np.round(rows)).any():
        fraction = rows[rows != np.round(rows)][0]
        raise ValueError(
            f"`X` must hold whole counts for likelihood='negative_binomial'; got {fraction:g}. "
            "Pass raw counts, not normalised ones, or use likelihood='gaussian'."
        )
    empty = np.flatnonzero(rows.sum(axis=1) == 0)
    if len(empty):
        raise ValueError(
            f"`X` must have at least one count in each sample; {len(empty)} have none, the first in row "
            f"{start + empty[0]}. "
            "Drop these samples."
        )


def check_probabilities(rows: Rows) -> None:
    """Refuse values outside [0, 1]."""
    if rows.min() < 0 or rows.max() > 1:
        raise ValueError(
            f"`X` must lie in [0, 1] for likelihood='bernoulli'; got values from {rows.min():g} to {rows.max():g}. "
            "Divide by the largest possible value, or use likelihood='bounded'."
        )


def check_bounds(rows: Rows, output_scale: float) -> None:
    """Refuse values that a decoder bounded by `output_scale` cannot give."""
    largest = max(-float(rows.min()), float(rows.max()))
    if largest > output_scale:
        raise ValueError(
            f"`X` must lie in [-{output_scale:g}, {output_scale:g}], as `output_scale` says; got an absolute "
            f"value of {largest:g}. Clip `X`, as level-5 signatures are clipped to ±10, or raise `output_scale`."
        )


def _check_names(estimator: BaseEstimator, unpacked: Unpacked, is_fitting: bool) -> None:
    fitted = getattr(estimator, "feature_names_in_", None)
    columns = getattr(unpacked.X, "columns", getattr(unpacked.X, "feature_names", None))
    if is_fitting or fitted is None or columns is None or list(columns) == list(fitted):
        return
    seen, known = [str(name) for name in columns], [str(name) for name in fitted]
    if sorted(seen) == sorted(known):
        at = next(i for i, (a, b) in enumerate(zip(seen, known, strict=True)) if a != b)
        raise ValueError(
            f"`X` must have its features in the order of the fit; feature {at} is {seen[at]!r}, was {known[at]!r}. "
            "Reorder the columns with X[model.feature_names_in_]."
        )
    absent, foreign = (list_some(sorted(names)) or "none" for names in (set(known) - set(seen), set(seen) - set(known)))
    raise ValueError(
        f"`X` must have the {len(known)} features of the fit; missing: {absent}; not known: {foreign}. "
        "Pass the columns X[model.feature_names_in_]."
    )


def _check_finite(rows: Rows, names: NDArray[np.object_] | None, start: int = 0) -> None:
    # One pass tells in nearly all cases; a sum of finite numbers may still be too large.
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.issubdtype(rows.dtype, np.floating) or np.isfinite(rows.sum()):
            return
    is_bad = ~np.isfinite(rows)
    if not is_bad.any():
        return
    row, column = np.argwhere(is_bad)[0]
    name = repr(names[column]) if names is not None else str(column)
    features = np.flatnonzero(is_bad.any(axis=0))
    which = f": {list_some(names[features])}" if names is not None else ""
    spread = f"{len(features)} features have such cells{which}. " if len(features) > 1 else ""
    raise ValueError(
        f"`X` must be finite; got {is_bad.sum()} NaN or infinite cells, the first ({rows[row, column]}) in row "
        f"{start + row}, feature {name}. {spread}Impute them, or drop the rows or features."
    )


def check_sample_shape(seen: tuple[int, ...], fitted: tuple[int, ...]) -> None:
    """Refuse samples of another shape than those of the fit."""
    if seen != fitted:
        raise ValueError(f"`X` must hold samples of shape {fitted}, as in the fit; got shape {seen}.")


def resolve_image_shape(
    given: Sequence[int] | None, sample_shape: tuple[int, ...], architecture: Any
) -> tuple[int, int, int] | None:
    """Return (channels, height, width) of the images that X holds, or None where it is a plain table."""
    if architecture in ("dense", "published-lincs"):
        return None
    shape = tuple(int(side) for side in given) if given is not None else sample_shape
    if given is not None and (len(shape) not in (2, 3) or prod(shape) != prod(sample_shape)):
        raise ValueError(
            f"`image_shape` must be (height, width) or (channels, height, width) of {prod(sample_shape)} pixels in "
            f"all; got {shape}."
        )
    if len(shape) == 1:
        return None
    if len(shape) > 3:
        raise ValueError(
            f"`X` must hold images (n, height, width) or (n, channels, height, width); got samples of shape {shape}."
        )
    return (1, *shape) if len(shape) == 2 else (shape[0], shape[1], shape[2])


def fingerprint(rows: AnyRows, index: NDArray[np.int64]) -> str:
    """Return a SHA-256 of the data as fitted, to tell later whether two runs saw the same."""
    digest = hashlib.sha256(f"{rows.shape} {rows.dtype}".encode())
    for start in range(0, len(rows), CHUNK):
        digest.update(np.ascontiguousarray(rows[start : start + CHUNK]).data)
    digest.update(np.ascontiguousarray(index).data)
    return digest.hexdigest()
