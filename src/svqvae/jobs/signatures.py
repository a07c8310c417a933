"""What `svqvae l1000` does: from the files of LINCS to labelled signatures."""

from pathlib import Path

from svqvae.data.l1000 import OnRead, Selection, read_signatures
from svqvae.data.pcl import PCL
from svqvae.data.stored import write_h5ad
from svqvae.files import check_file


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
    for argument, path in (("out", out), ("unlabelled_out", unlabelled_out)):
        if path is not None and path.suffix.lower() != ".h5ad":
            raise ValueError(f"`{argument}` must end in .h5ad; got {path.name}.")
        if path is not None:
            check_file(path)
    if out == unlabelled_out:
        raise ValueError(f"`unlabelled_out` must be another file than `out`; got {out} twice.")
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
