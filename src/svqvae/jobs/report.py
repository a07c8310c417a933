"""What it takes to write the page of a run: the model, its figures, and the samples at hand."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from svqvae.data.samples import Samples, read_samples
from svqvae.data.stored import open_table
from svqvae.evaluation.beside import GIVEN, HELD_OUT, TRAINING, Sets, compare_beside
from svqvae.evaluation.quality import Quality, quality_beside, quality_of
from svqvae.files import current
from svqvae.fitting.annotate import with_features_of
from svqvae.fitting.fitted import Fitted
from svqvae.fitting.run_folder import METRICS, read_fitted
from svqvae.report.page import Report, write_report
from svqvae.wording import list_some

if TYPE_CHECKING:
    from anndata import AnnData

Progress = Callable[[str], Callable[[int, int], None] | None]
Figures = Mapping[str, Mapping[str, float]]
# Samples of each kind that are read from disk for the page: its map shows 1,500, and 5,000 tell an accuracy to 0.7 %.
MAX_SAMPLES = 5000
NEEDED = {field.name for field in fields(Quality)}


def report_fitted(
    fitted: Fitted,
    folder: Path,
    figures: Figures,
    sets: Sets | None = None,
    progress: Progress = lambda _: None,
    title: str | None = None,
) -> Report:
    """Write the page of a model with all that samples tell.

    Parameters
    ----------
    fitted
        What was learnt.
    folder
        Where `report.html` and `report.json` go.
    figures
        By kind of samples, as in `metrics.json`.
    sets
        Samples by kind, with classes of the fit and figures of each kind; of those on disk some are read.
    progress
        Called with a word for each part; returns what is called after each step, or None.
    title
        Of the page; None is the name of the folder.
    """
    at_hand = {kind: samples.in_memory(MAX_SAMPLES) for kind, samples in (sets or {}).items()}
    on_step = progress("comparing")
    accuracy = compare_beside(fitted, at_hand)
    if on_step is not None:
        on_step(1, 1)
    return write_report(fitted, folder, figures, accuracy, at_hand, title=title, progress=progress)


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
        raise ValueError(f"`label` must go with `data`; got only {label!r}. Give both, or none.")
    fitted, figures = read_fitted(folder), read_figures(folder)
    if data is None:
        return report_fitted(fitted, folder, figures, progress=progress)
    column = label or fitted.origin.get("label")
    if not isinstance(column, str):
        raise ValueError("`label` must name the column that holds the class, which the run does not know; got none.")
    samples = _samples_of(fitted, open_table(data, label=column), column)
    if samples.fingerprint == fitted.origin.get("sha256") and fitted.origin["n_trained"]:
        sets = split_as_fitted(fitted, samples)
        found = {kind: quality_of(fitted, sets[TRAINING], part) for kind, part in sets.items()}
    else:
        sets = {GIVEN: samples}
        found = {GIVEN: quality_beside(fitted, fitted.atlas.means, samples)}
    figures |= {kind: quality.to_dict() for kind, quality in found.items()}
    return report_fitted(fitted, folder, figures, sets, progress)


def split_as_fitted(fitted: Fitted, samples: Samples) -> dict[str, Samples]:
    """Return the samples of a fit: those trained on, and those held out to stop training early, if any."""
    is_held_out = np.isin(np.arange(len(samples)), fitted.held_out)
    parts = {TRAINING: ~is_held_out} | ({HELD_OUT: is_held_out} if is_held_out.any() else {})
    return {kind: samples.subset(np.flatnonzero(part)) for kind, part in parts.items()}


def read_figures(folder: Path) -> dict[str, dict[str, float]]:
    """Return the figures that `metrics.json` holds by kind of samples; none where there is no such file."""
    path = current(folder, METRICS)
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {kind: figures for kind, figures in found.items() if set(figures) >= NEEDED}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} must hold figures as `svqvae fit` writes them; it is damaged: {error}.") from None


def _samples_of(fitted: Fitted, adata: "AnnData", label: str) -> Samples:
    """Return samples with the features and the classes of the fit."""
    found = fitted.accept(read_samples(with_features_of(fitted, adata), label=label, layer=fitted.layer))
    known = {str(name): k for k, name in enumerate(fitted.classes.tolist())}
    given = [str(name) for name in found.labels]
    foreign = sorted(set(given) - set(known))
    if foreign:
        raise ValueError(
            f"`label` must name a column that holds classes of the run only; others are {list_some(foreign)}. "
            "Choose another column, or leave such samples out."
        )
    index = np.array([known[name] for name in given], dtype=np.int64)
    return replace(found, y=index, classes=fitted.classes)
