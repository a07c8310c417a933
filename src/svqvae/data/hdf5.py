"""GCTX, the HDF5 format of CMap's matrices: samples by genes, read chunk by chunk."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from svqvae.data.metadata import (
    MISSING,
    Contents,
    decode,
    from_stored,
    ids_of,
    metadata_frame,
    require_plain_names,
    to_plain,
)
from svqvae.data.text import told_in_a_sentence
from svqvae.wording import list_some

_VERSION = "GCTX1.0"
_MATRIX, _ROW, _COLUMN = "0/DATA/0/matrix", "0/META/ROW", "0/META/COL"
# Bytes that are read at a time: a guard for memory, 8 MiB, or one chunk if that is larger.
_TILE = 1 << 23
# Chunks as cmapR writes them: up to 1,000 genes, and as many samples as fit into 1 MiB of float32.
_CHUNK_GENES, _CHUNK_NUMBERS = 1000, 1 << 18


def read_contents(path: Path) -> Contents:
    """Read ids and metadata, and check that they match the shape of the matrix.

    Parameters
    ----------
    path : GCTX 1.0

    Raises
    ------
    ValueError
        The file has another format or version, or a part of it is missing, damaged or of the wrong length.
    """
    with _opened(path) as file:
        var = _read_group(file, _ROW, "gene", path)
        obs = _read_group(file, _COLUMN, "sample", path)
        shape = _matrix_of(file, path).shape
    if shape != (len(obs), len(var)):
        is_turned = shape == (len(var), len(obs))
        hint = "It is transposed: write its transpose." if is_turned else "Check how the file was written."
        raise ValueError(
            f"`path` must have a matrix of samples by genes, here {len(obs)} by {len(var)} as its ids say; got {path} "
            f"with a matrix of {' by '.join(map(str, shape))}. {hint}"
        )
    return Contents(var, obs)


def read_blocks(
    path: Path, genes: npt.NDArray[np.int64], blocks: Sequence[npt.NDArray[np.int64]]
) -> Iterator[npt.NDArray[np.float32]]:
    """Read the matrix block by block.

    A block is read in tiles of whole chunks, each of which is read once. Memory holds one block, one tile and the part
    of it that is needed; a tile has 8 MiB, or is one chunk if that is larger.

    Parameters
    ----------
    path : the file
    genes : positions of genes in any order, (n_genes,)
    blocks : positions of the samples of each block in any order, (n_samples_in_block,)

    Yields
    ------
    (n_samples_in_block, n_genes)

    Raises
    ------
    ValueError
        The matrix is missing or damaged.
    """
    with _opened(path) as file:
        dataset = _matrix_of(file, path)
        for samples in blocks:
            yield _read_block(dataset, samples, genes, path)


def open_matrix(path: Path) -> Any:
    """Open the matrix, (n_samples, n_genes), as an HDF5 data set whose rows are read without their whole chunk."""
    with _opened(path) as file:
        _matrix_of(file, path)
    # With a cache, HDF5 would read whole chunks, which are not compressed and need not be read whole.
    return h5py.File(path, "r", rdcc_nbytes=0)[_MATRIX]


def write_matrix(
    path: Path,
    source: str,
    var: pd.DataFrame,
    obs: pd.DataFrame,
    sample_blocks: Iterator[npt.NDArray[np.float32]],
) -> None:
    """Write GCTX 1.0 in the layout of cmapR and cmapPy.

    Parameters
    ----------
    path : the file, overwritten
    source : file name to store in the attribute "src"
    var : (n_genes, n_row_columns)
    obs : (n_samples, n_column_columns)
    sample_blocks : arrays (n_samples_in_block, n_genes), in the order of `obs`
    """
    shape = (len(obs), len(var))
    n_genes = min(shape[1], _CHUNK_GENES)
    chunk = (min(shape[0], _CHUNK_NUMBERS // n_genes), n_genes)
    with h5py.File(path, "w") as file:
        file.attrs["version"] = np.bytes_(_VERSION)
        file.attrs["src"] = source
        _write_group(file.create_group(_ROW, track_order=True), var, "var")
        _write_group(file.create_group(_COLUMN, track_order=True), obs, "obs")
        dataset = file.create_dataset(_MATRIX, shape, dtype=np.float32, chunks=chunk)
        start = 0
        for block in sample_blocks:
            dataset[start : start + len(block)] = block
            start += len(block)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if path.stat().st_size == 0:
        raise ValueError(f"`path` must be a GCTX file; got {path}, which is empty. Give another file.")
    if not h5py.is_hdf5(path):
        raise ValueError(
            f"`path` must be a GCTX file, which is HDF5; got {path}, which is not. Give it the suffix of what it is."
        )
    with told_in_a_sentence(path, "GCTX file"):
        file = h5py.File(path, "r")
    with file:
        version = np.asarray(file.attrs.get("version", "")).ravel().tolist()
        text = decode(version[0]) if version and isinstance(version[0], bytes) else "".join(map(str, version))
        if text.strip("\0 ") != _VERSION:
            raise ValueError(
                f"`path` must be of version {_VERSION}; got {path} with {text or 'none'}. "
                "Convert it with cmapR or cmapPy."
            )
        yield file


def _matrix_of(file: Any, path: Path) -> Any:
    with told_in_a_sentence(path, "GCTX file"):
        dataset = file.get(_MATRIX)
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "iuf":
        found = "none" if dataset is None else f"one of {getattr(dataset, 'dtype', 'no type')}"
        raise ValueError(
            f"`path` must have a matrix of numbers in {_MATRIX}; got {path} with {found}. Check how it was written."
        )
    return dataset


def _read_group(file: Any, name: str, what: str, path: Path) -> pd.DataFrame:
    with told_in_a_sentence(path, "GCTX file"):
        group = file.get(name)
        fields = dict(group.items()) if isinstance(group, h5py.Group) else {}
        columns = {str(field): dataset[()] for field, dataset in fields.items() if isinstance(dataset, h5py.Dataset)}
    if "id" not in columns:
        raise ValueError(
            f"`path` must have {what} ids in {name}/id; got {path} with {list_some(columns) or 'nothing'} in {name}. "
            "Check how it was written."
        )
    with told_in_a_sentence(path, "GCTX file"):
        typed = {field: from_stored(np.asarray(values)) for field, values in columns.items() if field != "id"}
    lengths = {field: np.shape(values) for field, values in columns.items()}
    n = lengths["id"][0] if lengths["id"] else 0
    unfit = [f"{field} {shape}" for field, shape in lengths.items() if shape != (n,)]
    if unfit or n == 0:
        raise ValueError(
            f"`path` must have one value for each of {n} ids in every column of {name}, and at least one id; got "
            f"{path} with {list_some(unfit) or 'none'}. Check how it was written."
        )
    return metadata_frame(typed, ids_of(np.asarray(columns["id"]), what, path))


def _read_block(
    dataset: Any, samples: npt.NDArray[np.int64], genes: npt.NDArray[np.int64], path: Path
) -> npt.NDArray[np.float32]:
    X = np.empty((len(samples), len(genes)), dtype=np.float32)
    sample_order, gene_order = np.argsort(samples), np.argsort(genes)
    n_row, n_column = dataset.chunks or (1, dataset.shape[1])
    n_across = max(1, _TILE // (n_row * n_column * dataset.dtype.itemsize))
    gene_tiles = _tiles(genes[gene_order], n_column, n_across)
    n_wide = min(n_across, -(-dataset.shape[1] // n_column))
    sample_tiles = _tiles(samples[sample_order], n_row, max(1, n_across // n_wide))
    for down in sample_tiles:
        rows = sample_order[down]
        first, last = samples[rows[0]], samples[rows[-1]]
        for across in gene_tiles:
            columns = gene_order[across]
            left, right = genes[columns[0]], genes[columns[-1]]
            with told_in_a_sentence(path, "GCTX file"):
                tile = dataset[first : last + 1, left : right + 1]
            X[_index(rows, columns)] = tile[_index(samples[rows] - first, genes[columns] - left)]
    return X


def _tiles(positions: npt.NDArray[np.int64], chunk: int, n_chunks: int) -> list[slice]:
    """Cut sorted positions into slices that skip unneeded chunks and span at most `n_chunks` chunks."""
    chunks = positions // chunk
    run = np.concatenate([[0], np.cumsum(np.diff(chunks) > 1)])
    tile = np.stack([run, chunks // n_chunks])
    starts = np.flatnonzero(np.concatenate([[True], (np.diff(tile) != 0).any(0)]))
    return [slice(int(a), int(b)) for a, b in zip(starts, [*starts[1:], len(positions)], strict=True)]


def _index(rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> tuple[Any, ...]:
    # Slices are many times faster than lists of positions.
    down, across = (slice(int(p[0]), int(p[-1]) + 1) if (np.diff(p) == 1).all() else p for p in (rows, columns))
    return (down, across) if isinstance(down, slice) or isinstance(across, slice) else np.ix_(down, across)


def _write_group(group: Any, frame: pd.DataFrame, what: str) -> None:
    ids, names = require_plain_names(frame, what, "/\0")
    columns = {"id": np.array(ids, dtype=object)}
    columns |= {name: to_plain(frame.iloc[:, k]) for k, name in enumerate(names)}
    for name, values in columns.items():
        if values.dtype.kind == "O":
            _write_texts(group, name, [MISSING if value is None else value for value in values], what)
        else:
            group.create_dataset(name, data=values, compression="gzip", compression_opts=6)


def _write_texts(group: Any, name: str, texts: list[str], what: str) -> None:
    bad = [text for text in texts if "\0" in text]
    if bad:
        raise ValueError(f"`adata.{what}` must have no zero bytes in {name!r}; got {list_some(bad)}. Remove them.")
    # Fixed-width text, as cmapR and cmapPy write it.
    encoded = [text.encode() for text in texts]
    width = max(1, *map(len, encoded))
    dtype = h5py.string_dtype("ascii" if all(map(str.isascii, texts)) else "utf-8", width)
    group.create_dataset(name, data=np.array(encoded, dtype=dtype), compression="gzip", compression_opts=6)
