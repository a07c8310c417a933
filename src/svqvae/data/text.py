"""Text tables, .csv, .tsv and .txt, to a data frame and sample names, without loss of digits or names."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from svqvae.wording import list_some

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
# Share of numbers from which a column of text is taken for damaged numbers and not for names; chosen by hand.
MOSTLY = 0.8
_ID_NAMES = {"", "unnamed: 0", "sample", "sample_id", "id", "sig_id", "cell_id", "barcode", "cell", "index"}
# Without "None", which is a common name for untreated samples.
_MISSING = ["", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "null", "NULL"]
# Replaces digits and the decimal point by 0, and E by e, so that a long number becomes a run of zeros.
_TO_ZERO = bytes.maketrans(b"123456789.E", b"0000000000e")
_LONG_NUMBER = (b"0" * 16, b"0e0", b"0e-", b"0e+")


def read_text(path: Path, separator: str, roles: Mapping[str, str]) -> tuple[pd.DataFrame, list[str] | None]:
    r"""Read a table, and the names of the samples if its first column has these.

    Parameters
    ----------
    path : the file, compressed if its name ends in .gz
    separator : character between two cells
    roles : columns that annotate the samples whatever their values are, by role

    Returns
    -------
    data frame of the columns without the names, (n_samples, n_columns), and the names, (n_samples,), or None

    Raises
    ------
    ValueError
        The file cannot be read, or its header is empty, incomplete or ambiguous.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "doses.tsv"
    ...     _ = path.write_text("sample\tdose\n007\t0.1\nNA\t10\n")
    ...     frame, samples = read_text(path, "\t", {})
    >>> frame["dose"].tolist(), samples
    ([0.1, 10.0], ['007', 'NA'])
    """
    names = _header(path, separator)
    require_sound_header(names, path)
    packing = "gzip" if path.suffix.lower() == ".gz" else None
    layout: dict[str, Any] = {"sep": separator, "header": 0, "names": names, "compression": packing}
    layout["encoding"] = "utf-8-sig"
    with told_in_a_sentence(path, "table"):
        # As text without missing values, so that samples such as "007" and "NA" keep their names.
        first = pd.read_csv(path, usecols=[0], dtype=str, na_filter=False, **layout)[names[0]]
    has_ids = names_samples(first, roles)
    with told_in_a_sentence(path, "table"):
        frame = pd.read_csv(
            path,
            dtype={names[0]: str} if has_ids else None,
            keep_default_na=False,
            na_values=_MISSING,
            float_precision="round_trip" if _may_have_long_numbers(path) else "high",
            low_memory=False,
            **layout,
        )
    if has_ids:
        del frame[names[0]]
    _convert_long_integers(frame, roles)
    return frame, first.tolist() if has_ids else None


def _may_have_long_numbers(path: Path) -> bool:
    """Return whether the file may have a number of more than 15 digits or with an exponent.

    Any other number is an integer below 2^53 divided by a power of ten up to 1e15. Both are exact doubles, whose
    quotient is the nearest double (Clinger, PLDI 1990), and pandas' fast conversion divides in this way. Longer numbers
    need its slow conversion.
    """
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rb") as file:
        header = file.readline()
        if b"\r" in header.rstrip():
            return True
        before = b""
        while block := file.read(1 << 22):
            text = before + block.translate(_TO_ZERO)
            if any(pattern in text for pattern in _LONG_NUMBER):
                return True
            before = text[-15:]
    return False


def _header(path: Path, separator: str) -> list[str]:
    """Return the column names, the first of them empty if the row names have no header, as R writes tables."""
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with (
        told_in_a_sentence(path, "table"),
        opened(path, "rt", encoding="utf-8-sig", newline="") as file,
    ):
        rows = (row for row in csv.reader(file, delimiter=separator) if row)
        names, values = next(rows, []), next(rows, [])
    if not values:
        found = "has only a header" if names else "is empty"
        raise ValueError(
            f"`path` must be a table with a header and rows; got {path}, which {found}. Give another file."
        )
    n_extra = len(values) - len(names)
    if n_extra > 1 or (n_extra == 1 and values[-1] == ""):
        raise ValueError(
            f"`path` must have as many cells in each row as in its header; got {path} with {len(names)} names and "
            f"{len(values)} cells in the first row. Remove separators at the ends of rows, or complete the header."
        )
    return ["", *names] if n_extra == 1 else names


@contextmanager
def told_in_a_sentence(path: Path, what: str) -> Iterator[None]:
    """Within the block, turn errors of a reader into a ValueError whose message names the file.

    Parameters
    ----------
    path
        The file.
    what
        Kind of file, for the message.

    Raises
    ------
    ValueError
        Reading fails.
    """
    try:
        yield
    except (ValueError, OSError, EOFError, zlib.error, csv.Error, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        hint = "Save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "Check how it was written or copied"
        raise ValueError(
            f"`path` must be a sound {what}; got {path}, where reading fails: {reason.rstrip('.')}. {hint}."
        ) from error


def require_sound_header(names: list[str], path: Path) -> None:
    """Refuse column names that make a table ambiguous.

    Raises
    ------
    ValueError
        Names are repeated, a column other than the first has none, or the separator is a semicolon.
    """
    if len(names) == 1 and ";" in names[0]:
        raise ValueError(
            f"`path` must have its columns separated by commas (.csv) or tabs (.tsv, .txt); got {path} with "
            "semicolons. Save it with the separator of its suffix."
        )
    repeated = pd.Index(names)[pd.Index(names).duplicated()].unique()
    if len(repeated):
        raise ValueError(
            f"`path` must have unique column names; got {path} with {list_some(repeated)} more than once. "
            "Rename the columns, or name those that have no name."
        )
    if "" in names[1:]:
        raise ValueError(
            f"`path` must have a name for each column; got {path}, where column {names.index('', 1) + 1} has none. "
            "Name the column, or remove it."
        )


def names_samples(column: "pd.Series[Any]", roles: Mapping[str, str]) -> bool:
    """Return whether the first column of a table names the samples: by its header, or as complete and unique text."""
    name = str(column.name)
    if name in roles.values():
        return False
    if name.strip().lower() in _ID_NAMES:
        return True
    is_complete_text = is_text(column) and not column.isin([*_MISSING, None]).any()
    return is_complete_text and bool(column.is_unique) and number_share(column) < MOSTLY


def is_text(column: "pd.Series[Any]") -> bool:
    """Return whether all values that are not missing are text."""
    return pd.api.types.infer_dtype(column, skipna=True) == "string"


def number_share(column: "pd.Series[Any]") -> float:
    """Return the share of numbers among the values that are not missing."""
    return float(pd.to_numeric(column.dropna(), errors="coerce").notna().mean())


def _convert_long_integers(frame: pd.DataFrame, roles: Mapping[str, str]) -> None:
    # pandas leaves integers beyond 64 bits as text.
    for name in [name for name, dtype in frame.dtypes.items() if dtype.hasobject]:
        if name not in roles.values() and is_text(frame[name]) and number_share(frame[name]) == 1:
            frame[name] = frame[name].astype(float)
