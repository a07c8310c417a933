"""CMap's text tables, above all sig_info: what is known of each signature."""

import csv
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from svqvae.data.metadata import from_cells
from svqvae.data.text import SEPARATORS, list_some, require_sound_header, told_in_a_sentence

# Today's names of columns, and those of LINCS 2020.
_OTHER_NAMES = {"pert_iname": "cmap_name", "cell_id": "cell_iname"}
_DEFAULTS = {"pert_type": "trt_cp", "cell_id": "unknown"}


def read_cmap_table(path: Path, argument: str, other_names: Mapping[str, str]) -> pd.DataFrame:
    """Read one of CMap's text tables; quotes are text, and -666 is missing.

    Parameters
    ----------
    path
        .txt or .tsv (tabs) or .csv, each also .gz.
    argument
        What the table is called in messages.
    other_names
        Columns to be renamed where they go by another name, and that name; those that are there by neither are not
        missed here.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, or it is no table.
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
    table.columns = table.columns.astype(str).str.strip()
    require_sound_header(list(table.columns), path)
    renamed = {old: new for new, old in other_names.items() if new not in table and old in table}
    return table.rename(columns=renamed)


def _read(path: Path, separator: str, encoding: str) -> pd.DataFrame:
    try:
        # Quotes are text where tabs separate.
        return pd.read_csv(
            path,
            sep=separator,
            quoting=csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE,
            dtype=str,
            keep_default_na=False,
            index_col=False,
            encoding=encoding,
        )
    except UnicodeDecodeError:
        # CMap wrote its µ in Latin-1.
        return _read(path, separator, "latin-1")


def read_sig_info(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read what is known of each signature.

    Parameters
    ----------
    path
        Text table with ``sig_id`` and ``pert_id``. Where ``pert_iname`` is missing, it is ``pert_id``.

    Returns
    -------
    facts : (n_signatures, n_columns), by ``sig_id``; columns of numbers are numbers
    told : what was left out, a sentence each
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
    names = {"sig_id", "pert_id", "pert_iname"}
    facts = pd.DataFrame(
        {
            column: table[column].str.strip().to_numpy() if column in names else from_cells(table[column].tolist())
            for column in table.columns
        },
        index=pd.Index(ids.to_numpy(dtype=object), name=None),
    )
    if "pert_iname" not in facts:
        facts["pert_iname"] = facts["pert_id"]
    for column, value in _DEFAULTS.items():
        if column not in facts:
            facts[column] = value
            told.append(f"sig_info has no column {column}: all signatures are taken for {value}.")
    return facts, told
