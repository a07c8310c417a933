"""Read and write CMap's matrices, GCTX (HDF5) and GCT (text), as AnnData: whole, in part or in blocks."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from svqvae.data import gct, hdf5
from svqvae.data.metadata import Contents, pick

if TYPE_CHECKING:
    import anndata

# Bytes of float32 that are written at a time: a guard for memory, 8 MiB.
_BLOCK = 1 << 23


def read(
    path: Path | str, rows: Iterable[Any] | None = None, columns: Iterable[Any] | None = None
) -> "anndata.AnnData":
    """Read a GCTX or GCT file: its rows, the genes, become variables, and its columns, the samples, observations.

    Metadata of GCTX keep their types. In GCT, columns of numbers become int64, or float64 if a number is fractional or
    missing; columns of True and False become booleans; all others are text. CMap's marker for missing values, -666, and
    empty text become NaN or None, in GCT also NA. Text is stripped. The matrix becomes float32 and is not changed
    otherwise.

    Parameters
    ----------
    path : .gctx, .gct or .gct.gz
    rows : ids of genes as text, or positions as integers; None reads all
    columns : ids of samples as text, or positions as integers; None reads all

    Returns
    -------
    AnnData of (n_samples, n_genes), float32, samples and genes in the order of `columns` and `rows`

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged or inconsistent, or lacks a gene or sample that was asked for; the message says which.

    Examples
    --------
    >>> import anndata, tempfile
    >>> genes = pd.DataFrame(index=["780", "7849", "6193"])
    >>> samples = pd.DataFrame({"pert_iname": ["DMSO", "vorinostat"]}, index=["A03", "A04"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(anndata.AnnData(np.arange(6.0).reshape(2, 3), samples, genes), f"{folder}/plate.gctx")
    ...     adata = read(f"{folder}/plate.gctx", rows=["6193", "780"], columns=["A04"])
    >>> adata.X.tolist(), list(adata.obs["pert_iname"])
    ([[5.0, 3.0]], ['vorinostat'])
    """
    path = _require_kind(path)
    contents = _read_contents(path)
    genes = pick(contents.var.index, rows, "rows", path)
    samples = pick(contents.obs.index, columns, "columns", path)
    return next(_blocks(path, contents, genes, [samples]))


def read_metadata(path: Path | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the metadata of genes and samples without the matrix.

    Parameters
    ----------
    path : .gctx, .gct or .gct.gz

    Returns
    -------
    var : (n_genes, n_row_columns), by gene id
    obs : (n_samples, n_column_columns), by sample id

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged or inconsistent; the message says where.

    Examples
    --------
    >>> import anndata, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(anndata.AnnData(np.ones((1, 2)), pd.DataFrame({"dose": [10]}, index=["A03"])), f"{folder}/plate.gct")
    ...     var, obs = read_metadata(f"{folder}/plate.gct")
    >>> list(var.index), obs["dose"].tolist()
    (['0', '1'], [10])
    """
    contents = _read_contents(_require_kind(path))
    return contents.var, contents.obs


def iter_blocks(
    path: Path | str,
    rows: Iterable[Any] | None = None,
    columns: Iterable[Any] | None = None,
    *,
    max_samples: int = 4096,
) -> Iterator["anndata.AnnData"]:
    """Read a file larger than memory in blocks of samples.

    For a GCTX file, memory holds the metadata, one block, and about 16 MiB or two chunks of the file if these are
    larger. Each block reads every chunk that it needs once, so samples in the order of the file are fastest. A GCT file
    has its samples in columns and is read whole.

    Parameters
    ----------
    path : .gctx, .gct or .gct.gz
    rows : as in `read`
    columns : as in `read`
    max_samples : number of samples in each block but the last

    Yields
    ------
    AnnData of (n_samples_in_block, n_genes), together what `read` returns

    Raises
    ------
    FileNotFoundError, ValueError
        As in `read`, at the call; but damage in the matrix is found when its block is read.

    Examples
    --------
    >>> import anndata, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(anndata.AnnData(np.ones((5, 3))), f"{folder}/plate.gctx")
    ...     [block.shape for block in iter_blocks(f"{folder}/plate.gctx", max_samples=2)]
    [(2, 3), (2, 3), (1, 3)]
    """
    if max_samples < 1:
        raise ValueError(f"`max_samples` must be 1 or more; got {max_samples}.")
    path = _require_kind(path)
    contents = _read_contents(path)
    genes = pick(contents.var.index, rows, "rows", path)
    samples = pick(contents.obs.index, columns, "columns", path)
    blocks = [samples[start : start + max_samples] for start in range(0, len(samples), max_samples)]
    return _blocks(path, contents, genes, blocks)


def write(adata: "anndata.AnnData", path: Path | str) -> None:
    r"""Write AnnData as GCTX 1.0 or GCT 1.3, depending on the suffix, whole or not at all.

    The matrix becomes dense float32; layers, embeddings and the like are not written. Metadata in GCTX: booleans,
    integers and floats keep their types, integers with missing values become floats, all others text. Missing text
    becomes -666, in GCT also missing numbers. The GCTX layout is that of cmapR and cmapPy: samples by genes, chunks of
    1 MiB, no compression of the matrix.

    Parameters
    ----------
    adata : (n_samples, n_genes)
    path : .gctx or .gct, in an existing folder

    Raises
    ------
    FileNotFoundError
        The folder does not exist.
    ValueError
        The suffix is wrong, ids are not unique, or the format cannot hold the data; the message says which.

    Examples
    --------
    >>> import anndata, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(anndata.AnnData(np.eye(2)), f"{folder}/two.gct")
    ...     print(Path(f"{folder}/two.gct").read_text().splitlines()[1:4])
    ['2\t2\t0\t0', 'id\t0\t1', '0\t1.0\t0.0']
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".gctx", ".gct"):
        raise ValueError(f"`path` must end in .gctx or .gct; got {path.name}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"`path` must be in an existing folder; got {path}. Make the folder first.")
    if adata.X is None or 0 in adata.shape:
        raise ValueError(f"`adata` must have a matrix with samples and genes; got {adata.shape}, X of {type(adata.X)}.")
    if adata.isbacked:
        adata = adata.to_memory()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            if suffix == ".gct":
                gct.write_matrix(file, adata.var, adata.obs, _gene_blocks(adata.X))
        if suffix == ".gctx":
            hdf5.write_matrix(Path(temporary), path.name, adata.var, adata.obs, _sample_blocks(adata.X))
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _require_kind(path: Path | str) -> Path:
    path = Path(path)
    name = path.name.lower()
    if name.endswith(".gctx.gz"):
        raise ValueError(f"`path` must be an unpacked .gctx file; got {path}. Unpack it with gunzip.")
    if not name.endswith((".gctx", ".gct", ".gct.gz")):
        raise ValueError(f"`path` must end in .gctx, .gct or .gct.gz; got {path}. Rename it to what it is.")
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be an existing file; got {path}. Check the spelling and the folder.")
    return path


def _read_contents(path: Path) -> Contents:
    return hdf5.read_contents(path) if path.suffix.lower() == ".gctx" else gct.read_contents(path)


def _blocks(
    path: Path, contents: Contents, genes: npt.NDArray[np.int64], blocks: list[npt.NDArray[np.int64]]
) -> Iterator["anndata.AnnData"]:
    import anndata

    if isinstance(contents, gct.TextContents):
        whole = gct.read_matrix(path, contents, genes, np.concatenate(blocks))
        matrices = iter(np.split(whole, np.cumsum([len(block) for block in blocks])[:-1]))
    else:
        matrices = hdf5.read_blocks(path, genes, blocks)
    for samples, X in zip(blocks, matrices, strict=True):
        yield anndata.AnnData(X, contents.obs.iloc[samples].copy(), contents.var.iloc[genes].copy())


def _sample_blocks(X: Any) -> Iterator[npt.NDArray[np.float32]]:
    X = X.asformat("csr") if hasattr(X, "asformat") else np.asarray(X)
    step = max(1, _BLOCK // (4 * X.shape[1]))
    for start in range(0, X.shape[0], step):
        yield _float32(X[start : start + step])


def _gene_blocks(X: Any) -> Iterator[npt.NDArray[np.float32]]:
    X = X.asformat("csc") if hasattr(X, "asformat") else np.asarray(X)
    step = max(1, _BLOCK // (4 * X.shape[0]))
    for start in range(0, X.shape[1], step):
        yield _float32(X[:, start : start + step]).T


def _float32(block: Any) -> npt.NDArray[np.float32]:
    block = block.toarray() if hasattr(block, "toarray") else block
    if block.dtype.kind not in "biuf":
        raise ValueError(f"`adata.X` must hold real numbers; got {block.dtype}. Convert it.")
    try:
        with np.errstate(over="raise"):
            return np.asarray(block.astype(np.float32, copy=False))
    except FloatingPointError:
        largest = np.abs(block[np.isfinite(block)]).max()
        raise ValueError(f"`adata.X` must hold numbers that fit float32; got {largest:.3g}. Scale the data.") from None
