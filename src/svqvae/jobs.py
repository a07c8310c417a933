"""What the commands do: from data to a run folder, and from a run folder to simulated samples."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from svqvae.annotating import write_h5ad
from svqvae.atlas.storage import check_file, check_folder, write_whole
from svqvae.cross_validation import Comparison, OnFit, cross_validate
from svqvae.data.l1000 import OnRead, Selection, read_signatures
from svqvae.data.pcl import PCL
from svqvae.data.rows import StoredRows, stored_rows
from svqvae.data.tables import closest, from_anndata
from svqvae.data.text import list_some
from svqvae.estimator import SVQVAE
from svqvae.evaluation import Quality, held_out_quality
from svqvae.inputs import check_groups, dense
from svqvae.model.launched import is_first
from svqvae.runs import CHECKPOINT_FILE

if TYPE_CHECKING:
    from anndata import AnnData


def fit_run(
    adata: "AnnData",
    label: str,
    group: str | None,
    folder: Path,
    settings: dict[str, Any],
    command: str | None = None,
    unlabelled: "AnnData | None" = None,
    resume: bool = False,
) -> tuple[SVQVAE, dict[str, Quality]]:
    """Fit a model, write its run folder with `metrics.json`, and return the model and its figures.

    The figures are those of the training samples and, where samples were held out to stop training early, of those.
    The latter had a say in when training stopped. The run keeps the columns, and the command by which it is done again.
    While it trains, and where it was interrupted, the folder holds a checkpoint, from which `resume` goes on.
    """
    check_folder(folder)
    table = from_anndata(adata, label=label, group=group)
    groups_of_others = None if unlabelled is None else from_anndata(unlabelled, group=group).groups
    model = SVQVAE(**settings).fit(
        adata,
        label=label,
        groups=table.groups,
        unlabelled=unlabelled,
        unlabelled_groups=groups_of_others,
        checkpoint=folder / CHECKPOINT_FILE,
        resume=resume,
    )
    model.data_ |= {"label": label, "group": group, "command": command}
    if not is_first():
        return model, {}
    model.save(folder)
    if "interrupted" not in model.history_:
        (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
    is_held_out = np.isin(np.arange(adata.n_obs), model.held_out_)
    training = adata[~is_held_out]
    qualities = {"training": _quality(model, training, training, label)}
    if is_held_out.any():
        qualities["held_out"] = _quality(model, training, adata[is_held_out], label)
    content = {name: quality.to_dict() for name, quality in qualities.items()}
    write_whole(folder / "metrics.json", json.dumps(content, indent=2).encode())
    return model, qualities


def evaluate_model(
    adata: "AnnData",
    label: str,
    group: str | None,
    out: Path,
    settings: dict[str, Any],
    *,
    n_folds: int,
    n_seeds: int,
    unlabelled: "AnnData | None" = None,
    n_jobs: int = 1,
    on_fit: OnFit | None = None,
) -> Comparison:
    """Cross-validate a model beside plain classifiers, and write all figures as JSON.

    The file holds what was evaluated; for each method and figure mean, standard deviation and value of each seed; for
    the model its confusion matrix (rows: classes, columns: predictions; mean over seeds) and, class by class, samples,
    groups and the share predicted right. A class of a single group is never trained on while it is held out.
    """
    check_file(out)
    table = from_anndata(adata, label=label, group=group)
    X: Any = table.X
    if not isinstance(X, StoredRows):
        X = pd.DataFrame(dense(X), columns=table.feature_names)
    y = np.asarray(table.y)
    model = SVQVAE(**settings, image_shape=table.image_shape)
    seeds = range(n_seeds)
    others = None if unlabelled is None else from_anndata(unlabelled, group=group)
    found = cross_validate(
        X,
        y,
        {"svqvae": model},
        groups=table.groups,
        unlabelled=None if others is None else pd.DataFrame(dense(others.X), columns=others.feature_names),
        unlabelled_groups=None if others is None else others.groups,
        n_folds=n_folds,
        seeds=seeds,
        n_jobs=n_jobs,
        on_fit=on_fit,
    )
    names = np.unique(y)
    guesses = np.concatenate([found.predictions["svqvae", seed].to_numpy() for seed in seeds])
    confusion = confusion_matrix(np.tile(y, n_seeds), guesses, labels=names) / n_seeds
    groups = check_groups(table.groups, len(y))
    content = {
        "label": label,
        "group": group,
        "n_samples": len(y),
        "n_unlabelled": 0 if unlabelled is None else unlabelled.n_obs,
        "n_features": adata.n_vars,
        "n_classes": len(names),
        "n_groups": None if groups is None else len(np.unique(groups)),
        "n_folds": n_folds,
        "n_seeds": n_seeds,
        "n_near_duplicates": found.n_near_duplicates,
        "n_plain": found.n_plain,
        "settings": {name: value for name, value in settings.items() if name != "verbose"},
        "methods": found.to_dict(),
        "classes": [
            {
                "class": name,
                "n_samples": int((y == name).sum()),
                "n_groups": None if groups is None else len(np.unique(groups[y == name])),
                "right": float(confusion[k, k] / confusion[k].sum()),
            }
            for k, name in enumerate(names.tolist())
        ],
        "confusion": confusion.tolist(),
    }
    write_whole(out, json.dumps(content, indent=2, allow_nan=False).encode())
    return found


def prepare_signatures(
    paths: list[Path],
    sig_info: Path,
    pcl: Path,
    out: Path,
    *,
    gene_info: Path | None = None,
    selection: Selection | None = None,
    unlabelled_out: Path | None = None,
    on_read: OnRead | None = None,
) -> list[str]:
    """Write L1000 signatures with their classes as .h5ad, and return what was taken and left out.

    See `svqvae.data.l1000.read_signatures`. The sentences stand in ``uns["l1000"]`` too. Signatures without a class go
    into a file of their own, where one is named.
    """
    for option, path in (("--out", out), ("--unlabelled-out", unlabelled_out)):
        if path is not None and path.suffix.lower() != ".h5ad":
            raise ValueError(f"`{option}` must end in .h5ad; got {path.name}.")
        if path is not None:
            check_file(path)
    if out == unlabelled_out:
        raise ValueError(f"`--unlabelled-out` must be another file than `--out`; got {out} twice.")
    adata, told = read_signatures(
        paths,
        sig_info,
        pcl,
        gene_info=gene_info,
        selection=selection,
        with_unlabelled=unlabelled_out is not None,
        on_read=on_read,
    )
    adata.uns["l1000"] = {"files": [path.name for path in (*paths, sig_info, pcl)], "told": told}
    has_class = adata.obs[PCL].notna().to_numpy()
    write_h5ad(adata if has_class.all() else adata[has_class].copy(), out)
    if unlabelled_out is not None:
        others = adata[~has_class].copy()
        del others.obs[PCL]
        write_h5ad(others, unlabelled_out)
    return told


def drop_features(adata: "AnnData", names: list[str]) -> "AnnData":
    """Return the data without some features; a name that is none is refused."""
    unknown = [name for name in names if name not in adata.var_names]
    if unknown:
        raise ValueError(
            f"`--ignore` must name a feature; got {unknown[0]!r}. {closest(unknown[0], adata.var_names)}features are "
            f"{list_some(adata.var_names)}."
        )
    if not names:
        return adata
    kept = adata[:, ~adata.var_names.isin(names)]
    return kept.copy() if stored_rows(adata) is None else kept


def simulate_samples(folder: Path, name: str, n: int, out: Path, seed: int) -> int:
    """Write n simulated samples of a class and return the number of features.

    The suffix says the format: .h5ad, .gctx, .gct or .csv. The class stands in the column ``class``, so
    that the file can be read as labelled data again.
    """
    suffix = out.suffix.lower()
    if suffix not in (".h5ad", ".gctx", ".gct", ".csv"):
        raise ValueError(f"`--out` must end in .h5ad, .gctx, .gct or .csv; got {out.name}.")
    check_file(out)
    model = SVQVAE.load(folder)
    atlas = model.to_atlas()
    taken = {"class", "sample"} & set(atlas.feature_names)
    if suffix == ".csv" and taken:
        raise ValueError(
            f"`--out` must end in .h5ad where a feature has the name of a column, {sorted(taken)[0]!r}; got {out.name}."
        )
    name = atlas.names[atlas.find(name)]
    rows = model.sample(name, n, random_state=seed).reshape(n, -1)
    index = pd.Index([f"{name} {number}" for number in range(1, n + 1)], name="sample")
    if suffix == ".csv":
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
        if suffix in (".gctx", ".gct"):
            from svqvae.data import gctx

            gctx.write(adata, out)
        else:
            write_h5ad(adata, out)
    return rows.shape[1]


def _quality(model: SVQVAE, training: "AnnData", tested: "AnnData", label: str) -> Quality:
    tables = (from_anndata(training, label=label), from_anndata(tested, label=label))
    a, b = (
        table.X if isinstance(table.X, StoredRows) else pd.DataFrame(dense(table.X), columns=table.feature_names)
        for table in tables
    )
    return held_out_quality(model, a, tables[0].y, b, tables[1].y)
