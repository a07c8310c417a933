"""Ids and metadata of CMap's files: from text or HDF5 arrays to typed columns, and back."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from svqvae.wording import list_some

# CMap writes -666 for missing values, in text and in numbers.
MISSING = "-666"
_MISSING_NUMBER = -666
_IS_MISSING = re.compile(r"(-666(\.0+)?)?")
_TEXT_MISSING = {"na", "n/a", "#n/a", "nan", "<na>", "null"}
# Neither matches leading zeros, because 007 is a name.
_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?(((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|inf)")
_TRUTH = {"True": True, "TRUE": True, "False": False, "FALSE": False}


@dataclass(frozen=True)
class Contents:
    """Ids and metadata of a file.

    Attributes
    ----------
    var : (n_genes, n_row_columns), by gene id
    obs : (n_samples, n_column_columns), by sample id
    """

    var: pd.DataFrame
    obs: pd.DataFrame


def is_missing(cell: str) -> bool:
    """Return whether a cell of a text file marks a missing value."""
    return _IS_MISSING.fullmatch(cell) is not None or cell.lower() in _TEXT_MISSING


def decode(text: bytes) -> str:
    """Decode bytes as UTF-8 or, if they are not valid UTF-8, as Latin-1, in which CMap wrote its µ."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def from_cells(cells: Sequence[str]) -> npt.NDArray[Any]:
    """Return a column of text as an array of the type of its values, (n,).

    Numbers become int64 if all are whole and none is missing, otherwise float64 with NaN. ``True`` and ``False`` become
    booleans if none is missing. All others stay text, with None for missing values. A column without values is float64.

    Examples
    --------
    >>> from_cells(["1", "2"]), from_cells(["1", "-666"]), from_cells(["007", ""])
    (array([1, 2]), array([ 1., nan]), array(['007', None], dtype=object))
    """
    cells = [cell.strip() for cell in cells]
    missing = {cell for cell in set(cells) if is_missing(cell)}
    present = set(cells) - missing
    if not missing and all(_INTEGER.fullmatch(cell) and abs(int(cell)) < 2**63 for cell in present):
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    if all(_NUMBER.fullmatch(cell) and not _is_long(cell) for cell in present):
        return np.array([np.nan if cell in missing else float(cell) for cell in cells], dtype=np.float64)
    if not missing and present <= set(_TRUTH):
        return np.array([_TRUTH[cell] for cell in cells])
    return _objects(None if cell in missing else cell for cell in cells)


def _is_long(cell: str) -> bool:
    # A double would change the last digits of such a number, which is more likely a bar code than a measurement.
    return _INTEGER.fullmatch(cell) is not None and abs(int(cell)) > 2**53


