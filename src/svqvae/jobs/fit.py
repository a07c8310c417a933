"""What the commands do: from data to a run folder, and from a run folder to simulated samples."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from svqvae.data.inputs import dense
from svqvae.data.rows import StoredRows, stored_rows
from svqvae.data.tables import from_anndata
from svqvae.estimator import SVQVAE
from svqvae.evaluation.quality import Quality, held_out_quality
from svqvae.files import check_folder, write_whole
from svqvae.fitting.run_folder import CHECKPOINT_FILE
from svqvae.model.launched import is_first
from svqvae.wording import closest, list_some

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


def _quality(model: SVQVAE, training: "AnnData", tested: "AnnData", label: str) -> Quality:
    tables = (from_anndata(training, label=label), from_anndata(tested, label=label))
    a, b = (
        table.X if isinstance(table.X, StoredRows) else pd.DataFrame(dense(table.X), columns=table.feature_names)
        for table in tables
    )
    return held_out_quality(model, a, tables[0].y, b, tables[1].y)
