"""What `svqvae fit` does: from data to a run folder with its figures and its page."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from svqvae import parameters
from svqvae.data.rows import stored_rows
from svqvae.data.samples import Samples, read_samples
from svqvae.estimator import SVQVAE
from svqvae.evaluation.beside import TRAINING
from svqvae.evaluation.quality import Quality, quality_of
from svqvae.files import check_folder, write_whole
from svqvae.fitting.checkpointing import CHECKPOINT_FILE
from svqvae.fitting.fitted import Fitted
from svqvae.fitting.run_folder import METRICS, write_run
from svqvae.jobs.report import report_fitted, split_as_fitted
from svqvae.progress import is_first
from svqvae.report.page import Report
from svqvae.wording import closest, list_some

if TYPE_CHECKING:
    from anndata import AnnData

Progress = Callable[[str], Callable[[int, int], None] | None]


@dataclass(frozen=True)
class FittedRun:
    """What `fit_run` made.

    Attributes
    ----------
    fitted
        What was learnt.
    sets
        The samples trained on and, if any, those held out.
    qualities
        Figures of each of them; none in processes that do not write.
    """

    fitted: Fitted
    sets: Mapping[str, Samples]
    qualities: Mapping[str, Quality]

    def report(self, folder: Path, progress: Progress = lambda _: None) -> Report:
        """Write the page of the run into its folder, with all that the samples tell."""
        figures = {kind: quality.to_dict() for kind, quality in self.qualities.items()}
        return report_fitted(self.fitted, folder, figures, self.sets, progress)


def fit_run(
    adata: "AnnData",
    label: str,
    group: str | None,
    folder: Path,
    settings: dict[str, Any],
    command: str | None = None,
    unlabelled: "AnnData | None" = None,
    resume: bool = False,
) -> FittedRun:
    """Fit a model and write its run folder with `metrics.json`.

    The figures are those of the training samples and, where samples were held out to stop training early, of those.
    The latter had a say in when training stopped. The run keeps the columns, and the command by which it is done again.
    While it trains, and where it was interrupted, the folder holds a checkpoint, from which `resume` goes on.
    """
    check_folder(folder)
    model = SVQVAE(**settings)
    parameters.check(model.get_params(deep=False))
    samples = read_samples(adata, label=label, groups=group, are_labelled=True)
    model.fit(
        samples,
        unlabelled=unlabelled,
        unlabelled_groups=group if unlabelled is not None else None,
        checkpoint=folder / CHECKPOINT_FILE,
        resume=resume,
    )
    fitted = model.fitted_.made_of(label=label, group=group, command=command)
    sets = split_as_fitted(fitted, samples)
    if not is_first():
        return FittedRun(fitted, sets, {})
    write_run(folder, fitted)
    if not fitted.is_interrupted:
        (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
    qualities = {kind: quality_of(fitted, sets[TRAINING], part) for kind, part in sets.items()}
    content = {kind: quality.to_dict() for kind, quality in qualities.items()}
    write_whole(folder / METRICS, json.dumps(content, indent=2).encode())
    return FittedRun(fitted, sets, qualities)


def drop_features(adata: "AnnData", names: list[str]) -> "AnnData":
    """Return the data without some features; a name that is none is refused."""
    unknown = [name for name in names if name not in adata.var_names]
    if unknown:
        raise ValueError(
            f"`ignore` must name a feature; got {unknown[0]!r}. {closest(unknown[0], adata.var_names)}features are "
            f"{list_some(adata.var_names)}."
        )
    if not names:
        return adata
    kept = adata[:, ~adata.var_names.isin(names)]
    return kept.copy() if stored_rows(adata) is None else kept