def from_stored(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a column of an HDF5 file in its own type, (n,), text stripped, with NaN or None for missing values.

    Examples
    --------
    >>> from_stored(np.array([1, -666])), from_stored(np.array([b"10 um ", b"-666"]))
    (array([ 1., nan]), array(['10 um', None], dtype=object))
    """
    if values.dtype.kind == "b":
        return values
    if values.dtype.kind in "iuf":
        is_gone = values == _MISSING_NUMBER
        return np.where(is_gone, np.nan, values) if is_gone.any() else values
    return _objects(None if _IS_MISSING.fullmatch(text) else text for text in _texts(values))


def to_plain(column: "pd.Series[Any]") -> npt.NDArray[Any]:
    """Return a column as an array, (n,), of booleans, integers, floats with NaN, or text with None.

    Categories and mixed types become text.

    Examples
    --------
    >>> to_plain(pd.Series([1, None], dtype="Int64")), to_plain(pd.Series(["a", None], dtype="category"))
    (array([ 1., nan]), array(['a', None], dtype=object))
    """
    has_gaps = bool(column.isna().any())
    if not isinstance(column.dtype, pd.CategoricalDtype):
        numpy_dtype = np.dtype(getattr(column.dtype, "numpy_dtype", None) or object)
        if isinstance(column.dtype, np.dtype):
            numpy_dtype = column.dtype
        if numpy_dtype.kind == "f" or (numpy_dtype.kind in "iu" and has_gaps):
            return column.to_numpy(dtype=numpy_dtype if numpy_dtype.kind == "f" else np.float64, na_value=np.nan)
        if numpy_dtype.kind in "iub" and not has_gaps:
            return column.to_numpy(dtype=numpy_dtype)
    gaps = column.isna().to_numpy()
    return _objects(None if gap else str(value).strip() for value, gap in zip(column.astype(object), gaps, strict=True))


def ids_of(values: npt.NDArray[Any] | Sequence[str], what: str, path: Path) -> "pd.Index[str]":
    """Return ids as stripped text, (n,).

    Parameters
    ----------
    values : text, bytes or numbers, (n,)
    what : what the ids name, for messages
    path : the file that they are in, for messages

    Raises
    ------
    ValueError
        An id is empty or repeated.
    """
    array = np.asarray(values)
    if array.dtype.kind == "f" and np.all(array == np.floor(array)):
        array = array.astype(np.int64)
    ids = pd.Index(
        [str(value) for value in array.tolist()] if array.dtype.kind in "iuf" else _texts(array), dtype=object
    )
    if "" in ids:
        raise ValueError(
            f"`path` must have an id for each {what}; got {path} with none for {what} {list(ids).index('') + 1}. "
            "Complete the ids."
        )
    repeated = ids[ids.duplicated()].unique()
    if len(repeated):
        raise ValueError(
            f"`path` must have unique ids; got {path} with the {what} {list_some(repeated)} more than once. "
            "Make them unique."
        )
    return ids


def pick(ids: "pd.Index[str]", wanted: Iterable[Any] | None, argument: str, path: Path) -> npt.NDArray[np.int64]:
    """Return the positions of the wanted ids, (n_wanted,), in their order.

    Parameters
    ----------
    ids : the ids in the file, (n,)
    wanted : ids as text, or positions as integers; None for all
    argument : name of the argument with `wanted`, for messages
    path : the file, for messages

    Raises
    ------
    ValueError
        Wanted ids are not in the file, repeated, or neither all text nor all integers.

    Examples
    --------
    >>> pick(pd.Index(["780", "7849", "6193"]), ["6193", "780"], "rows", Path("a.gctx"))
    array([2, 0])
    """
    if wanted is None:
        return np.arange(len(ids))
    asked: list[Any] = [wanted] if isinstance(wanted, str) else list(wanted)
    is_text = all(isinstance(value, str) for value in asked)
    is_integer = all(isinstance(value, (int, np.integer)) and not isinstance(value, bool) for value in asked)
    if isinstance(wanted, str) or not asked or not (is_text or is_integer):
        raise ValueError(
            f"`{argument}` must be a list of ids, all text, or of positions, all integers; "
            f"got {list_some(asked) or '[]'}. Give None for all."
        )
    if len(set(asked)) < len(asked):
        repeated = pd.Index(asked)[pd.Index(asked).duplicated()].unique()
        raise ValueError(f"`{argument}` must be unique; got {list_some(repeated)} more than once. Name each once.")
    if is_integer:
        outside = [value for value in asked if not 0 <= value < len(ids)]
        if outside:
            raise ValueError(
                f"`{argument}` must be positions from 0 to {len(ids) - 1}; got {list_some(outside)}. "
                "Give ids as text, numbers such as Entrez ids too."
            )
        return np.array(asked, dtype=np.int64)
    positions = ids.get_indexer(pd.Index([value.strip() for value in asked]))
    unknown = [value for value, position in zip(asked, positions, strict=True) if position < 0]
    if unknown:
        close = difflib.get_close_matches(unknown[0], ids, n=3)
        known = f"The closest to the first are {list_some(close)}" if close else f"Ids there are {list_some(ids)}"
        raise ValueError(
            f"`{argument}` must be ids in {path}; got {list_some(unknown)}, which it does not hold. {known}."
        )
    return np.asarray(positions, dtype=np.int64)


def metadata_frame(columns: Mapping[str, npt.NDArray[Any]], ids: "pd.Index[str]") -> pd.DataFrame:
    """Return columns, by name, as a data frame indexed by the ids, (n, n_columns)."""
    return pd.DataFrame(dict(columns), index=ids)


def require_plain_names(frame: pd.DataFrame, what: str, forbidden: str) -> tuple[list[str], list[str]]:
    """Return the ids, (n,), and the column names, (n_columns,), of a data frame as they are written, stripped.

    Parameters
    ----------
    frame : (n, n_columns)
    what : ``obs`` or ``var``, for messages
    forbidden : characters that column names must not have

    Raises
    ------
    ValueError
        An id or name is empty or repeated, or a name is reserved or has a forbidden character.
    """
    ids = [str(name).strip() for name in frame.index]
    names = [str(name).strip() for name in frame.columns]
    for place, texts in ((f"{what}_names", ids), (f"{what}.columns", names)):
        repeated = pd.Index(texts)[pd.Index(texts).duplicated()].unique()
        if len(repeated):
            raise ValueError(
                f"`adata.{place}` must be unique; got {list_some(repeated)} more than once. Make them unique."
            )
        if "" in texts:
            raise ValueError(f"`adata.{place}` must not be empty; got '' at position {texts.index('')}. Name it.")
    bad = [name for name in names if name in ("id", ".", "..") or set(name) & set(forbidden)]
    if bad:
        raise ValueError(
            f"`adata.{what}.columns` must be names other than 'id', '.' and '..', without {list_some(forbidden)}; "
            f"got {list_some(bad)}. Rename them."
        )
    return ids, names


def _texts(values: npt.NDArray[Any]) -> list[str]:
    texts = [decode(value) if isinstance(value, bytes) else value for value in values.tolist()]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"a column must hold numbers or text, not {values.dtype}")
    return [text.strip().strip("\0").strip() for text in texts]


def _objects(values: Iterable[str | None]) -> npt.NDArray[Any]:
    return np.array([*values, None], dtype=object)[:-1]
