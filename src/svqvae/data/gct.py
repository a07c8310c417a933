"""GCT, the text format of CMap's matrices: genes in rows, samples in columns, metadata above and on the left."""

import gzip
import re
import warnings
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from svqvae.data.metadata import (
    MISSING,
    Contents,
    decode,
    from_cells,
    ids_of,
    is_missing,
    metadata_frame,
    require_plain_names,
    to_plain,
)
from svqvae.data.text import told_in_a_sentence
from svqvae.wording import list_some

_FLOAT = re.compile(r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|inf|infinity|nan)", re.IGNORECASE)
_N_COUNTS = {"#1.2": 2, "#1.3": 4}
_N_TITLE_LINES = 3


@dataclass(frozen=True)
class TextContents(Contents):
    """Ids and metadata of a GCT file, and where its matrix begins.

    Attributes
    ----------
    n_left : number of cells before the first number of a line
    n_top : number of lines before the first gene
    """

    n_left: int
    n_top: int


def read_contents(path: Path) -> TextContents:
    """Read ids and metadata, and check that every line has the number of cells that line 2 states.

    Quotes and apostrophes are ordinary characters.

    Parameters
    ----------
    path : GCT 1.2 or 1.3, compressed if its name ends in .gz

    Raises
    ------
    ValueError
        The version, the counts, an id or a line is wrong; the message says which.
    """
    with closing(_lines(path)) as lines:
        version, counts = _read_counts(lines, path)
        n_genes, n_samples, n_row, n_column = (*counts, 1, 0)[:4] if version == "#1.2" else counts
        n_left, n_cells = 1 + n_row, 1 + n_row + n_samples
        header = _cells(next(lines, ""), n_cells, _N_TITLE_LINES, path)
        left: list[list[str]] = []
        top: list[list[str]] = []
        for number, line in enumerate(lines, _N_TITLE_LINES + 1):
            n_found = line.count("\t") + 1
            cells = line.split("\t", n_left) if n_found == n_cells else _cells(line, n_cells, number, path)
            left.append(cells[:n_left])
            if len(top) < n_column:
                top.append(line.split("\t")[n_left:n_cells])
    n_column = _count_column_rows(left, n_genes, n_column, path)
    genes = ids_of([cells[0] for cells in left[n_column:]], "gene", path)
    samples = ids_of(header[n_left:], "sample", path)
    names = ["Description"] if version == "#1.2" else header[1:n_left]
    row_columns = {name: [cells[k] for cells in left[n_column:]] for k, name in enumerate(names, 1)}
    column_names = [cells[0] for cells in left[:n_column]]
    for what, found in (("row", names), ("column", column_names)):
        _require_names(found, what, path)
    return TextContents(
        metadata_frame({name.strip(): from_cells(cells) for name, cells in row_columns.items()}, genes),
        metadata_frame({n.strip(): from_cells(cells) for n, cells in zip(column_names, top, strict=False)}, samples),
        n_left,
        _N_TITLE_LINES + n_column,
    )


