"""What `svqvae import-published` does: from the authors' files to a run folder."""

import json
from pathlib import Path

from svqvae.estimator import SVQVAE
from svqvae.evaluation.quality import Quality
from svqvae.files import make_folder, write_whole
from svqvae.fitting.published import measure_on, read_published


def import_run(
    folder: Path,
    names: Path,
    genes: Path,
    out: Path,
    data: Path | None = None,
    label: str | None = None,
    command: str | None = None,
) -> tuple[SVQVAE, Quality | None]:
    """Make a run folder of the authors' model, and return the model and its figures on the samples, if there are any.

    Parameters
    ----------
    folder, names, genes
        As in `read_published`.
    out
        Run folder to write.
    data, label
        Labelled signatures to measure counts, spread and density on, as in `measure_on`; both or none.
    command
        By which the run is made again; it is kept in the run.
    """
    if (data is None) != (label is None):
        given, absent = ("--label", "--data") if data is None else ("--data", "--label")
        raise ValueError(f"`{absent}` must go with `{given}`; got only `{given}`. Give both, or none.")
    if out.is_file():
        raise NotADirectoryError(f"`--out` must be a folder; got the file {out}. Give another name.")
    model, quality = read_published(folder, names, genes), None
    if data is not None and label is not None:
        quality = measure_on(model, data, label)
    make_folder(out)
    model.data_ |= {"label": label, "command": command}
    model.save(out)
    content = {} if quality is None else {"samples": quality.to_dict()}
    write_whole(out / "metrics.json", json.dumps(content, indent=2).encode())
    return model, quality
