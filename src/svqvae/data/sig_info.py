"""CMap's text tables, above all sig_info, the metadata of signatures."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from svqvae.data.metadata import MISSING, from_cells
from svqvae.data.text import SEPARATORS, require_sound_header, told_in_a_sentence
from svqvae.wording import list_some

# Columns by their names in GEO's tables of signatures, with the names in other tables: those of single wells in GEO
# (inst_info) and those of LINCS 2020.
_OTHER_NAMES = {
    "sig_id": ("inst_id", "sample_id"),
    "pert_iname": ("cmap_name",),
    "cell_id": ("cell_iname",),
}
_DEFAULTS = {"pert_type": "trt_cp", "cell_id": "unknown"}
# Columns that stay text even if all values look like numbers, and in which NA is a name.
_TEXTS = ("sig_id", "pert_id", "pert_iname", *_DEFAULTS)


def read_cmap_table(path: Path, argument: str, other_names: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Read one of CMap's text tables.

    Parameters
    ----------
    path
        .txt or .tsv (tabs, in which quotes are ordinary characters) or .csv, each also .gz.
    argument
        Name of the table in messages.
    other_names
        Columns with the other names that each may have, which are replaced; columns may be absent.

    Returns
    -------
    data frame of text, (n_rows, n_columns); cells missing at the end of a row are empty

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, or it is not a table.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"`{argument}` must be an existing file; got {path}. Check the spelling and the folder."
        )
    suffix = Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if suffix not in SEPARATORS:
        raise ValueError(f"`{argument}` must end in {', '.join(SEPARATORS)}, each also .gz; got {path}.")
    with told_in_a_sentence(path, "table"):
        table = _read(path, SEPARATORS[suffix], "utf-8-sig")
    names = table.iloc[0].str.strip().tolist()
    require_sound_header(names, path)
    renamed = {
        old: new
        for new, olds in other_names.items()
        if new not in names
        for old in [*filter(names.__contains__, olds)][:1]
    }
    return table.iloc[1:].set_axis([renamed.get(name, name) for name in names], axis=1)


def _read(path: Path, separator: str, encoding: str) -> pd.DataFrame:
    try:
        # The header is read as a row, so that longer rows are refused and repeated names are noticed.
        return pd.read_csv(
            path,
            sep=separator,
            header=None,
            # In tab-separated files quotes are ordinary characters.
            quoting=csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE,
            dtype=str,
            keep_default_na=False,
            encoding=encoding,
        )
    except UnicodeDecodeError:
        # CMap wrote its µ in Latin-1.
        return _read(path, separator, "latin-1")


def read_sig_info(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read the metadata of signatures.

    Parameters
    ----------
    path
        Text table with ``sig_id`` and ``pert_id``. A missing ``pert_iname`` or ``pert_id`` is replaced by the other.

    Returns
    -------
    facts : (n_signatures, n_columns), by ``sig_id``; -666 is missing, and columns of numbers are numbers
    told : sentences about what was left out or assumed

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, it is not a table, or it lacks ``sig_id`` or ``pert_id``.
    """
    table = read_cmap_table(path, "sig_info", _OTHER_NAMES)
    absent = [column for column in ("sig_id", "pert_id") if column not in table]
    if absent:
        raise ValueError(
            f"`sig_info` must have the columns sig_id and pert_id; {path} has {list_some(table.columns)}. Give the "
            "file named ..._sig_info.txt."
        )
    ids = table["sig_id"].str.strip()
    is_repeated = ids.duplicated().to_numpy()
    told = (
        [f"{is_repeated.sum()} rows of sig_info left out, as their sig_id stood before."] if is_repeated.any() else []
    )
    table, ids = table[~is_repeated], ids[~is_repeated]
    facts = pd.DataFrame(
        {
            column: _text(table[column]) if column in _TEXTS else from_cells(table[column].tolist())
            for column in table.columns
        },
        index=pd.Index(ids.to_numpy(dtype=object), name=None),
    )
    if "pert_iname" not in facts:
        facts["pert_iname"] = facts["pert_id"]
    for column, other in (("pert_iname", "pert_id"), ("pert_id", "pert_iname")):
        facts[column] = facts[column].where(facts[column].notna(), facts[other])
    for column, value in _DEFAULTS.items():
        if column not in facts:
            facts[column] = value
            told.append(f"sig_info has no column {column}: all signatures are taken for {value}.")
    return facts, told


def _text(column: "pd.Series[str]") -> npt.NDArray[np.object_]:
    """Return stripped text with None for missing values, (n,)."""
    cells = [cell.strip() for cell in column]
    return np.array([None if cell in ("", MISSING) else cell for cell in cells] + [None], dtype=object)[:-1]
