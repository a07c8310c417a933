"""Samples in any container as rows, labels and groups, checked for what a model can take."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, column_or_1d

from svqvae.data.rows import StoredRows
from svqvae.wording import list_some

Rows = NDArray[np.number]
Index = NDArray[np.int64]
Names = NDArray[np.object_]

# Rows that are processed at a time, and bytes of rows that are read at a time from disk, 16 MiB: guards for memory,
# chosen by hand. 8,192 rows of 978 features take 64 MB in double precision.
CHUNK, MAX_BYTES = 8192, 1 << 24
# Least number of samples from which labels that are all different are refused as names of samples; chosen by hand.
MANY = 20


@dataclass(frozen=True, eq=False)
class Samples:
    """Rows, in memory or on disk, with labels and groups.

    Attributes
    ----------
    rows
        An array or rows on disk, (n, n_features).
    feature_names
        Names of the features as text, (n_features,), or None.
    sample_shape
        Shape of one sample in the container: (n_features,), or that of an image.
    image_shape
        Shape of one image if the container has flat rows and states it, otherwise None.
    y
        Class index of each sample, (n,); -1 for samples without a label.
    classes
        The classes, sorted, (n_classes,); empty without labels.
    groups
        Group index of each sample, (n,), or None.
    """

    rows: Rows | StoredRows
    feature_names: Names | None
    sample_shape: tuple[int, ...]
    image_shape: tuple[int, ...] | None
    y: Index
    classes: NDArray[np.generic]
    groups: Index | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self.rows.shape[1])

    @property
    def labels(self) -> NDArray[np.generic]:
        """The class of each sample, (n,); requires that all samples have a label."""
        return self.classes[self.y]

    @property
    def stay_on_disk(self) -> bool:
        """Whether rows are read from a file when they are needed."""
        return isinstance(self.rows, StoredRows)

    @property
    def n_together(self) -> int:
        """Number of rows that are best read together, see `StoredRows`."""
        return self.rows.n_together if isinstance(self.rows, StoredRows) else 1

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of values and labels, by which runs on the same data are recognised."""
        digest = hashlib.sha256(f"{self.rows.shape} {self.rows.dtype}".encode())
        for start in range(0, len(self), CHUNK):
            digest.update(np.ascontiguousarray(self.rows[start : start + CHUNK]).data)
        digest.update(np.ascontiguousarray(self.y).data)
        return digest.hexdigest()

    def subset(self, chosen: Index) -> "Samples":
        """Return samples by ascending position, (n_chosen,); rows on disk are not read."""
        rows = self.rows.subset(chosen) if isinstance(self.rows, StoredRows) else self.rows[chosen]
        groups = None if self.groups is None else self.groups[chosen]
        return replace(self, rows=rows, y=self.y[chosen], groups=groups)

    def in_memory(self, n_most: int) -> "Samples":
        """Return the samples in memory; if they are on disk, at most `n_most` of them, evenly spaced."""
        if not isinstance(self.rows, StoredRows):
            return self
        chosen = np.linspace(0, len(self) - 1, min(len(self), n_most)).round().astype(np.int64)
        return replace(self.subset(chosen), rows=self.rows[chosen])

    def renumbered(self) -> "Samples":
        """Return the same samples with indices over those classes and groups only that have samples."""
        present = np.unique(self.y[self.y >= 0])
        y = np.where(self.y < 0, -1, np.searchsorted(present, self.y)).astype(np.int64)
        groups = None if self.groups is None else pd.factorize(self.groups)[0].astype(np.int64)
        return replace(self, classes=self.classes[present], y=y, groups=groups)

    def blocks(self, n_most: int | None = None) -> Iterator[Rows]:
        """Yield all rows in parts, (n_part, n_features).

        Parameters
        ----------
        n_most
            Number of rows in a part. None takes all rows if they are in memory; if they are on disk, 16 MiB or 1,024
            rows, whichever is more.

        Raises
        ------
        ValueError
            Rows on disk are not finite.
        """
        if n_most is None and self.stay_on_disk:
            n_most = max(1024, MAX_BYTES // (self.n_features * self.rows.dtype.itemsize))
        n_most = n_most or max(1, len(self))
        for start in range(0, len(self), n_most):
            block = self.rows[start : start + n_most]
            if self.stay_on_disk:
                check_finite(block, self.feature_names, start)
            yield block

    def head(self) -> Any:
        """Return the first row, (1, n_features), for scikit-learn: a data frame if features have names."""
        rows = self.rows[:1]
        return rows if self.feature_names is None else pd.DataFrame(rows, columns=self.feature_names)


def read_samples(
    X: Any,
    y: Any = None,
    *,
    label: str | None = None,
    layer: str | None = None,
    groups: Any = None,
    are_labelled: bool = False,
) -> Samples:
    """Read samples in any container and check them.

    Parameters
    ----------
    X : array, DataFrame, sparse matrix or rows on disk, (n, n_features); images, (n, ...); AnnData; or `Samples`
        `Samples` are returned unchanged but for labels and groups that are given.
    y : labels as text or whole numbers, (n,), or None
    label
        Column of `X.obs` with the labels, if X is AnnData.
    layer
        Layer of the AnnData to use instead of `X.X`.
    groups : group of each sample, (n,); a column of `X.obs`; or None
    are_labelled
        Whether a model is to be fitted to the labels, so that these are required and checked for that.

    Raises
    ------
    ValueError, TypeError
        The data break a rule; the message says which, what was found and what to do.

    Examples
    --------
    >>> samples = read_samples(np.eye(4), ["b", "a", "b", "a"], are_labelled=True)
    >>> samples.classes.tolist(), samples.y.tolist()
    (['a', 'b'], [1, 0, 1, 0])
    """
    if is_anndata(X):
        found, y, groups = _from_anndata(X, y, label, layer, groups)
    elif label is not None or layer is not None:
        raise TypeError(f"`label` and `layer` go with AnnData; got a {type(X).__name__}. Pass the labels as `y`.")
    else:
        groups = _column(X, "groups", groups) if isinstance(groups, str) else groups
        found = X if isinstance(X, Samples) else _from_array(X)
    if y is not None or (are_labelled and not len(found.classes)):
        classes, index = (check_labels if are_labelled else index_labels)(y, len(found))
        found = replace(found, y=index, classes=classes)
    return found if groups is None else replace(found, groups=check_groups(groups, len(found)))


def read_unlabelled(X: Any, groups: Any, layer: str | None) -> Samples | None:
    """Read samples without labels, which must have groups; samples whose group is missing are left out.

    Parameters
    ----------
    X
        As in `read_samples`, or None for no samples.
    groups
        Group of each sample, (n,); a column of `X.obs`; or None if X has its own.
    layer
        As in `read_samples`.

    Returns
    -------
    Samples or None

    Raises
    ------
    ValueError, TypeError
        Samples or groups are given without the other, or as in `read_samples`.
    """
    if X is None:
        if groups is not None:
            raise ValueError("`unlabelled` must be given with `unlabelled_groups`; got None. Give both, or none.")
        return None
    if isinstance(X, Samples) and groups is None:
        groups = X.groups
    if groups is None:
        raise ValueError(
            "`unlabelled_groups` must say which unlabelled samples should be alike, such as those of one compound; got "
            "None. Nothing is learnt from samples without label and group: leave them out."
        )
    found = read_samples(X, layer=layer if is_anndata(X) else None)
    if isinstance(groups, str):
        groups = _column(X, "groups", groups)
    check_groups(groups, len(found))
    index = pd.factorize(column_or_1d(groups))[0].astype(np.int64)
    rows = dense(found.rows)
    check_finite(rows, found.feature_names)
    return replace(found, rows=rows[index >= 0], y=found.y[index >= 0], groups=index[index >= 0])


def dense(X: Any) -> NDArray[Any]:
    """Return an array, a sparse matrix or rows on disk, (n, ...), as a dense array."""
    return np.asarray(X.toarray() if hasattr(X, "toarray") else X)


def is_anndata(X: Any) -> bool:
    """Return whether X is AnnData, without importing anndata."""
    return type(X).__module__.startswith("anndata")


def _from_anndata(adata: Any, y: Any, label: str | None, layer: str | None, groups: Any) -> tuple[Samples, Any, Any]:
    """Return the samples of AnnData, their labels and their groups."""
    from svqvae.data.tables import image_shape_of, matrix_of

    if label is not None and y is not None:
        raise TypeError(f"`label` and `y` cannot both be given; got label={label!r} and {len(y)} labels in `y`.")
    y = _column(adata, "label", label) if label is not None else y
    groups = _column(adata, "groups", groups) if isinstance(groups, str) else groups
    X = matrix_of(adata, layer)
    names = np.array(adata.var_names.astype(str), dtype=object)
    found = _from_array(X if isinstance(X, StoredRows) else dense(X), names)
    return replace(found, image_shape=image_shape_of(adata)), y, groups


def _column(adata: Any, role: str, name: str) -> NDArray[Any]:
    if not is_anndata(adata):
        raise TypeError(
            f"`{role}` names a column of AnnData only; got {name!r} with a {type(adata).__name__}. Pass an array."
        )
    from svqvae.data.tables import plain_column, require_roles

    require_roles(adata.obs, {role: name}, "adata.obs")
    return plain_column(adata.obs[name])


def _from_array(X: Any, names: Names | None = None) -> Samples:
    """Return samples with dense finite rows, (n, n_features), and without labels.

    Rows on disk are not read here; `Samples.blocks` checks that they are finite.
    """
    nothing = np.zeros(0, dtype=np.int64)
    if isinstance(X, StoredRows):
        names = np.array(X.feature_names, dtype=object)
        return Samples(X, names, (X.shape[1],), None, np.full(len(X), -1, dtype=np.int64), nothing)
    names = _names_of(X) if names is None else names
    sample_shape: tuple[int, ...] = ()
    if hasattr(X, "ndim") and X.ndim > 2 and not sparse.issparse(X):
        sample_shape = tuple(int(side) for side in X.shape[1:])
        X = np.asarray(X).reshape(len(X), prod(sample_shape))
    rules: dict[str, Any] = {"accept_sparse": "csr", "dtype": "numeric", "ensure_all_finite": False}
    rows = dense(check_array(X, **rules, estimator="SVQVAE", input_name="X"))
    if rows.dtype == bool:
        rows = rows.astype(np.float32)
    check_finite(rows, names)
    return Samples(rows, names, sample_shape or (rows.shape[1],), None, np.full(len(rows), -1, dtype=np.int64), nothing)


def columns_of(X: Any) -> list[Any]:
    """Return the names of the columns of a data frame, whatever they are, or none of other containers."""
    # Arrow's tables have their columns themselves in `columns`.
    return list(getattr(X, "column_names", getattr(X, "columns", ())))


def _names_of(X: Any) -> Names | None:
    """Return the names of the features of a data frame, where they are text."""
    columns = columns_of(X)
    are_text = [isinstance(name, str) for name in columns]
    if any(are_text) and not all(are_text):
        odd = columns[are_text.index(False)]
        raise TypeError(
            f"`X` must have column names that are all text, or none that is; got {odd!r} among others. "
            "Use X.columns = X.columns.astype(str)."
        )
    # As plain text: scikit-learn takes numpy's own for no names.
    return np.array([str(name) for name in columns], dtype=object) if columns and all(are_text) else None


def index_labels(y: Any, n_samples: int) -> tuple[NDArray[np.generic], Index]:
    """Return the classes, sorted, (n_classes,), and the class index of each sample, (n,).

    Raises
    ------
    ValueError
        Labels are missing, or their number is not that of the samples.
    """
    y = _complete(y)
    if len(y) != n_samples:
        raise ValueError(f"`y` must have a label for each of the {n_samples} samples of `X`; got {len(y)}.")
    classes, index = np.unique(y, return_inverse=True)
    return classes, index.astype(np.int64)


def _complete(y: Any) -> NDArray[Any]:
    """Return labels as an array, (n,); refuse missing ones."""
    y = column_or_1d(y, warn=True)
    is_infinite = np.isinf(y) if y.dtype.kind == "f" else np.zeros(len(y), dtype=bool)
    missing = np.flatnonzero(pd.isna(y) | is_infinite)
    if len(missing):
        raise ValueError(
            f"`y` must have a label for each sample; {len(missing)} are NaN or infinite, the first in row "
            f"{missing[0]}. Drop these samples."
        )
    return np.asarray(y)


def check_labels(y: Any, n_samples: int) -> tuple[NDArray[np.generic], Index]:
    """As `index_labels`, for labels to which a model is fitted.

    Raises
    ------
    ValueError
        As `index_labels`; or there are no labels, they have several types, are continuous, are all of one class, or
        are all different.
    """
    if y is None:
        raise ValueError(
            "SVQVAE requires y to be passed, but the target y is None. Pass labels, or `label=` with AnnData."
        )
    y = _complete(y)
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
    classes, index = index_labels(y, n_samples)
    if len(classes) < 2:
        raise ValueError(
            f"`y` must hold at least 2 classes; got 1 class, {str(classes[0])!r}. Nothing can be told apart."
        )
    if len(classes) == len(y) >= MANY:
        raise ValueError(
            f"`y` must have classes of several samples; got {len(classes)} classes of one each. Is this an identifier? "
            "Name the column of the classes."
        )
    return classes, index


def check_groups(groups: Any, n_samples: int) -> Index:
    """Return the group index of each sample, (n,); missing groups are one group.

    Raises
    ------
    ValueError
        The number of groups is not that of the samples.
    """
    groups = column_or_1d(groups)
    if len(groups) != n_samples:
        raise ValueError(f"`groups` must name a group for each of {n_samples} samples; got {len(groups)}.")
    return np.asarray(pd.factorize(groups, use_na_sentinel=False)[0], dtype=np.int64)


def check_features(seen: Names | None, fitted: Names | None) -> None:
    """Refuse features with other names or in another order than in the fit, if both have names.

    Raises
    ------
    ValueError
        The names differ; the message says which.
    """
    if seen is None or fitted is None or list(seen) == list(fitted):
        return
    if sorted(seen) == sorted(fitted):
        at = next(i for i, (a, b) in enumerate(zip(seen, fitted, strict=True)) if a != b)
        raise ValueError(
            f"`X` must have its features in the order of the fit; feature {at} is {seen[at]!r}, was {fitted[at]!r}. "
            "Reorder the columns with X[model.feature_names_in_]."
        )
    pairs = (set(fitted) - set(seen), set(seen) - set(fitted))
    absent, foreign = (list_some(sorted(names)) or "none" for names in pairs)
    raise ValueError(
        f"`X` must have the {len(fitted)} features of the fit; missing: {absent}; not known: {foreign}. "
        "Pass the columns X[model.feature_names_in_]."
    )


def check_finite(rows: Rows, names: Names | None, start: int = 0) -> None:
    """Refuse rows, (n, n_features), with NaN or infinite cells.

    Parameters
    ----------
    rows
        The rows.
    names
        Names of the features, (n_features,), for messages, or None.
    start
        Number of the first row, for messages.

    Raises
    ------
    ValueError
        A cell is NaN or infinite.
    """
    # A finite sum rules out both in one pass; but a sum of finite numbers may also overflow.
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
    """Refuse samples of another shape than those of the fit.

    Raises
    ------
    ValueError
        The shapes differ.
    """
    if seen != fitted:
        raise ValueError(f"`X` must hold samples of shape {fitted}, as in the fit; got shape {seen}.")


def check_is_table(samples: Samples) -> None:
    """Refuse images for networks that take tables only.

    Raises
    ------
    ValueError
        The samples are images.
    """
    if len(samples.sample_shape) > 1:
        raise ValueError(
            "`X` must be a table (n, n_features) for architecture='dense'; got shape "
            f"{(len(samples), *samples.sample_shape)}. Use architecture='conv' for images, or flatten them."
        )


def resolve_image_shape(
    given: Sequence[int] | None, sample_shape: tuple[int, ...], takes_images: bool
) -> tuple[int, ...]:
    """Return (channels, height, width) of the images in X, or () for a table.

    Parameters
    ----------
    given
        Shape of an image as the user or the container states it, or None.
    sample_shape
        Shape of one sample in the container.
    takes_images
        Whether the networks take images.

    Raises
    ------
    ValueError
        The shape is not that of an image, or has another number of pixels than a sample.
    """
    if not takes_images:
        return ()
    shape = tuple(int(side) for side in given) if given is not None else sample_shape
    if given is not None and (len(shape) not in (2, 3) or prod(shape) != prod(sample_shape)):
        raise ValueError(
            f"`image_shape` must be (height, width) or (channels, height, width) of {prod(sample_shape)} pixels in "
            f"all; got {shape}."
        )
    if len(shape) == 1:
        return ()
    if len(shape) > 3:
        raise ValueError(
            f"`X` must hold images (n, height, width) or (n, channels, height, width); got samples of shape {shape}."
        )
    return (1, *shape) if len(shape) == 2 else shape
