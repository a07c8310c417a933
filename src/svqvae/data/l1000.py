"""L1000 signatures with the perturbagen classes of their compounds, from CMap's files to AnnData."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from svqvae.data import gctx
from svqvae.data.metadata import MISSING
from svqvae.data.pcl import MULTIPLE, PCL, give_classes
from svqvae.data.rows import stored_rows
from svqvae.data.sig_info import read_cmap_table, read_sig_info
from svqvae.wording import closest, list_some

if TYPE_CHECKING:
    import anndata

# z-scores are clipped to ±10, as CMap's own level 5 is.
LIMIT = 10.0
# Signatures read at a time: a guard for memory, 16 MB with 978 genes.
N_ROWS = 4096
# Least share of the landmark genes that all files must have; chosen by hand.
LEAST_GENES = 0.5
# Called with the number of signatures that are read, and of all.
OnRead = Callable[[int, int], None]


@dataclass(frozen=True)
class Selection:
    """Which signatures to take.

    Attributes
    ----------
    cells
        Cell lines; if empty, all.
    exclude
        Compounds to leave out, by ``pert_iname`` or ``pert_id``.
    multiple
        What to do with a compound of several classes: "drop" it, take its "first" class in the table, or "duplicate"
        its signatures, once for each class.
    min_per_class, min_compounds
        Least number of signatures and of compounds of a class.
    """

    cells: Sequence[str] = ()
    exclude: Sequence[str] = ()
    multiple: str = "drop"
    min_per_class: int = 1
    min_compounds: int = 1


def landmark_genes() -> pd.DataFrame:
    """Return the 978 landmark genes of L1000, in the order of GSE70138's files.

    Returns
    -------
    pandas.DataFrame
        Indexed by Entrez id as text. ``symbol``: unique gene symbol, as of 2017; ``probe``: Affymetrix probe set, which
        names the gene in older files.

    Examples
    --------
    >>> landmark_genes().loc["780", "symbol"]
    'DDR1'
    """
    text = files("svqvae.data").joinpath("landmark_genes.tsv")
    with text.open(encoding="utf-8") as file:
        return pd.read_csv(file, sep="\t", dtype=str).set_index("entrez_id")


def read_signatures(
    paths: Sequence[Path | str],
    sig_info: Path | str,
    pcl: Path | str,
    *,
    gene_info: Path | str | None = None,
    selection: Selection | None = None,
    with_unlabelled: bool = False,
    on_read: OnRead | None = None,
) -> tuple["anndata.AnnData", list[str]]:
    """Read the signatures of compounds that have a perturbagen class.

    Files may be of level 4 or 5 and have all genes or the landmark genes, each file in its own order: genes are matched
    by Entrez id, from the row ids or the row metadata ``pr_gene_id``, or by probe set. Only selected signatures and
    genes are read. Control wells, whose ``pert_type`` starts with "ctl", are left out.

    Parameters
    ----------
    paths
        GCTX or GCT files of z-scores.
    sig_info
        Text table with a row per signature: ``sig_id``, ``pert_id``, ``pert_iname``, ``pert_type``, ``cell_id`` and
        more. The column names of LINCS 2020 and of GEO's tables of single wells are recognised.
    pcl
        Table of the classes of compounds, see `svqvae.data.pcl.read_pcl`.
    gene_info
        Text table of genes, from which the landmark genes are taken; None takes `landmark_genes`.
    selection
        Signatures to take; None takes `Selection()`.
    with_unlabelled
        Whether to add signatures that are left out only because their compound has no class, several classes, or one
        that is too small. Their ``pcl`` is missing.
    on_read
        Called after each block of signatures.

    Returns
    -------
    adata : (n_signatures, n_genes), float32, z-scores clipped to [-10, 10]. obs: ``pcl`` and all columns of `sig_info`,
        with _ for / in their names; var: gene symbols as index, and ``pr_gene_id``.
    told : sentences that say, with numbers, what was taken, left out and changed

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing, damaged or does not match the others, or no signature is left; the message says which.

    Examples
    --------
    >>> plates = sorted(Path("plates").glob("*.gctx"))
    >>> adata, told = read_signatures(plates, "sig_info.txt", "pcl.csv")  # doctest: +SKIP
    """
    selection = selection or Selection()
    _check(paths, selection)
    facts, told = read_sig_info(Path(sig_info))
    genes = landmark_genes() if gene_info is None else _read_gene_info(Path(gene_info))
    contents = [gctx.read_metadata(path) for path in paths]
    places = _find_signatures([obs.index for _, obs in contents], facts, told, sig_info)
    chosen = facts.loc[places.index]
    chosen = _select(chosen, selection, told)
    _require_some(chosen, told)
    candidates = chosen
    chosen = give_classes(chosen, Path(pcl), selection.multiple, told)
    chosen = _drop_small(chosen, selection, told)
    if with_unlabelled:
        others = candidates[~candidates.index.isin(chosen["sig_id"])]
        told.append(f"{len(others)} signatures of {others['pert_id'].nunique()} compounds taken without a class.")
        chosen = pd.concat([chosen, others])
        chosen = chosen.iloc[np.argsort(places.index.get_indexer(pd.Index(chosen["sig_id"])), kind="stable")]
    rows, genes = _find_genes([var for var, _ in contents], paths, genes, told)
    X = _read_values(paths, rows, places, chosen, on_read)
    n_clipped = int((X > LIMIT).sum() + (X < -LIMIT).sum())
    np.clip(X, -LIMIT, LIMIT, out=X)
    told.append(f"{n_clipped} of {X.size} values clipped to ±{LIMIT:g}.")
    import anndata

    var = pd.DataFrame({"pr_gene_id": genes.index.to_numpy()}, index=genes["symbol"].to_numpy(dtype=object))
    return anndata.AnnData(X, obs=_storable(chosen), var=var), told


def rename_genes(adata: "anndata.AnnData", wanted: Iterable[str]) -> "anndata.AnnData":
    """Rename landmark genes from Entrez ids, probe sets or symbols to the naming of other features.

    Data are returned unchanged if no other naming matches more of the wanted names.

    Parameters
    ----------
    adata : (n, n_genes)
    wanted : names of features, such as those of a fitted model

    Returns
    -------
    AnnData of (n, n_genes)
    """
    seen, target = pd.Index(adata.var_names.astype(str)), set(map(str, wanted))
    table = landmark_genes().reset_index()
    best, n_best = seen, len(target & set(seen))
    for source in table.columns:
        for naming in table.columns:
            names = dict(zip(table[source], table[naming], strict=True))
            renamed = pd.Index([names.get(name, name) for name in seen])
            n_found = len(target & set(renamed))
            if n_found > n_best and renamed.is_unique:
                best, n_best = renamed, n_found
    if best is seen:
        return adata
    renamed_data = adata.copy() if stored_rows(adata) is None else type(adata)(adata.X, adata.obs, adata.var, adata.uns)
    renamed_data.var_names = best
    return renamed_data


def _check(paths: Sequence[Path | str], selection: Selection) -> None:
    if not paths:
        raise ValueError("`paths` must name at least one GCTX file; got none.")
    if selection.multiple not in MULTIPLE:
        raise ValueError(f"`multiple` must be one of {', '.join(map(repr, MULTIPLE))}; got {selection.multiple!r}.")
    for name, least in (("min_per_class", selection.min_per_class), ("min_compounds", selection.min_compounds)):
        if least < 1:
            raise ValueError(f"`{name}` must be 1 or more; got {least}.")


def _find_signatures(
    ids: Sequence["pd.Index[str]"], facts: pd.DataFrame, told: list[str], sig_info: Path | str
) -> pd.DataFrame:
    """Return the file and the column of each signature that is in sig_info, by id, in the order of the files."""
    places = pd.concat(
        [pd.DataFrame({"file": k, "column": np.arange(len(own))}, index=own) for k, own in enumerate(ids)]
    )
    n_all = len(places)
    is_repeated = places.index.duplicated()
    places = places[~is_repeated]
    is_known = places.index.isin(facts.index)
    if not is_known.any():
        raise ValueError(
            f"`sig_info` must name the signatures of the files; none of the {n_all} is in {sig_info}. The files have "
            f"{list_some(places.index[:2])}, the table {list_some(facts.index[:2]) or 'nothing'}."
        )
    told.append(
        f"{n_all} signatures in {len(ids)} files; {is_repeated.sum()} stand twice, the first was taken; "
        f"{(~is_known).sum()} are not in sig_info."
    )
    return places[is_known]


def _select(chosen: pd.DataFrame, selection: Selection, told: list[str]) -> pd.DataFrame:
    """Return the signatures without control wells, other cell lines and excluded compounds."""
    is_control = chosen["pert_type"].fillna("").str.lower().str.startswith("ctl")
    told.append(f"{is_control.sum()} control wells left out.")
    chosen = chosen[~is_control.to_numpy()]
    if selection.cells:
        known = sorted(set(chosen["cell_id"].dropna()))
        for cell in selection.cells:
            if cell not in known:
                raise ValueError(
                    f"`cells` must be cell lines of the signatures; got {cell!r}. {closest(cell, known)}"
                    f"cell lines are {list_some(known)}."
                )
        is_asked = chosen["cell_id"].isin(list(selection.cells)).to_numpy()
        told.append(f"{(~is_asked).sum()} signatures of other cell lines left out.")
        chosen = chosen[is_asked]
    if selection.exclude:
        names, ids = (chosen[column].str.lower() for column in ("pert_iname", "pert_id"))
        hits = [(names == given.lower()) | (ids == given.lower()) for given in selection.exclude]
        absent = [given for given, hit in zip(selection.exclude, hits, strict=True) if not hit.any()]
        is_excluded = np.any(hits, axis=0)
        n_excluded = chosen["pert_id"][is_excluded].nunique()
        told.append(
            f"{is_excluded.sum()} signatures of {n_excluded} excluded compounds left out."
            + (f" Not among the signatures: {list_some(absent)}." if absent else "")
        )
        chosen = chosen[~is_excluded]
    return chosen


def _drop_small(chosen: pd.DataFrame, selection: Selection, told: list[str]) -> pd.DataFrame:
    """Return the signatures of classes with enough signatures and compounds."""
    own = chosen.groupby(PCL)["pert_id"]
    is_large = (own.size() >= selection.min_per_class) & (own.nunique() >= selection.min_compounds)
    kept = chosen[chosen[PCL].isin(is_large.index[is_large])]
    told.append(
        f"{(~is_large).sum()} of {len(is_large)} classes left out, {len(chosen) - len(kept)} signatures: fewer than "
        f"{selection.min_per_class} signatures or {selection.min_compounds} compounds."
    )
    _require_some(kept, told)
    told.append(f"{len(kept)} signatures of {kept['pert_id'].nunique()} compounds in {is_large.sum()} classes taken.")
    return kept


def _require_some(chosen: pd.DataFrame, told: list[str]) -> None:
    if chosen.empty:
        raise ValueError("the selection must leave signatures; got none: " + " ".join(told) + " Ask for less.")


def _storable(chosen: pd.DataFrame) -> pd.DataFrame:
    """Return the metadata as .h5ad can hold them: columns without any value as NaN, no slashes in names."""
    empty = [name for name in chosen if chosen[name].isna().all()]
    return chosen.astype(dict.fromkeys(empty, np.float64)).rename(columns=lambda name: name.replace("/", "_"))


def _find_genes(
    variables: Sequence[pd.DataFrame], paths: Sequence[Path | str], genes: pd.DataFrame, told: list[str]
) -> tuple[list[npt.NDArray[np.int64]], pd.DataFrame]:
    """Return the rows, in each file, of the genes that all files have, and those genes."""
    found = [_rows_by_gene(var, genes) for var in variables]
    shared = [gene for gene in genes.index if all(gene in rows for rows in found)]
    if len(shared) < LEAST_GENES * len(genes):
        fewest = min(range(len(found)), key=lambda k: len(found[k]))
        raise ValueError(
            f"`paths` must hold landmark genes by Entrez id or probe set; {len(shared)} of {len(genes)} are in all "
            f"files, {len(found[fewest])} in {paths[fewest]}, whose rows are {list_some(variables[fewest].index[:3])}."
        )
    absent = len(genes) - len(shared)
    told.append(f"{len(shared)} landmark genes" + (f"; {absent} left out, as a file lacks them." if absent else "."))
    return [np.array([rows[gene] for gene in shared], dtype=np.int64) for rows in found], genes.loc[shared]


def _rows_by_gene(var: pd.DataFrame, genes: pd.DataFrame) -> dict[str, int]:
    """Return the row of each gene of a file by Entrez id, from whichever of its names matches most genes."""
    namings = [pd.Series(var.index.astype(str))]
    if "pr_gene_id" in var:
        namings.append(var["pr_gene_id"].astype(str).str.removesuffix(".0"))
    by_probe = dict(zip(genes["probe"], genes.index, strict=True))
    namings.append(pd.Series(var.index.astype(str)).map(by_probe))
    known = set(genes.index)
    best = max(namings, key=lambda names: names.isin(known).sum())
    rows: dict[str, int] = {}
    for row, name in enumerate(best):
        if name in known:
            rows.setdefault(name, row)
    return rows


def _read_values(
    paths: Sequence[Path | str],
    rows: Sequence[npt.NDArray[np.int64]],
    places: pd.DataFrame,
    chosen: pd.DataFrame,
    on_read: OnRead | None,
) -> npt.NDArray[np.float32]:
    """Return the values of the signatures, (n_signatures, n_genes); a duplicated signature is read once."""
    unique = chosen.drop_duplicates("sig_id").set_index("sig_id")
    where = places.loc[unique.index]
    X = np.empty((len(unique), len(rows[0])), dtype=np.float32)
    n_read = 0
    for number, path in enumerate(paths):
        columns = where["column"][where["file"] == number].to_numpy()
        if not len(columns):
            continue
        for block in gctx.iter_blocks(path, rows[number], columns, max_samples=N_ROWS):
            is_bad = ~np.isfinite(block.X) | (float(MISSING) == block.X)
            if is_bad.any():
                first = block.obs_names[int(np.argmax(is_bad.any(axis=1)))]
                raise ValueError(
                    f"`paths` must hold finite z-scores; got NaN, infinity or {MISSING} in {path}, first in signature "
                    f"{first!r} of {unique.loc[first, 'pert_iname']!r}. Leave that compound out with `exclude`."
                )
            X[n_read : n_read + block.n_obs] = block.X
            n_read += block.n_obs
            if on_read is not None:
                on_read(n_read, len(X))
    return X if len(chosen) == len(X) else X[unique.index.get_indexer(pd.Index(chosen["sig_id"]))]


def _read_gene_info(path: Path) -> pd.DataFrame:
    """Return the landmark genes in a table of genes, indexed by Entrez id."""
    table = read_cmap_table(path, "gene_info", {"pr_gene_id": ("gene_id",), "pr_gene_symbol": ("gene_symbol",)})
    flags = [name for name in ("pr_is_lm", "feature_space") if name in table]
    if not flags or not {"pr_gene_id", "pr_gene_symbol"} <= set(table):
        raise ValueError(
            f"`gene_info` must have the columns pr_gene_id, pr_gene_symbol and pr_is_lm; {path} has "
            f"{list_some(table.columns)}. Give the file named ..._gene_info.txt."
        )
    is_landmark = table[flags[0]].str.strip().isin(["1", "1.0", "True", "TRUE", "landmark"])
    genes = table.loc[is_landmark, ["pr_gene_id", "pr_gene_symbol"]].apply(lambda column: column.str.strip())
    if genes.empty or genes["pr_gene_id"].duplicated().any() or genes["pr_gene_symbol"].duplicated().any():
        raise ValueError(
            f"`gene_info` must name each landmark gene once, by id and by symbol; {path} has {len(genes)} "
            f"rows of landmark genes, {genes['pr_gene_id'].nunique()} ids and "
            f"{genes['pr_gene_symbol'].nunique()} symbols."
        )
    named = pd.DataFrame({"symbol": genes["pr_gene_symbol"].to_numpy()}, index=genes["pr_gene_id"].to_numpy())
    return named.join(landmark_genes()["probe"])
