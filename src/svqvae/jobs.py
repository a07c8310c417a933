"""What the commands do: from data to a run folder, and from a run folder to annotated samples."""

import json
import re
import tempfile
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
from svqvae.atlas.storage import check_file, write_whole
from svqvae.data.genesets import read_gene_sets
from svqvae.data.scaling import Scaling
from svqvae.data.tables import from_anndata, read_table
from svqvae.data.text import list_some
from svqvae.estimator import SVQVAE
from svqvae.evaluation import Quality, held_out_quality
from svqvae.inputs import check_counts, dense

if TYPE_CHECKING:
    from anndata import AnnData

# Queries whose ranking is returned for printing.
N_SHOWN = 5


def fit_run(
    adata: "AnnData", label: str, group: str | None, folder: Path, settings: dict[str, Any]
) -> tuple[SVQVAE, dict[str, Quality]]:
    """Fit a model, write its run folder with `metrics.json`, and return the model and its figures.

    The figures are those of the training samples and, where samples were held out to stop training early, of those.
    The latter had a say in when training stopped.
    """
    if folder.is_file():
        raise NotADirectoryError(f"`--out` must be a folder; got the file {folder}. Give another name.")
    table = from_anndata(adata, label=label, group=group)
    model = SVQVAE(**settings).fit(adata, label=label, groups=table.groups)
    model.save(folder)
    is_held_out = np.isin(np.arange(adata.n_obs), model.held_out_)
    training = adata[~is_held_out]
    qualities = {"training": _quality(model, training, training, label)}
    if is_held_out.any():
        qualities["held_out"] = _quality(model, training, adata[is_held_out], label)
    content = {name: quality.to_dict() for name, quality in qualities.items()}
    write_whole(folder / "metrics.json", json.dumps(content, indent=2).encode())
    return model, qualities


def drop_features(adata: "AnnData", names: list[str]) -> "AnnData":
    """Return the data without some features; a name that is none is refused."""
    unknown = [name for name in names if name not in adata.var_names]
    if unknown:
        raise ValueError(
            f"`--ignore` must name a feature; got {unknown[0]!r}. Features are {list_some(adata.var_names)}."
        )
    return adata[:, ~adata.var_names.isin(names)].copy() if names else adata


def annotate_samples(folder: Path, adata: "AnnData", out: Path) -> pd.DataFrame:
    """Write and return sample, class and probability of the class for each sample of new data.

    The features of the fit are picked by name, so that further columns and another order do no harm.
    """
    model = SVQVAE.load(folder)
    names = getattr(model, "feature_names_in_", None)
    if names is not None and set(names) <= set(adata.var_names):
        adata = adata[:, list(names)]
    probabilities = model.predict_proba(adata)
    best = probabilities.argmax(1)
    table = pd.DataFrame(
        {
            "sample": adata.obs_names.to_numpy(),
            "class": model.classes_[best],
            "probability": probabilities[np.arange(len(best)), best],
        }
    )
    check_file(out)
    write_whole(out, table.to_csv(index=False).encode())
    return table


