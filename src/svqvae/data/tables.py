"""Read labelled data from files of any supported kind as AnnData."""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import sparray, spmatrix

from svqvae.data.images import read_image_folder
from svqvae.data.rows import StoredRows, stored_rows
from svqvae.data.text import (
    MOSTLY,
    SEPARATORS,
    is_text,
    names_samples,
    number_share,
    read_text,
    require_sound_header,
    told_in_a_sentence,
)
from svqvae.wording import closest, list_some

if TYPE_CHECKING:
    import anndata

_SUPPORTED = (
    ".csv, .tsv, .txt (each also with .gz), .parquet, .h5ad, .zarr, .gctx, .gct (also .gz), or a folder of IDX files"
)


# Rows from which whole numbers that count them are taken for identifiers, not for chance; chosen by hand.
MANY = 10


def read_table(
    path: Path | str, *, label: str | None = None, group: str | None = None, by: str | None = None
) -> "anndata.AnnData":
    r"""Read labelled data from a text table, Parquet, AnnData, GCTX, GCT or IDX file.

    In a table, columns of numbers or booleans are features, in the order of the file; `label`, `group`, `by` and
    columns of text annotate the samples. Sample names are the index of a Parquet file, or the first column if its
    header is empty or a common name for it (``sample``, ``id``, ``sig_id``, ``barcode`` ...) or if it is unique text,
    or else row numbers. Missing numbers stay NaN. In GCTX and GCT, genes are features, and the metadata of the columns
    annotate the samples, see `svqvae.data.gctx.read`.

    Parameters
    ----------
    path : .csv, .tsv, .txt (tabs), each also .gz; .parquet; .h5ad; .zarr; .gctx; .gct, also .gz; or IDX images, a file
        or a folder
    label : column with the class of each sample; it keeps its type
    group : column with the group of each sample, which is kept together when data are split
    by : column by which samples will be summarised

    Returns
    -------
    AnnData with
    X : (n_samples, n_features)
    obs : (n_samples, n_annotations)

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file does not have the format of its suffix, or its content would be misread; the message says which.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "cells.csv"
    ...     _ = path.write_text("sample,kind,CD3E,CD19\ns1,T cell,5.5,0\ns2,B cell,0.5,4\n")
    ...     adata = read_table(path, label="kind")
    >>> adata.X.tolist(), list(adata.var_names), list(adata.obs["kind"])
    ([[5.5, 0.0], [0.5, 4.0]], ['CD3E', 'CD19'], ['T cell', 'B cell'])
    """
    path = Path(path)
    asked = {"label": label, "group": group, "by": by}
    roles = {role: name for role, name in asked.items() if name is not None}
    if not path.exists():
        raise FileNotFoundError(f"`path` must be an existing file; got {path}. Check the spelling and the folder.")
    suffix = _suffix(path)
    if suffix == ".zarr":
        adata = _read_anndata(path)
    elif path.is_dir() or "idx3-ubyte" in path.name or "idx1-ubyte" in path.name:
        adata = read_image_folder(path)
    elif suffix == ".h5ad":
        adata = _read_anndata(path)
    elif suffix in (".gctx", ".gct"):
        from svqvae.data import gctx

        adata = gctx.read(path)
    elif suffix == ".parquet":
        adata = _annotated(*_read_parquet(path, roles), roles, path)
    elif suffix in SEPARATORS:
        adata = _annotated(*read_text(path, SEPARATORS[suffix], roles), roles, path)
    else:
        raise ValueError(f"`path` must be one of {_SUPPORTED}; got {path}. Convert the file, or rename it.")
    require_roles(adata.obs, roles, str(path))
    return adata


def _suffix(path: Path) -> str:
    is_packed = path.suffix.lower() == ".gz" and Path(path.stem).suffix.lower() in (*SEPARATORS, ".gct", ".gctx")
    return Path(path.stem if is_packed else path.name).suffix.lower()


def _read_parquet(path: Path, roles: Mapping[str, str]) -> tuple[pd.DataFrame, list[str] | None]:
    import pyarrow.parquet

    with told_in_a_sentence(path, "Parquet file"):
        names = [str(name) for name in pyarrow.parquet.read_schema(path).names]
    require_sound_header(names, path)
    with told_in_a_sentence(path, "Parquet file"):
        frame = pd.read_parquet(path)
    frame.columns = frame.columns.astype(str)
    if isinstance(frame.index, pd.MultiIndex):
        raise ValueError(
            f"`path` must have one name for each sample; got {path}, whose index has {frame.index.nlevels} levels. "
            "Write it with an index of one level."
        )
    if not isinstance(frame.index, pd.RangeIndex):
        return frame, frame.index.astype(str).tolist()
    if frame.empty or not names_samples(frame.iloc[:, 0], roles):
        return frame, None
    return frame.iloc[:, 1:], frame.iloc[:, 0].astype(str).tolist()


