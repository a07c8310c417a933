"""What `svqvae annotate` does: from a run folder and new data to the class of each sample."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from svqvae.data.stored import write_h5ad
from svqvae.files import check_file, write_whole
from svqvae.fitting.annotate import UNKNOWN, annotate_anndata, tell_classes
from svqvae.fitting.run_folder import read_fitted

if TYPE_CHECKING:
    from anndata import AnnData


def annotate_samples(folder: Path, adata: "AnnData", out: Path, unknown: float = UNKNOWN) -> tuple[pd.DataFrame, bool]:
    """Write and return what `tell_classes` says of new data, and whether the coverage of sets was calibrated.

    As .csv, with the column ``sample`` before the others; or as .h5ad: then the data themselves with what
    `annotate_anndata` adds. The features of the fit are picked by name, so that further columns and another order do no
    harm.
    """
    is_annotated = out.suffix.lower() == ".h5ad"
    if not is_annotated and out.suffix.lower() != ".csv":
        raise ValueError(f"`out` must end in .csv or .h5ad; got {out.name}.")
    check_file(out)
    fitted = read_fitted(folder)
    if is_annotated:
        table = annotate_anndata(fitted, adata, unknown)
        write_h5ad(adata, out)
    else:
        table = tell_classes(fitted, adata, unknown)
    table.insert(0, "sample", adata.obs_names.to_numpy())
    if not is_annotated:
        write_whole(out, table.to_csv(index=False).encode())
    calibration = fitted.atlas.calibration
    return table, calibration is not None and calibration.covers
