"""AnnData whose matrix stays on disk, from .h5ad, .zarr and .gctx files."""

import math
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scipy.sparse import csr_matrix

from svqvae.data.rows import is_stored, stored_rows
from svqvae.data.tables import read_table, require_roles
from svqvae.data.text import told_in_a_sentence

if TYPE_CHECKING:
    import anndata

SUFFIXES = (".h5ad", ".zarr", ".gctx")
# A matrix that would take more bytes in memory, 1 GiB, stays on disk by default: a guard for memory, chosen by hand.
LARGE = 1 << 30
# Rows that are copied at a time: a guard for memory, 4 MB for 978 features.
_BLOCK = 1024


def open_table(
    path: Path | str,
    *,
    label: str | None = None,
    group: str | None = None,
    on_disk: bool | None = None,
) -> "anndata.AnnData":
    """Read labelled data as `svqvae.data.tables.read_table`, but leave a large matrix on disk.

    Parameters
    ----------
    path : any file of `read_table`; the matrix of .h5ad, .zarr and .gctx can stay on disk
    label : column with the class of each sample
    group : column with the group of each sample, which is kept together when data are split
    on_disk : whether the matrix stays on disk; None leaves it there if it would take more than 1 GiB as a dense array

    Returns
    -------
    AnnData with
    X : (n_samples, n_features), in memory or as the file's own data set, which stays open
    obs : (n_samples, n_annotations), in memory

    Raises
    ------
    FileNotFoundError, ValueError
        As in `svqvae.data.tables.read_table`; or `on_disk` is True for another kind of file.

    Examples
    --------
    >>> import anndata, tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     anndata.AnnData(np.eye(3)).write_h5ad(f"{folder}/eye.h5ad")
    ...     adata = open_table(f"{folder}/eye.h5ad", on_disk=True)
    ...     print(type(adata.X).__name__, adata.shape)
    ...     adata.X.file.close()
    Dataset (3, 3)
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if on_disk and suffix not in SUFFIXES:
        raise ValueError(f"`on_disk` must go with {', '.join(SUFFIXES)}; got {path}. Convert it, or leave that out.")
    if on_disk is False or suffix not in SUFFIXES or not path.exists():
        return read_table(path, label=label, group=group)
    if suffix == ".h5ad" and _is_of_old_layout(path):
        if on_disk:
            raise ValueError(
                f"`on_disk` must go with files of today's AnnData; got {path}, whose layout is that of anndata "
                "before 0.7. Rewrite it: anndata.read_h5ad(old).write_h5ad(new)."
            )
        return read_table(path, label=label, group=group)
    adata = _open_gctx(path) if suffix == ".gctx" else _open_anndata(path)
    n_bytes = math.prod(adata.shape) * (adata.X.dtype.itemsize if adata.X is not None else 0)
    if not is_stored(adata.X) or (on_disk is None and n_bytes <= LARGE):
        return read_table(path, label=label, group=group)
    require_roles(adata.obs, {role: name for role, name in (("label", label), ("group", group)) if name}, str(path))
    return adata


def write_h5ad(adata: "anndata.AnnData", path: Path) -> None:
    """Write AnnData whole or not at all; a matrix on disk is copied in parts and stays dense or CSR.

    Parameters
    ----------
    adata : (n_samples, n_features)
    path : .h5ad, overwritten
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        _write_h5ad(adata, Path(scratch) / path.name)
        (Path(scratch) / path.name).replace(path)


def _write_h5ad(adata: "anndata.AnnData", path: Path) -> None:
    import anndata
    import h5py
    from anndata.io import sparse_dataset, write_elem

    rows = stored_rows(adata)
    if rows is None:
        adata.write_h5ad(path)
        return
    parts = {name: dict(getattr(adata, name)) for name in ("layers", "obsm", "varm", "uns")}
    anndata.AnnData(None, adata.obs, adata.var, **parts).write_h5ad(path)
    blocks = (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))
    with h5py.File(path, "r+") as file:
        if "X" in file:
            del file["X"]
        if rows.is_sparse:
            write_elem(file, "X", csr_matrix(next(blocks)))
            for block in blocks:
                sparse_dataset(file["X"]).append(csr_matrix(block))
            return
        dataset = file.create_dataset("X", rows.shape, rows.dtype)
        dataset.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        for number, block in enumerate(blocks):
            dataset[number * _BLOCK : number * _BLOCK + len(block)] = block


def _open_gctx(path: Path) -> "anndata.AnnData":
    import anndata

    from svqvae.data import hdf5

    contents = hdf5.read_contents(path)
    return anndata.AnnData(hdf5.open_matrix(path), contents.obs, contents.var)


def _is_of_old_layout(path: Path) -> bool:
    """Return whether the file has the layout of anndata before 0.7, in which obs is a compound data set."""
    import h5py

    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r") as file:
        return isinstance(file.get("obs"), h5py.Dataset)


def _open_anndata(path: Path) -> "anndata.AnnData":
    import anndata
    import h5py
    from anndata.io import read_elem, sparse_dataset

    kind = "AnnData file (.h5ad)" if path.is_file() else "AnnData folder (.zarr)"
    with told_in_a_sentence(path, kind), warnings.catch_warnings():
        # Warnings about files of old versions do not help those who only read them.
        warnings.simplefilter("ignore", anndata.OldFormatWarning)
        warnings.filterwarnings("ignore", "Moving element from", FutureWarning)
        file: Any
        if path.is_file():
            file = h5py.File(path, "r")
        else:
            import zarr

            file = zarr.open_group(path, mode="r")
        X = file.get("X")
        if X is not None and not hasattr(X, "dtype"):
            X = sparse_dataset(X)
        parts = {name: read_elem(file[name]) for name in ("obs", "var", "uns") if name in file}
        layers = {name: read_elem(file["layers"][name]) for name in file.get("layers", {})}
        return anndata.AnnData(X, layers=layers, **parts)