def _annotated(frame: pd.DataFrame, ids: list[str] | None, roles: Mapping[str, str], path: Path) -> "anndata.AnnData":
    import anndata

    if len(frame) == 0:
        raise ValueError(f"`path` must be a table with rows; got {path}, which has none. Give another file.")
    names = _sample_names(frame, ids, path)
    columns = [str(name) for name in frame.columns]
    for role, column in roles.items():
        _require_column(role, column, columns, str(path))
    # With thousands of columns, looking at the dtype of almost all of them saves taking each column out.
    features = [
        name
        for name, dtype in zip(columns, frame.dtypes, strict=True)
        if name not in roles.values() and (pd.api.types.is_numeric_dtype(dtype) or _holds_numbers(frame[name]))
    ]
    known = set(features)
    _warn_of_identifiers(frame[features], path)
    annotations = [name for name in columns if name not in known]
    for name in annotations:
        if name not in roles.values():
            _refuse_mostly_numbers(frame[name], names, path)
    if not features:
        raise ValueError(
            f"`path` must have a column of numbers; got {path} with the columns {list_some(columns) or 'none'}. "
            "Check that the suffix fits the separator: .csv for commas, .tsv and .txt for tabs."
        )
    obs = frame[annotations].set_axis(names)
    return anndata.AnnData(X=_numbers(frame[features]), obs=obs, var=pd.DataFrame(index=features))


def _sample_names(frame: pd.DataFrame, ids: list[str] | None, path: Path) -> "pd.Index[str]":
    if ids is None:
        return pd.RangeIndex(len(frame)).astype(str)
    names = pd.Index(ids, dtype=object)
    if "" in names:
        raise ValueError(
            f"`path` must have a name for each sample; got {path} with none in data row {ids.index('') + 1}. "
            "Complete the first column, or remove it."
        )
    repeated = names[names.duplicated()].unique()
    if len(repeated):
        raise ValueError(
            f"`path` must have unique sample names; got {path} with {list_some(repeated)} more than once. "
            "Make them unique, or rename the column if it does not name samples."
        )
    return names


def _holds_numbers(column: "pd.Series[Any]") -> bool:
    # Booleans with missing values, and decimals, have the dtype object.
    return pd.api.types.infer_dtype(column, skipna=True) in {"boolean", "decimal"}


def _refuse_mostly_numbers(column: "pd.Series[Any]", names: "pd.Index[str]", path: Path) -> None:
    if not is_text(column):
        return
    filled = column.dropna()
    with_points = filled.str.replace(r"^(-?\d+),(\d+)$", r"\1.\2", regex=True)
    if number_share(filled) < 1 and number_share(with_points) == 1:
        raise ValueError(
            f"`path` must have numbers with a decimal point; got {path}, where column {str(column.name)!r} has commas, "
            f"such as {filled.iloc[0]!r}. Replace them, or remove the column."
        )
    if number_share(column) < MOSTLY:
        return
    is_bad = column.notna().to_numpy() & pd.to_numeric(column, errors="coerce").isna().to_numpy()
    if is_bad.any():
        row = int(np.argmax(is_bad))
        raise ValueError(
            f"`path` must have columns of numbers or of text; got {path}, where column {str(column.name)!r} holds "
            f"numbers but for {is_bad.sum()} of {len(column)} cells, first {column.iloc[row]!r} in data row {row + 1} "
            f"(sample {names[row]!r}). Correct or empty such cells, or remove the column."
        )


def _warn_of_identifiers(features: pd.DataFrame, path: Path) -> None:
    """Warn about whole numbers that are all different and count the rows or are called an id."""
    if len(features) < MANY:
        return
    whole = features.select_dtypes("integer")
    counts_rows = (whole.max() - whole.min() == len(whole) - 1).to_numpy(dtype=bool)
    is_called_id = whole.columns.str.lower().str.contains(r"(?:^|[_ .])id$")
    for name in whole.columns[counts_rows | is_called_id]:
        if whole[name].is_unique:
            warnings.warn(
                f"Column {name!r} of {path.name} is taken as a feature but looks like an identifier: whole numbers, "
                f"each once. Leave it out with ignore={name!r}, or remove it.",
                stacklevel=2,
            )


