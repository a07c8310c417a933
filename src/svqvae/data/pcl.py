"""Perturbagen classes (PCLs) of compounds, from tables of many forms."""

import csv
import gzip
import io
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from svqvae.data.metadata import MISSING, decode
from svqvae.data.text import SEPARATORS, told_in_a_sentence
from svqvae.wording import list_some

PCL = "pcl"
MULTIPLE = ("drop", "first", "duplicate")
# Columns of sig_info, and headers of a table, that name compounds; headers that name classes.
_KEYS = ("pert_id", "pert_iname")
_MEMBERS = ("pert_id", "pert_iname", "cmap_name", "compound", "member")
_CLASSES = (PCL, "pcl_name", "class", "set", "moa")

Pairs = list[tuple[str, str]]
Lines = list[list[str]]


def read_pcl(path: Path, known: set[str]) -> Pairs:
    """Read pairs of compound and class from a table, in the order of the file.

    The table may have one of these forms:

    - a row per pair, with a header that names the column of classes (``pcl``, ``class``, ``moa`` ...); compounds are in
      the column that has most known ones;
    - two columns, compound and class in either order, with a header or without;
    - a row per class, its name first, then its compounds;
    - a column per class, its name at the top;
    - a .gmt file.

    Without a header that names classes, the form is chosen in which most known compounds have a class.

    Parameters
    ----------
    path
        .csv, .tsv, .txt or .gmt, each also .gz.
    known
        Compounds of the signatures, ids or names in lower case.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file cannot be read, or has no known compound in any form.
    """
    is_gene_sets, lines = _read_lines(path)
    for readings in [[_gene_sets(lines)]] if is_gene_sets else [_with_header(lines), _without_header(lines, known)]:
        best = max(readings, key=lambda pairs: _count_known(pairs, known), default=[])
        if _count_known(best, known):
            return best
    seen = [cell for line in lines for cell in line]
    raise ValueError(
        f"`pcl` must name compounds by pert_id or pert_iname; none in {path} is one of the signatures. It has "
        f"{list_some(seen) or 'nothing'}, the signatures {list_some(sorted(known)[:2])}."
    )


def give_classes(signatures: pd.DataFrame, path: Path, multiple: str, told: list[str]) -> pd.DataFrame:
    """Return the signatures of compounds that have a class, with the class in the column ``pcl``.

    Parameters
    ----------
    signatures
        Metadata of signatures, (n_signatures, n_columns), with the columns ``pert_id`` and ``pert_iname``.
    path
        As in `read_pcl`.
    multiple
        What to do with compounds of several classes: "drop" them, take their "first" class, or "duplicate" their
        signatures, which are then named "signature|class".
    told
        Sentences about what was left out are appended.

    Raises
    ------
    FileNotFoundError, ValueError
        As in `read_pcl`.
    """
    keys = {key: signatures[key].fillna("").str.lower() for key in _KEYS}
    pairs = read_pcl(path, set().union(*(set(column) for column in keys.values())) - {""})
    classes: dict[str, list[str]] = {}
    for member, name in pairs:
        own = classes.setdefault(member.lower(), [])
        if name not in own:
            own.append(name)
    # By the id where the table has it, else by the name.
    found = keys["pert_id"].map(classes)
    found = found.where(found.notna(), keys["pert_iname"].map(classes))
    has_class = found.notna()
    n_compounds = signatures["pert_id"][has_class].nunique()
    told.append(
        f"{(~has_class).sum()} signatures of compounds without a class left out; {n_compounds} compounds have one."
    )
    signatures, found = signatures[has_class.to_numpy()], found[has_class]
    is_several = found.map(len) > 1
    n_several = signatures["pert_id"][is_several].nunique()
    fate = {"drop": "left out", "first": "given to the first", "duplicate": "taken once for each"}[multiple]
    told.append(f"{n_several} compounds of several classes, {is_several.sum()} signatures: {fate}.")
    if multiple == "drop":
        signatures, found = signatures[~is_several.to_numpy()], found[~is_several]
    if multiple != "duplicate":
        return signatures.assign(**{PCL: found.map(lambda names: names[0])})
    several = signatures.assign(**{PCL: found}).explode(PCL)
    is_one_of_several = is_several.loc[several.index].to_numpy()
    names = several.index.astype(str)
    return several.set_axis(names.where(~is_one_of_several, names + "|" + several[PCL].astype(str)))


def _read_lines(path: Path) -> tuple[bool, Lines]:
    """Return whether the file is a .gmt file, and the cells of each non-empty line up to its last non-empty cell."""
    if not path.is_file():
        raise FileNotFoundError(f"`pcl` must be an existing file; got {path}. Check the spelling and the folder.")
    is_packed = path.suffix.lower() == ".gz"
    suffix = Path(path.stem).suffix.lower() if is_packed else path.suffix.lower()
    if suffix not in {*SEPARATORS, ".gmt"}:
        raise ValueError(f"`pcl` must end in {', '.join(SEPARATORS)} or .gmt, each also .gz; got {path}.")
    with told_in_a_sentence(path, "table"):
        text = decode(gzip.decompress(path.read_bytes()) if is_packed else path.read_bytes()).removeprefix("\ufeff")
        separator = SEPARATORS.get(suffix, "\t")
        # In tab-separated files quotes are ordinary characters.
        quote = '"' if separator == "," else None
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quotechar=quote)
        lines = [[cell.strip() for cell in row] for row in rows]
    n_filled = [max((k for k, cell in enumerate(line, 1) if cell), default=0) for line in lines]
    return suffix == ".gmt", [line[:n] for line, n in zip(lines, n_filled, strict=True) if n]


def _gene_sets(lines: Lines) -> Pairs:
    return _complete((cell, line[0]) for line in lines for cell in line[2:])


def _with_header(lines: Lines) -> list[Pairs]:
    """Return the pairs for each column that may have the compounds, if the header names the classes."""
    header = [cell.lower() for cell in lines[0]] if lines else []
    classes = [header.index(name) for name in _CLASSES if name in header]
    if not classes:
        return []
    own_class = classes[0]
    named = [header.index(name) for name in _MEMBERS if name in header]
    members = dict.fromkeys([*named, *range(len(header))])
    return [
        _complete((line[member], line[own_class]) for line in lines[1:] if len(line) > max(member, own_class))
        for member in members
        if member != own_class
    ]


def _without_header(lines: Lines, known: set[str]) -> list[Pairs]:
    """Return the pairs for two columns and for wide forms; of equally good ones, the first is taken."""
    two = [(line[0], line[1]) for line in lines if len(line) == 2] if all(len(line) <= 2 for line in lines) else []
    turned = [(member, name) for name, member in two]
    by_row = [(cell, line[0]) for line in lines for cell in line[1:]]
    by_column = [(cell, name) for line in lines[1:] for cell, name in zip(line, lines[0], strict=False)]
    # A class never has the name of a known compound: pairs in which it does come from the wrong form.
    two, turned, by_row, by_column = (
        _complete(pair for pair in pairs if pair[1].lower() not in known) for pairs in (two, turned, by_row, by_column)
    )
    wide = sorted([by_row, by_column], key=lambda pairs: len({b for a, b in pairs if a.lower() in known}))
    return [two, turned, *wide]


def _count_known(pairs: Pairs, known: set[str]) -> int:
    return len({member.lower() for member, _ in pairs} & known)


def _complete(pairs: Iterable[tuple[str, str]]) -> Pairs:
    """Return the pairs without missing parts."""
    return [(a, b) for a, b in pairs if a not in ("", MISSING) and b not in ("", MISSING)]
