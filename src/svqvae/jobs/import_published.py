"""What `svqvae import-published` does: from the authors' files to a run folder."""

import json
from pathlib import Path

from svqvae.data.l1000 import rename_genes
from svqvae.data.samples import Samples, read_samples
from svqvae.data.tables import read_table
from svqvae.estimator import SVQVAE
from svqvae.evaluation.quality import Quality, quality_of
from svqvae.files import check_folder, write_whole
from svqvae.fitting.fit import warn_of
from svqvae.fitting.fitted import Fitted
from svqvae.fitting.published import measured_on, read_networks
from svqvae.fitting.run_folder import METRICS, write_run
from svqvae.wording import list_some


def read_published(folder: Path | str, names: Path | str, genes: Path | str) -> SVQVAE:
    """Return the authors' trained model as a fitted estimator that has seen no samples.

    See `svqvae.fitting.published.read_networks` for the files.

    Examples
    --------
    >>> model = read_published("saved", "pcl_names.csv", "landmark_genes.tsv")  # doctest: +SKIP
    >>> model.to_atlas().nearest(metric="correlation", space="code")  # doctest: +SKIP
    """
    return SVQVAE.of_fitted(_read(folder, names, genes))


def import_run(
    folder: Path,
    names: Path,
    genes: Path,
    out: Path,
    data: Path | None = None,
    label: str | None = None,
    command: str | None = None,
) -> tuple[Fitted, Quality | None]:
    """Make a run folder of the authors' model, and return the model and its figures on the samples, if there are any.

    Parameters
    ----------
    folder, names, genes
        As in `svqvae.fitting.published.read_networks`.
    out
        Run folder to write.
    data, label
        Labelled signatures to measure counts, spread and density on, and the column of the class; both or none.
    command
        By which the run is made again; it is kept in the run.

    Warns
    -----
    CodeHealthWarning
        Where some codes do not stand for their class.
    """
    if (data is None) != (label is None):
        given, absent = ("label", "data") if data is None else ("data", "label")
        raise ValueError(f"`{absent}` must go with `{given}`; got only `{given}`. Give both, or none.")
    check_folder(out)
    fitted, quality = _read(folder, names, genes), None
    if data is not None and label is not None:
        samples = _samples(fitted, data, label)
        fitted = measured_on(fitted, samples)
        warn_of(fitted, stacklevel=2)
        known = fitted.labelled(samples, samples.labels.astype(str))
        quality = quality_of(fitted, known, known)
    fitted = fitted.made_of(label=label, command=command)
    write_run(out, fitted)
    content = {} if quality is None else {"samples": quality.to_dict()}
    write_whole(out / METRICS, json.dumps(content, indent=2).encode())
    return fitted, quality


def _read(folder: Path | str, names: Path | str, genes: Path | str) -> Fitted:
    return read_networks(folder, names, genes, SVQVAE.published("lincs").get_params(deep=False))


def _samples(fitted: Fitted, data: Path, label: str) -> Samples:
    """Return labelled signatures with the genes of the model, found by name; others are left out."""
    features = list(fitted.atlas.feature_names)
    adata = rename_genes(read_table(data, label=label), features)
    absent = set(features) - set(adata.var_names)
    if absent:
        raise ValueError(
            f"`data` must have the {len(features)} genes of the model as features; {len(absent)} are missing: "
            f"{list_some(sorted(absent))}. Name them as in `genes`."
        )
    return read_samples(adata[:, features], label=label)