def _numbers(frame: pd.DataFrame) -> npt.NDArray[Any]:
    # float32 if it can hold every value of the stored types, otherwise float64.
    stored = [np.dtype(getattr(dtype, "numpy_dtype", dtype)) for dtype in frame.dtypes.unique()]
    dtypes = [np.dtype(np.float64) if dtype.hasobject else dtype for dtype in stored]
    return frame.to_numpy(dtype=np.result_type(np.float32, *dtypes), na_value=np.nan)


def _read_anndata(path: Path) -> "anndata.AnnData":
    import anndata

    with told_in_a_sentence(path, f"AnnData file ({path.suffix.lower()})"), warnings.catch_warnings():
        # Warnings about files of old versions do not help those who only read them.
        warnings.simplefilter("ignore", anndata.OldFormatWarning)
        warnings.filterwarnings("ignore", "Moving element from", FutureWarning)
        return anndata.read_zarr(path) if path.suffix.lower() == ".zarr" else anndata.read_h5ad(path)


def require_roles(obs: pd.DataFrame, roles: Mapping[str, str], where: str) -> None:
    """Refuse annotations that lack a column, or have missing values in it.

    Parameters
    ----------
    obs
        Annotations of the samples, (n_samples, n_annotations).
    roles
        Name of the column for each role, such as "label".
    where
        Where the annotations are from, for messages.

    Raises
    ------
    ValueError
        A column is missing or incomplete.
    """
    for role, column in roles.items():
        _require_column(role, column, [str(name) for name in obs.columns], where)
        is_missing = obs[column].isna()
        if is_missing.any():
            raise ValueError(
                f"`{role}` must be a column without missing values; got {column!r} of {where}, where "
                f"{is_missing.sum()} of {len(obs)} samples have none: {list_some(obs.index[is_missing])}. "
                "Remove those samples, or name what they are."
            )


def _require_column(role: str, column: str, columns: list[str], where: str) -> None:
    if column not in columns:
        raise ValueError(
            f"`{role}` must be a column of {where}; got {column!r}. {closest(column, columns)}"
            f"columns are {list_some(columns) or 'none'}."
        )


def matrix_of(adata: "anndata.AnnData", layer: str | None) -> npt.NDArray[Any] | spmatrix | sparray | StoredRows:
    """Return X of AnnData or one of its layers, (n, n_features), as it is stored; X on disk is not read.

    Raises
    ------
    ValueError
        There is no such layer, or X is empty.
    """
    layers = [str(name) for name in adata.layers]
    if layer is not None and layer not in layers:
        raise ValueError(
            f"`layer` must be a name in adata.layers; got {layer!r}. {closest(layer, layers)}"
            f"layers are {list_some(layers) or 'none'}."
        )
    if layer is None and (stored := stored_rows(adata)) is not None:
        return stored
    X = adata.X if layer is None else adata.layers[layer]
    if X is None:
        raise ValueError(
            f"`layer` must be given where adata.X is empty; got None. The layers are {list_some(layers) or 'none'}."
        )
    return X if isinstance(X, (spmatrix, sparray)) else np.asarray(X)


def plain_column(column: "pd.Series[Any]") -> npt.NDArray[Any]:
    """Return an annotation of the samples as an array, (n,), with the values of categories."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    dtype = getattr(column.dtype, "numpy_dtype", None)
    return column.to_numpy(dtype=object if pd.api.types.is_string_dtype(column.dtype) else dtype)


def image_shape_of(adata: "anndata.AnnData") -> tuple[int, ...] | None:
    """Return the shape of the images in the rows from ``adata.uns["image_shape"]``, or None without it.

    Raises
    ------
    ValueError
        The shape has another number of pixels than there are features.
    """
    if "image_shape" not in adata.uns:
        return None
    shape = tuple(int(size) for size in adata.uns["image_shape"])
    if math.prod(shape) != adata.n_vars:
        raise ValueError(
            f"`adata` must have one feature for each pixel of adata.uns['image_shape']; got {shape} and {adata.n_vars} "
            "features. Keep all pixels, or delete adata.uns['image_shape']."
        )
    return shape