def read_matrix(
    path: Path, contents: TextContents, genes: npt.NDArray[np.int64], samples: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Read the matrix of some genes and samples.

    Parameters
    ----------
    path : the file
    contents : what `read_contents` returned for it
    genes : positions of genes, (n_genes,)
    samples : positions of samples, (n_samples,)

    Returns
    -------
    (n_samples, n_genes)

    Raises
    ------
    ValueError
        A cell is not a number, or one that is too large for float32.
    """
    X = np.empty((len(samples), len(genes)), dtype=np.float32)
    places = {int(gene): place for place, gene in enumerate(genes)}
    is_all = np.array_equal(samples, np.arange(len(contents.obs)))
    with closing(_lines(path)) as lines:
        for number, line in enumerate(lines, 1):
            place = places.get(number - 1 - contents.n_top)
            if place is None:
                continue
            cells = line.split("\t")[contents.n_left : contents.n_left + len(contents.obs)]
            picked = cells if is_all else [cells[sample] for sample in samples]
            X[:, place] = _numbers(picked, contents.obs.index[samples], number, path)
    return X


def write_matrix(
    file: IO[bytes], var: pd.DataFrame, obs: pd.DataFrame, gene_blocks: Iterator[npt.NDArray[np.float32]]
) -> None:
    """Write GCT 1.3, with enough digits to read back the same bits.

    Parameters
    ----------
    file : open for writing
    var : (n_genes, n_row_columns)
    obs : (n_samples, n_column_rows)
    gene_blocks : arrays (n_genes_in_block, n_samples), in the order of `var`

    Raises
    ------
    ValueError
        An id, a name or a text value has a tab or a line break, or ids or names are not unique.
    """
    genes, row_names = require_plain_names(var, "var", "\t\n\r")
    samples, column_names = require_plain_names(obs, "obs", "\t\n\r")
    row_cells = [_to_cells(var.iloc[:, k], f"var[{name!r}]") for k, name in enumerate(row_names)]
    column_cells = [_to_cells(obs.iloc[:, k], f"obs[{name!r}]") for k, name in enumerate(column_names)]
    for place, ids in (("var_names", genes), ("obs_names", samples)):
        _refuse_breaks(ids, place)

    def put(cells: list[str]) -> None:
        file.write(("\t".join(cells) + "\n").encode())

    put(["#1.3"])
    put([str(count) for count in (len(genes), len(samples), len(row_names), len(column_names))])
    put(["id", *row_names, *samples])
    for name, cells in zip(column_names, column_cells, strict=True):
        put([name, *["na"] * len(row_names), *cells])
    gene = 0
    for block in gene_blocks:
        for texts in block.astype(str).tolist():
            numbers = ["NaN" if text == "nan" else text for text in texts]
            put([genes[gene], *(cells[gene] for cells in row_cells), *numbers])
            gene += 1


def _lines(path: Path) -> Generator[str, None, None]:
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    n_blank = 0
    with told_in_a_sentence(path, "GCT file"), opened(path, "rb") as file:
        for raw in file:
            line = decode(raw).rstrip("\r\n")
            if not line.strip():
                n_blank += 1
                continue
            # Blank lines at the end of the file are not part of the table; those before other lines are.
            yield from [""] * n_blank
            n_blank = 0
            yield line


def _read_counts(lines: Iterator[str], path: Path) -> tuple[str, tuple[int, ...]]:
    first = next(lines, None)
    if first is None:
        raise ValueError(f"`path` must be a GCT file; got {path}, which is empty. Give another file.")
    version = first.lstrip("\ufeff").split("\t")[0].strip()
    if version not in _N_COUNTS:
        raise ValueError(
            f"`path` must be GCT of version #1.2 or #1.3, which its first line says; got {path} with {version[:40]!r}. "
            "Convert it, or give the file the suffix of what it is."
        )
    cells = [cell.strip() for cell in next(lines, "").rstrip().split("\t")]
    n_counts = _N_COUNTS[version]
    if len(cells) != n_counts or not all(cell.isascii() and cell.isdigit() for cell in cells):
        raise ValueError(
            f"`path` must have {n_counts} counts in line 2, as GCT {version} has; got {path} with {list_some(cells)}. "
            "Correct the line."
        )
    counts = tuple(int(cell) for cell in cells)
    if min(counts[:2]) == 0:
        raise ValueError(
            f"`path` must have genes and samples; got {path} with {counts[0]} and {counts[1]}, as line 2 says. "
            "Give another file."
        )
    return version, counts


def _cells(line: str, n_cells: int, number: int, path: Path) -> list[str]:
    cells = line.split("\t")
    if len(cells) < n_cells or any(cells[n_cells:]):
        raise ValueError(
            f"`path` must have {n_cells} cells in each line, as line 2 says; got {path} with {len(cells)} in line "
            f"{number}. Correct the counts or the line."
        )
    return cells[:n_cells]


def _count_column_rows(left: list[list[str]], n_genes: int, n_column: int, path: Path) -> int:
    if len(left) == n_genes + n_column:
        return n_column
    filled = [all(is_missing(cell.strip()) for cell in cells[1:]) for cells in left[:2]]
    if n_column > 1 and len(left) == n_genes + 1 and left and len(left[0]) > 1 and filled == [True, False]:
        # Some versions of cmapR count all rows of column metadata in line 2 but write only the first.
        warnings.warn(
            f"{path} has 1 row of column metadata where line 2 counts {n_column}, as some versions of cmapR write it. "
            "The others are lost; the matrix is whole.",
            stacklevel=5,
        )
        return 1
    raise ValueError(
        f"`path` must have {n_column} rows of column metadata and {n_genes} genes, as line 2 says, and so end in line "
        f"{_N_TITLE_LINES + n_column + n_genes}; got {path}, which ends in line {_N_TITLE_LINES + len(left)}. "
        "Correct the counts, or get the whole file."
    )


def _require_names(names: list[str], what: str, path: Path) -> None:
    index = pd.Index([name.strip() for name in names], dtype=object)
    repeated = index[index.duplicated()].unique()
    if len(repeated) or "" in index:
        found = f"{list_some(repeated)} more than once" if len(repeated) else "one without a name"
        raise ValueError(
            f"`path` must have unique names of {what} metadata; got {path} with {found}. Rename what is named twice."
        )


def _numbers(cells: list[str], samples: "pd.Index[str]", number: int, path: Path) -> npt.NDArray[np.float32]:
    try:
        if not any("_" in cell for cell in cells):
            with np.errstate(over="raise"):
                return np.array(cells, dtype=np.float64).astype(np.float32)
    except (ValueError, FloatingPointError):
        pass
    values = np.empty(len(cells), dtype=np.float32)
    for k, cell in enumerate(cells):
        text = cell.strip()
        is_gone = text != MISSING and is_missing(text)
        is_number = _FLOAT.fullmatch(text) is not None and not is_gone
        value = float(text) if is_number else np.nan
        with np.errstate(over="ignore"):
            values[k] = value
        is_too_large = np.isinf(values[k]) and not np.isinf(value)
        if is_too_large or not (is_gone or is_number):
            raise ValueError(
                f"`path` must have numbers in its matrix; got {path} with {text!r} in line {number}, column "
                f"{samples[k]!r}. Correct it, or write NaN where it is missing."
            )
    return values


def _to_cells(column: "pd.Series[Any]", place: str) -> list[str]:
    values = to_plain(column)
    if values.dtype.kind == "f":
        return [MISSING if text == "nan" else text for text in values.astype(str)]
    cells = [MISSING if value is None else str(value) for value in values.tolist()]
    _refuse_breaks(cells, place)
    return cells


def _refuse_breaks(texts: list[str], place: str) -> None:
    bad = [text for text in texts if "\t" in text or "\n" in text or "\r" in text]
    if bad:
        raise ValueError(
            f"`adata.{place}` must have no tabs and line breaks in a .gct file; got {list_some(bad)}. "
            "Replace them, or write a .gctx file."
        )