def simulate_samples(folder: Path, name: str, n: int, out: Path, seed: int) -> int:
    """Write n simulated samples of a class as .h5ad or .csv, by the suffix, and return the number of features.

    The class stands in the column ``class``, so that the file can be read as labelled data again.
    """
    if out.suffix.lower() not in (".h5ad", ".csv"):
        raise ValueError(f"`--out` must end in .h5ad or .csv; got {out.name}.")
    check_file(out)
    model = SVQVAE.load(folder)
    atlas = model.to_atlas()
    taken = {"class", "sample"} & set(atlas.feature_names)
    if out.suffix.lower() == ".csv" and taken:
        raise ValueError(
            f"`--out` must end in .h5ad where a feature has the name of a column, {sorted(taken)[0]!r}; got {out.name}."
        )
    name = atlas.names[atlas.find(name)]
    rows = model.sample(name, n, random_state=seed).reshape(n, -1)
    index = pd.Index([f"{name} {number}" for number in range(1, n + 1)], name="sample")
    if out.suffix.lower() == ".csv":
        table = pd.DataFrame(rows, index=index, columns=list(atlas.feature_names))
        table.insert(0, "class", name)
        write_whole(out, table.to_csv().encode())
    else:
        import anndata

        var = pd.DataFrame(index=pd.Index(atlas.feature_names, dtype=object))
        obs = pd.DataFrame({"class": [name] * n}, index=index.astype(object))
        adata = anndata.AnnData(rows.astype(np.float32), obs=obs, var=var)
        if model.image_shape_ is not None:
            adata.uns["image_shape"] = np.array(model.sample_shape_)
        with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
            adata.write_h5ad(Path(scratch) / out.name)
            (Path(scratch) / out.name).replace(out)
    return rows.shape[1]


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
        raise ValueError(f"`--background` must be {kind} as SIGNATURES is; got {background}.")
    if is_sets and by is not None:
        raise ValueError(f"`--by` must go with a data file; got {by!r} with the gene sets of {signatures}.")
    check_file(out)
    if is_sets:
        atlas = ClassAtlas.load(folder)
        found = _query_gene_sets(atlas, signatures, background, seed, progress)
    else:
        model = SVQVAE.load(folder)
        atlas = model.to_atlas()
        found = _query_rows(model, signatures, background, by, method, progress)
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
    model: SVQVAE,
    path: Path,
    background: Path | None,
    by: str | None,
    method: str,
    progress: Callable[[str], query.OnStep | None],
) -> _Scores:
    adata = read_table(path, by=by)
    scores, n_found = _score_rows(model, adata, method, progress("signatures"))
    others = None
    if background is not None:
        others, _ = _score_rows(model, read_table(background), method, progress("background"))
    tau = query.tau(scores, others)
    notes = f"Signatures: {adata.n_obs}. Features of the run found: {n_found} of {model.n_features_in_}."
    if others is not None:
        against = f"tau: against {len(others)} signatures of {background}."
    elif np.isnan(tau).all():
        against = f"tau is left empty: it takes a --background, or at least {query.MIN_BACKGROUND} signatures."
    else:
        against = f"tau: against the other {len(scores) - 1} signatures."
    table = from_anndata(adata, group=by)
    return _Scores(table.sample_names.tolist(), scores, tau, (notes, against), table.groups)


def _score_rows(
    model: SVQVAE, adata: "AnnData", method: str, on_step: query.OnStep | None
) -> tuple[NDArray[np.float64], int]:
    """Return the scores of all signatures, and how many features of the run they have."""
    atlas = model.to_atlas()
    is_named = hasattr(model, "feature_names_in_") or adata.n_vars != model.n_features_in_
    known = atlas.feature_names if is_named else tuple(map(str, adata.var_names))
    columns, kept = query.match_signatures(list(adata.var_names), known)
    if len(kept) < len(known) and (method == "code" or model.scaling_.kind == "counts"):
        missing = [name for name in known if name not in adata.var_names]
        hint = "Use --method profile, which does without." if model.scaling_.kind != "counts" else "Complete the data."
        raise ValueError(f"SIGNATURES must have all features of the run; missing: {list_some(missing)}. {hint}")
    scaling = Scaling(model.scaling_.kind, atlas.center[kept], atlas.scale[kept])
    scores = np.empty((adata.n_obs, len(atlas.classes)))
    for start in range(0, adata.n_obs, query.N_ROWS):
        block = adata[start : start + query.N_ROWS, columns]
        if method == "code":
            part = query.correlations(model.transform(block), atlas.codes)
        else:
            rows = dense(from_anndata(block, layer=model.layer_).X)
            if scaling.kind == "counts":
                check_counts(rows)
            part = query.correlations(scaling.apply(rows), atlas.decoded[:, kept])
        scores[start : start + query.N_ROWS] = part
        if on_step is not None:
            on_step(start + len(part), adata.n_obs)
    return scores, len(kept)


def _quality(model: SVQVAE, training: "AnnData", tested: "AnnData", label: str) -> Quality:
    tables = (from_anndata(training, label=label), from_anndata(tested, label=label))
    a, b = (pd.DataFrame(dense(table.X), columns=table.feature_names) for table in tables)
    return held_out_quality(model, a, tables[0].y, b, tables[1].y)
