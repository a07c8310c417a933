"""What `svqvae query` does: from a run folder and signatures or gene sets to ranked classes."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from svqvae.atlas import query
from svqvae.atlas.atlas import ClassAtlas
from svqvae.atlas.enrichment import MIN_FEATURES, N_RANDOM, match_features
from svqvae.data.genesets import read_gene_sets
from svqvae.data.l1000 import rename_genes
from svqvae.data.samples import read_samples
from svqvae.data.tables import plain_column, read_table
from svqvae.files import check_file, write_whole
from svqvae.fitting.fitted import Fitted
from svqvae.fitting.run_folder import read_fitted
from svqvae.wording import list_some

if TYPE_CHECKING:
    from anndata import AnnData

# Queries whose ranking is returned for printing.
N_SHOWN = 5


@dataclass(frozen=True)
class Answer:
    """What `query_signatures` found.

    Attributes
    ----------
    ranking
        The ranking of the first few queries, as in the file.
    groups
        The summary by group, or None.
    notes
        What the user should know, a sentence each.
    files
        What was written.
    """

    ranking: pd.DataFrame
    groups: pd.DataFrame | None
    notes: tuple[str, ...]
    files: tuple[Path, ...]


@dataclass(frozen=True)
class _Scores:
    names: list[str]
    scores: NDArray[np.float64]
    tau: NDArray[np.float64]
    notes: tuple[str, ...]
    groups: NDArray[Any] | None = None


def query_signatures(
    folder: Path,
    signatures: Path,
    out: Path,
    *,
    background: Path | None = None,
    by: str | None = None,
    method: str = "code",
    top: int | None = None,
    seed: int = 0,
    progress: Callable[[str], query.OnStep | None] = lambda _: None,
) -> Answer:
    """Rank the classes of a run for each signature of a data file or each query of a .gmt file, and write a CSV.

    Parameters
    ----------
    folder
        A run folder.
    signatures
        Data, whose features are matched by name, or gene sets.
    out
        File of `svqvae.atlas.query.ranking` to write. With `by`, `<its name>_by_<column>.csv` is written beside it.
    background
        A file of the same kind for tau.
    by
        Column of the data by which to summarise.
    method
        "code" or "profile", see `svqvae.atlas.query.rank_classes`; of no account for gene sets.
    top
        Classes to keep for each query and group.
    seed
        Of random gene sets.
    progress
        Called with a word for each part; returns what is called after each step, or None.
    """
    query.check_method(method)
    query.check_top(top)
    is_sets = signatures.suffix.lower() == ".gmt"
    if background is not None and (background.suffix.lower() == ".gmt") != is_sets:
        kind = "a .gmt file" if is_sets else "a data file"
        raise ValueError(f"`background` must be {kind} as `signatures` is; got {background}.")
    if is_sets and by is not None:
        raise ValueError(f"`by` must go with a data file; got {by!r} with the gene sets of {signatures}.")
    check_file(out)
    if is_sets:
        atlas = ClassAtlas.load(folder)
        found = _query_gene_sets(atlas, signatures, background, seed, progress)
    else:
        fitted = read_fitted(folder)
        atlas = fitted.atlas
        found = _query_rows(fitted, signatures, background, by, method, progress)
    names, scores, tau = found.names, found.scores, found.tau
    query.write_ranking(out, names, atlas.classes, scores, tau, top, progress("writing"))
    shown = query.ranking(names[:N_SHOWN], atlas.classes, scores[:N_SHOWN], tau[:N_SHOWN], top)
    if by is None or found.groups is None:
        return Answer(shown, None, found.notes, (out,))
    groups = query.summarise(found.groups, atlas.classes, scores, tau, top)
    column = re.sub(r"[^\w.-]+", "_", by)
    beside = out.with_name(f"{out.stem}_by_{column}.csv")
    write_whole(beside, groups.round({"mean": 6, "quantile": 6, "tau": 3}).to_csv(index=False).encode())
    return Answer(shown, groups, found.notes, (out, beside))


def _query_gene_sets(
    atlas: ClassAtlas,
    path: Path,
    background: Path | None,
    seed: int,
    progress: Callable[[str], query.OnStep | None],
) -> _Scores:
    matched = match_features(read_gene_sets(path), atlas.feature_names)
    others = None if background is None else match_features(read_gene_sets(background), atlas.feature_names).members
    scores, tau = query.gene_set_scores(atlas, matched.members, others, seed, progress("connectivity"))
    notes = [
        f"Queries: {len(scores)}. Genes that are features of the run: {matched.n_found} of {matched.n_genes}; "
        f"not found: {matched.n_genes - matched.n_found}."
    ]
    if matched.left_out:
        notes.append(
            f"Left out, as a set has fewer than {MIN_FEATURES} features of the run: {list_some(matched.left_out)}."
        )
    against = f"{N_RANDOM} random queries of the same sizes" if others is None else f"{len(others)} of {background}"
    return _Scores(list(matched.members), scores, tau, (*notes, f"tau: against {against}."))


def _query_rows(
    fitted: Fitted,
    path: Path,
    background: Path | None,
    by: str | None,
    method: str,
    progress: Callable[[str], query.OnStep | None],
) -> _Scores:
    adata = read_table(path, by=by)
    scores, n_found = _score_rows(fitted, adata, method, progress("signatures"))
    others = None
    if background is not None:
        others, _ = _score_rows(fitted, read_table(background), method, progress("background"))
    tau = query.tau(scores, others)
    notes = f"Signatures: {adata.n_obs}. Features of the run found: {n_found} of {len(fitted.atlas.feature_names)}."
    if others is not None:
        against = f"tau: against {len(others)} signatures of {background}."
    elif np.isnan(tau).all():
        against = f"tau is left empty: it takes a background, or at least {query.MIN_BACKGROUND} signatures."
    else:
        against = f"tau: against the other {len(scores) - 1} signatures."
    groups = None if by is None else plain_column(adata.obs[by])
    return _Scores(adata.obs_names.astype(str).tolist(), scores, tau, (notes, against), groups)


def _score_rows(
    fitted: Fitted, adata: "AnnData", method: str, on_step: query.OnStep | None
) -> tuple[NDArray[np.float64], int]:
    """Return the scores of all signatures, and how many features of the run they have."""
    atlas, has_shares = fitted.atlas, fitted.units.has_own_target
    is_named = fitted.feature_names is not None or adata.n_vars != len(atlas.feature_names)
    known = atlas.feature_names if is_named else tuple(map(str, adata.var_names))
    adata = rename_genes(adata, known)
    columns, kept = query.match_signatures(list(adata.var_names), known)
    if len(kept) < len(known) and (method == "code" or has_shares):
        missing = [name for name in known if name not in adata.var_names]
        hint = "Complete the data." if has_shares else "Use method='profile', which does without."
        raise ValueError(f"`signatures` must have all features of the run; missing: {list_some(missing)}. {hint}")
    units = fitted.units if len(kept) == len(known) else fitted.units.subset(np.array(kept))
    scores = np.empty((adata.n_obs, len(atlas.classes)))
    for start in range(0, adata.n_obs, query.N_ROWS):
        rows = read_samples(adata[start : start + query.N_ROWS, columns], layer=fitted.layer).rows[:]
        if units.checks_new_samples:
            units.check(rows, start)
        if method == "code":
            part = query.correlations(fitted.encode(rows).numpy(), atlas.codes)
        else:
            part = query.correlations(units.apply(rows), atlas.decoded[:, kept])
        scores[start : start + query.N_ROWS] = part
        if on_step is not None:
            on_step(start + len(part), adata.n_obs)
    return scores, len(kept)
