"""Perturbagen classes (PCLs): which compounds belong to which."""

import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from svqvae.data.metadata import decode
from svqvae.data.text import SEPARATORS, list_some, told_in_a_sentence

PCL = "pcl"
MULTIPLE = ("drop", "first", "duplicate")
# Columns of signatures by which a table may name compounds.
_KEYS = ("pert_id", "pert_iname")
_MEMBERS = ("pert_id", "pert_iname", "cmap_name", "compound", "member")
_CLASSES = (PCL, "pcl_name", "class", "set", "moa")

Pairs = list[tuple[str, str]]
Lines = list[list[str]]


def read_pcl(path: Path, known: set[str]) -> Pairs:
    """Read the classes of compounds, as pairs of compound and class in the order of the file.

    A table may have a row for each membership, with columns for the compound (``pert_id``, ``pert_iname`` ..., or the
    first) and the class (``pcl``, ``class`` ..., or the second); or the wide form with a row for each class, its name
    first and its compounds after it; or with a column for each class, its name at the top; or be a .gmt file. The
    first of these forms that names known compounds is taken.

    Parameters
    ----------
    path
        .csv, .tsv, .txt, each also .gz, or .gmt.
    known
        Compounds of the signatures, ids or names in lower case.

    Raises
    ------
    ValueError
        No form of the file names a known compound.
    """
    lines = _read_lines(path)
    kinds = ((_gene_set_form,),) if path.suffix.lower() == ".gmt" else _FORMS
    seen: Pairs = []
    for forms in kinds:
        cleaned = [_clean(form(lines), known) for form in forms]
        n_known = [len({member for member, _ in pairs if member.lower() in known}) for pairs in cleaned]
        if max(n_known):
            return cleaned[n_known.index(max(n_known))]
        seen = next((pairs for pairs in (seen, *cleaned) if pairs), [])
    raise ValueError(
        f"`pcl` must name compounds by pert_id or pert_iname; none in {path} is one of the signatures. It has "
        f"{list_some(member for member, _ in seen[:2]) or 'nothing'}, the signatures {list_some(sorted(known)[:2])}."
    )


def give_classes(signatures: pd.DataFrame, path: Path, multiple: str, told: list[str]) -> pd.DataFrame:
    """Return the signatures of compounds that have a class, with the class in the column ``pcl``.

    Parameters
    ----------
    signatures
        With the columns ``pert_id`` and ``pert_iname``.
    path
        As in `read_pcl`.
    multiple
        "drop", "first" or "duplicate": what becomes of compounds of several classes. Duplicated signatures are named
        by signature and class, with a bar between.
    told
        What was left out is added, a sentence each.
    """
    keys = {key: signatures[key].astype(str).str.lower() for key in _KEYS}
    pairs = read_pcl(path, set().union(*(set(column) for column in keys.values())))
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


def _read_lines(path: Path) -> list[list[str]]:
    """Return the cells of each line that is not empty."""
    if not path.is_file():
        raise FileNotFoundError(f"`pcl` must be an existing file; got {path}. Check the spelling and the folder.")
    is_packed = path.suffix.lower() == ".gz"
    suffix = Path(path.stem).suffix.lower() if is_packed else path.suffix.lower()
    if suffix not in {*SEPARATORS, ".gmt"}:
        raise ValueError(f"`pcl` must end in {', '.join(SEPARATORS)} or .gmt; got {path}.")
    with told_in_a_sentence(path, "table"):
        text = decode(gzip.decompress(path.read_bytes()) if is_packed else path.read_bytes()).removeprefix("\ufeff")
        separator = SEPARATORS.get(suffix, "\t")
        # Quotes are text where tabs separate.
        rows = csv.reader(text.splitlines(), delimiter=separator, quotechar='"' if separator == "," else None)
        return [[cell.strip() for cell in row] for row in rows if any(row)]


def _gene_set_form(lines: Lines) -> Pairs:
    return [(cell, line[0]) for line in lines for cell in line[2:]]


def _by_first_name(lines: Lines) -> Pairs:
    return _by_header(lines, 0)


def _by_last_name(lines: Lines) -> Pairs:
    return _by_header(lines, -1)


def _by_header(lines: Lines, which: int) -> Pairs:
    header = [cell.lower() for cell in lines[0]] if lines else []
    members = [header.index(name) for name in _MEMBERS if name in header]
    classes = [header.index(name) for name in _CLASSES if name in header]
    if not members or not classes:
        return []
    member, own_class = members[which], classes[0]
    return [(line[member], line[own_class]) for line in lines[1:] if len(line) > max(member, own_class)]


def _two_columns(lines: Lines) -> Pairs:
    return [(line[0], line[1]) for line in lines[1:] if len(line) == 2]


def _two_columns_turned(lines: Lines) -> Pairs:
    return [(member, name) for name, member in _two_columns(lines)]


def _class_a_row(lines: Lines) -> Pairs:
    return [(cell, line[0]) for line in lines for cell in line[1:]]


def _class_a_column(lines: Lines) -> Pairs:
    return [(cell, name) for line in lines[1:] for cell, name in zip(line, lines[0], strict=False)]


# Of a group of forms, the one that names the most known compounds is taken.
_FORMS: tuple[tuple[Callable[[Lines], Pairs], ...], ...] = (
    (_by_first_name, _by_last_name),
    (_two_columns, _two_columns_turned),
    (_class_a_row, _class_a_column),
)


def _clean(pairs: Pairs, known: set[str]) -> Pairs:
    """Return the pairs without those of which a part is missing, or whose class is a compound."""
    missing = ("", "-666")
    return [(a, b) for a, b in pairs if a not in missing and b not in missing and b.lower() not in known]
