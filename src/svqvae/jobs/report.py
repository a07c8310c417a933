"""What it takes to write the page of a run: the model, its figures, and the samples at hand."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from svqvae.data import inputs
from svqvae.data.l1000 import rename_genes
from svqvae.data.rows import StoredRows
from svqvae.data.stored import open_table
from svqvae.estimator import SVQVAE
from svqvae.evaluation.quality import Quality, held_out_quality, quality_beside
from svqvae.report.page import Report, write_report
from svqvae.report.samples import GIVEN, HELD_OUT, TRAINING, SampleSet
from svqvae.wording import list_some

if TYPE_CHECKING:
    from anndata import AnnData

Progress = Callable[[str], Callable[[int, int], None] | None]
# Samples of each kind that are read from disk for the page.
MAX_SAMPLES = 5000
FIGURES = ("accuracy", "class_reconstruction", "sample_reconstruction", "n_samples")


def report_fit(
    model: SVQVAE,
    adata: "AnnData",
    label: str,
    folder: Path,
    qualities: Mapping[str, Quality],
    progress: Progress = lambda _: None,
) -> Report:
    """Write the page of a model that has just been fitted to data, with all that the data tell."""
    X, y, _ = _rows_of(model, adata, label)
    figures = {name: quality.to_dict() for name, quality in qualities.items()}
    return write_report(model, folder, figures, _in_memory(_split(model, X, y)), progress=progress)


def report_run(
    folder: Path, data: Path | None = None, label: str | None = None, progress: Progress = lambda _: None
) -> Report:
    """Write the page of a run folder, from the run alone or with labelled data.

    Parameters
    ----------
    folder
        A run folder.
    data
        The data of the fit, told by their fingerprint, of which the held-out samples are known; or other samples.
    label
        The column that holds the class; None is that of the fit.
    progress
        Called with a word for each part; returns what is called after each step, or None.
    """
    if data is None and label is not None:
        raise ValueError(f"`--label` must go with `--data`; got only {label!r}. Give both, or none.")
    model = SVQVAE.load(folder)
    figures = read_figures(folder)
    if data is None:
        return write_report(model, folder, figures, progress=progress)
    column = label or model.data_.get("label")
    if not isinstance(column, str):
        raise ValueError("`--label` must name the column that holds the class, which the run does not know; got none.")
    X, y, is_fitted = _rows_of(model, open_table(data, label=column), column)
    if is_fitted and model.data_["n_trained"]:
        sets = _split(model, X, y)
        training = sets[TRAINING]
        found = {kind: held_out_quality(model, training.X, training.y, part.X, part.y) for kind, part in sets.items()}
    else:
        sets = {GIVEN: SampleSet(X, y)}
        found = {GIVEN: quality_beside(model, model.to_atlas().means, X, y)}
    figures |= {kind: quality.to_dict() for kind, quality in found.items()}
    return write_report(model, folder, figures, _in_memory(sets), progress=progress)


def read_figures(folder: Path) -> dict[str, dict[str, float]]:
    """Return the figures that `metrics.json` holds by kind of samples; none where there is no such file."""
    path = folder / "metrics.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {kind: figures for kind, figures in found.items() if set(FIGURES) <= set(figures)}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} must hold figures as `svqvae fit` writes them; it is damaged: {error}.") from None


def _rows_of(model: SVQVAE, adata: "AnnData", label: str) -> tuple[Any, NDArray[np.generic], bool]:
    """Return samples as the model takes them, their classes, and whether they are those that it was fitted to."""
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        adata = rename_genes(adata, names)
        if set(names) <= set(adata.var_names):
            adata = adata[:, list(names)]
    unpacked = inputs.unpack(adata, None, label, model.layer_)
    rows, _ = inputs.check_rows(model, unpacked, takes_images=True, is_fitting=False)
    known = {str(name): k for k, name in enumerate(model.classes_.tolist())}
    given = [str(name) for name in unpacked.y]
    foreign = sorted(set(given) - set(known))
    if foreign:
        raise ValueError(
            f"`--label` must name a column that holds classes of the run only; others are {list_some(foreign)}. "
            "Choose another column, or leave such samples out."
        )
    index = np.array([known[name] for name in given], dtype=np.int64)
    is_fitted = model.data_.get("sha256") == inputs.fingerprint(rows, index)
    if isinstance(rows, StoredRows):
        return rows, model.classes_[index], is_fitted
    if len(model.sample_shape_) > 1:
        return rows.reshape(-1, *model.sample_shape_), model.classes_[index], is_fitted
    X = rows if names is None else pd.DataFrame(rows, columns=list(names))
    return X, model.classes_[index], is_fitted


def _split(model: SVQVAE, X: Any, y: NDArray[np.generic]) -> dict[str, SampleSet]:
    """Return the samples of a fit: those trained on, and those held out to stop training early, if any."""
    is_held_out = np.isin(np.arange(len(y)), model.held_out_)
    parts = {TRAINING: ~is_held_out} | ({HELD_OUT: is_held_out} if is_held_out.any() else {})
    if isinstance(X, StoredRows):
        return {kind: SampleSet(X.subset(np.flatnonzero(part)), y[part]) for kind, part in parts.items()}
    return {kind: SampleSet(X[part], y[part]) for kind, part in parts.items()}


def _in_memory(sets: Mapping[str, SampleSet]) -> dict[str, SampleSet]:
    """Return samples for the page: of those on disk at most `MAX_SAMPLES`, evenly spaced."""
    read = {}
    for kind, samples in sets.items():
        if isinstance(samples.X, StoredRows):
            n = len(samples.X)
            chosen = np.linspace(0, n - 1, min(n, MAX_SAMPLES)).round().astype(np.int64)
            frame = pd.DataFrame(samples.X[chosen], columns=samples.X.feature_names)
            read[kind] = SampleSet(frame, samples.y[chosen])
        else:
            read[kind] = samples
    return read
