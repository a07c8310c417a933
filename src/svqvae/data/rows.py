"""Rows of a matrix on disk: AnnData as .h5ad or .zarr, dense or CSR, and GCTX."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import anndata

Index = npt.NDArray[np.int64]

# Bytes of a gap between rows up to which it is read along with them, 64 KiB, and of one read, 8 MiB (or one row if that
# is larger), a guard for memory; both are chosen by hand.
MAX_GAP, MAX_READ = 1 << 16, 1 << 23


class StoredRows:
    """A matrix on disk that is indexed like an array and reads only the rows that are asked for.

    Parameters
    ----------
    matrix
        (n_stored, n_stored_features): an HDF5 data set, a zarr array, or a CSR matrix in either as anndata opens it.
    feature_names
        Names of the features, (n_features,).
    rows
        Positions of the rows in the matrix, ascending, (n,); None takes all.
    columns
        Positions of the features in the matrix, in any order, (n_features,); None takes all.

    Attributes
    ----------
    shape : (n, n_features)
    dtype : that of the matrix, or float32 for booleans
    is_sparse : whether the file has a sparse matrix
    n_together : number of rows in a compressed chunk of the file, which are best read together

    Raises
    ------
    ValueError
        The matrix is not of real numbers, or it is sparse but not CSR.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, h5py.File(f"{folder}/rows.h5", "w") as file:
    ...     rows = StoredRows(file.create_dataset("X", data=np.arange(12.0).reshape(4, 3)), np.array(["a", "b", "c"]))
    ...     rows.shape, rows[np.array([1, 3])].tolist()
    ((4, 3), [[3.0, 4.0, 5.0], [9.0, 10.0, 11.0]])
    """

    def __init__(
        self, matrix: Any, feature_names: npt.NDArray[Any], rows: Index | None = None, columns: Index | None = None
    ) -> None:
        if matrix.dtype.kind not in "biuf":
            raise ValueError(f"`adata.X` must hold real numbers; got {matrix.dtype}. Convert it.")
        self.is_sparse = hasattr(matrix, "format")
        if self.is_sparse and matrix.format != "csr":
            raise ValueError(
                f"`adata.X` must be dense or CSR to be read row by row; got {matrix.format.upper()}. "
                "Store it with adata.X.tocsr(), or read it into memory."
            )
        self._matrix, self._columns = matrix, columns
        self.feature_names = feature_names
        self.positions = np.arange(matrix.shape[0]) if rows is None else rows
        self.shape = (len(self.positions), len(feature_names))
        self.dtype = np.dtype(np.float32) if matrix.dtype == bool else np.dtype(matrix.dtype)
        self.n_together = _rows_of_a_chunk(matrix)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for another process, with the name of an HDF5 file, which is opened again there."""
        return self.__dict__ | {"_matrix": _address(self._matrix)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"_matrix": _opened(state["_matrix"])})

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Index) -> npt.NDArray[Any]:
        """Read rows, (n_asked, n_features), by a slice or by positions in non-descending order.

        Raises
        ------
        ValueError
            Positions descend, or the file is damaged.
        """
        positions = self.positions[rows]
        result = np.empty((len(positions), self.shape[1]), dtype=self.dtype)
        for part in self._parts(positions):
            first, last = int(positions[part.start]), int(positions[part.stop - 1])
            block = self._read(first, last + 1)
            if len(block) != part.stop - part.start:
                block = block[positions[part] - first]
            result[part] = block if self._columns is None else block[:, self._columns]
        return result

    def subset(self, rows: Index) -> "StoredRows":
        """Return some of the rows by ascending position, (n_chosen,), without reading them."""
        return StoredRows(self._matrix, self.feature_names, self.positions[rows], self._columns)

    def toarray(self) -> npt.NDArray[Any]:
        """Read the whole matrix into memory, (n, n_features)."""
        return self[:]

    def _parts(self, positions: Index) -> Iterator[slice]:
        """Cut positions into slices at gaps above `MAX_GAP`, and so that no slice reads more than `MAX_READ`."""
        if not len(positions):
            return
        n_bytes = max(1, self._matrix.shape[1] * self.dtype.itemsize)
        steps = np.diff(positions)
        if (steps < 0).any():
            raise ValueError("`rows` must be positions that do not fall; sort them.")
        cuts = np.flatnonzero(steps > 1 + MAX_GAP // n_bytes) + 1
        n_most = max(1, MAX_READ // n_bytes)
        for start, stop in zip([0, *cuts.tolist()], [*cuts.tolist(), len(positions)], strict=True):
            while start < stop:
                end = int(np.searchsorted(positions[start:stop], positions[start] + n_most)) + start
                yield slice(start, end)
                start = end

    def _read(self, start: int, stop: int) -> npt.NDArray[Any]:
        try:
            block = self._matrix[start:stop]
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"`adata.X` must be readable; rows {start} to {stop - 1} are not: {error}. The file may be damaged."
            ) from None
        return np.asarray(block.toarray() if hasattr(block, "toarray") else block)


def _address(matrix: Any) -> Any:
    """Return file, cache size, name and sparsity of an HDF5 matrix; a zarr array, which can be pickled, as it is."""
    found = matrix.group if hasattr(matrix, "format") else matrix
    if not isinstance(found, h5py.HLObject):
        return matrix
    n_cached = found.file.id.get_access_plist().get_cache()[2]
    return found.file.filename, n_cached, found.name, found is not matrix


def _opened(address: Any) -> Any:
    if not isinstance(address, tuple):
        return address
    path, n_cached, name, is_sparse = address
    found = h5py.File(path, "r", rdcc_nbytes=n_cached)[name]
    if not is_sparse:
        return found
    from anndata.io import sparse_dataset

    return sparse_dataset(found)


def _rows_of_a_chunk(matrix: Any) -> int:
    """Return the number of rows that must be uncompressed to read one; 1 if rows can be read alone."""
    if isinstance(matrix, h5py.Dataset) and matrix.compression is None:
        return 1
    chunks = getattr(matrix, "chunks", None)
    return int(chunks[0]) if chunks else 1


def is_stored(matrix: Any) -> bool:
    """Return whether a matrix of AnnData is on disk."""
    from anndata.abc import CSCDataset, CSRDataset

    kinds = (h5py.Dataset, CSRDataset, CSCDataset)
    # Recognised by the name of its module, so that zarr is not imported for nothing.
    return isinstance(matrix, kinds) or type(matrix).__module__.partition(".")[0] == "zarr"


def stored_rows(adata: "anndata.AnnData") -> StoredRows | None:
    """Return the rows of AnnData, or of a view of it, whose matrix is on disk; None if the matrix is in memory.

    Parameters
    ----------
    adata : (n, n_features)

    Raises
    ------
    ValueError
        A view has its samples in another order than the file.
    """
    # The matrix of a view would be read whole, so its positions are applied to the matrix of the viewed AnnData.
    whole = adata._adata_ref if adata.is_view else adata
    if not is_stored(whole.X):
        return None
    names = np.array(adata.var_names.astype(str), dtype=object)
    if not adata.is_view:
        return StoredRows(whole.X, names)
    rows, columns = np.arange(whole.n_obs)[adata._oidx], np.arange(whole.n_vars)[adata._vidx]
    if (np.diff(rows) < 0).any():
        raise ValueError("`adata` must have its samples in the file's order where they stay on disk; sort them.")
    is_whole = len(columns) == whole.n_vars and (columns == np.arange(whole.n_vars)).all()
    return StoredRows(whole.X, names, rows, None if is_whole else columns)
