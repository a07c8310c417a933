"""Rows of matrices on disk against the same matrices in memory."""

import pickle
import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import sparse

from svqvae.data import gctx, rows
from svqvae.data.rows import StoredRows, stored_rows
from svqvae.data.stored import LARGE, open_table
from svqvae.data.tables import read_table

N, P = 60, 7


def table(**changes: object) -> anndata.AnnData:
    X = np.random.default_rng(0).poisson(1.0, size=(N, P)).astype(np.float32)
    obs = pd.DataFrame({"kind": ["a", "b", "c"] * (N // 3)}, index=[f"s{k}" for k in range(N)])
    return anndata.AnnData(**({"X": X, "obs": obs, "var": pd.DataFrame(index=list("ABCDEFG"))} | changes))


def store(folder: Path, form: str) -> Path:
    path = folder / f"data.{form.rpartition(' ')[2]}"
    adata = table()
    if form.startswith("CSR"):
        adata.X = sparse.csr_matrix(adata.X)
    if path.suffix == ".gctx":
        gctx.write(adata, path)
    elif path.suffix == ".zarr":
        with anndata.settings.override(zarr_write_format=3, auto_shard_zarr_v3=False), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            adata.write_zarr(path, **({} if form.startswith("CSR") else {"chunks": (8, P)}))
    else:
        adata.write_h5ad(path, compression="gzip" if form.startswith("packed") else None)
    return path


FORMS = ["dense h5ad", "packed h5ad", "CSR h5ad", "dense zarr", "CSR zarr", "gctx"]


@pytest.fixture(params=FORMS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return store(tmp_path, request.param)


def test_rows_on_disk_are_those_in_memory(path: Path) -> None:
    adata = open_table(path, label="kind", on_disk=True)
    found, X = stored_rows(adata), table().X
    assert isinstance(found, StoredRows)
    assert (found.shape, found.dtype, list(found.feature_names)) == (X.shape, np.float32, list("ABCDEFG"))
    for chosen in (
        slice(None),
        slice(5, 12),
        slice(0, 0),
        np.array([0]),
        np.array([2, 3, 40, 41, 59]),
        np.zeros(0, int),
    ):
        np.testing.assert_array_equal(found[chosen], X[chosen])
    assert adata.obs["kind"].tolist() == table().obs["kind"].tolist()


def test_views_and_subsets_read_what_they_show(path: Path) -> None:
    adata, X = open_table(path, on_disk=True), table().X
    view = adata[:, ["F", "B", "C"]][np.arange(N) % 4 > 0]
    found = stored_rows(view)
    assert isinstance(found, StoredRows)
    np.testing.assert_array_equal(found.toarray(), X[np.arange(N) % 4 > 0][:, [5, 1, 2]])
    np.testing.assert_array_equal(found.subset(np.array([1, 7]))[:], X[[2, 10]][:, [5, 1, 2]])


def test_the_file_in_memory_is_the_same(path: Path) -> None:
    found = open_table(path, on_disk=False)
    assert stored_rows(found) is None
    X = found.X.toarray() if sparse.issparse(found.X) else found.X
    np.testing.assert_array_equal(X, table().X)


def test_rows_sent_to_another_process_are_read_there(path: Path) -> None:
    view = open_table(path, on_disk=True)[5:50, ["F", "B"]]
    sent = pickle.loads(pickle.dumps(stored_rows(view)))
    np.testing.assert_array_equal(sent[:], table().X[5:50][:, [5, 1]])


def test_backed_anndata_are_rows_on_disk(tmp_path: Path) -> None:
    backed = anndata.read_h5ad(store(tmp_path, "CSR h5ad"), backed="r")
    found = stored_rows(backed[10:20])
    assert found is not None
    np.testing.assert_array_equal(found[:], table().X[10:20])
    backed.file.close()


def count_reads(matrix: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch, chosen: NDArray[np.int64]) -> list[int]:
    sizes: list[int] = []

    class Counted(StoredRows):
        def _read(self, start: int, stop: int) -> NDArray[np.float32]:
            sizes.append(stop - start)
            return super()._read(start, stop)

    monkeypatch.setattr(rows, "MAX_GAP", 3 * 4 * P)
    monkeypatch.setattr(rows, "MAX_READ", 10 * 4 * P)
    np.testing.assert_array_equal(Counted(matrix, np.array(list("ABCDEFG")))[chosen], matrix[chosen])
    return sizes


@pytest.mark.parametrize(
    "chosen,sizes",
    [([0, 1, 2], [3]), ([0, 4, 8], [9]), ([0, 5, 6], [1, 2]), ([*range(25)], [10, 10, 5]), ([0, 4, 8, 12], [9, 1])],
)
def test_small_gaps_are_read_over_and_no_more_than_told_at_once(monkeypatch, chosen, sizes) -> None:
    assert count_reads(table().X, monkeypatch, np.array(chosen)) == sizes


def test_packed_chunks_are_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        packed = file.create_dataset("packed", data=np.zeros((50, P)), chunks=(9, P), compression="gzip")
        plain = file.create_dataset("plain", data=np.zeros((50, P)), chunks=(9, P))
        assert [StoredRows(matrix, np.arange(P)).n_together for matrix in (packed, plain)] == [9, 1]


def test_what_cannot_be_read_by_rows_is_refused(tmp_path: Path) -> None:
    table(X=sparse.csc_matrix(table().X)).write_h5ad(tmp_path / "columns.h5ad")
    with pytest.raises(ValueError, match=r"`adata.X` must be dense or CSR to be read row by row; got CSC"):
        stored_rows(open_table(tmp_path / "columns.h5ad", on_disk=True))
    adata = open_table(store(tmp_path, "gctx"), on_disk=True)
    with pytest.raises(ValueError, match="`adata` must have its samples in the file's order"):
        stored_rows(adata[[3, 1]])
    found = stored_rows(adata)
    assert found is not None
    with pytest.raises(ValueError, match="`rows` must be positions that do not fall; sort them"):
        found[np.array([3, 1])]


def test_small_files_are_read_and_large_ones_stay_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path, "gctx")
    assert N * P * 4 < LARGE
    assert stored_rows(open_table(path)) is None
    monkeypatch.setattr("svqvae.data.stored.LARGE", N * P * 4 - 1)
    assert stored_rows(open_table(path)) is not None


def test_open_table_checks_what_read_table_checks(tmp_path: Path) -> None:
    path = store(tmp_path, "gctx")
    for reader in (open_table, read_table):
        with pytest.raises(ValueError, match=r"`label` must be a column of .*; got 'sort'"):
            reader(path, label="sort")
    with pytest.raises(ValueError, match=r"`label` must be a column of .*; got 'sort'"):
        open_table(path, label="sort", on_disk=True)
    table().obs.to_csv(tmp_path / "data.csv")
    with pytest.raises(ValueError, match=r"`on_disk` must go with .h5ad, .zarr, .gctx; got .*data.csv"):
        open_table(tmp_path / "data.csv", on_disk=True)
    (tmp_path / "text.h5ad").write_text("no file of this kind")
    with pytest.raises(ValueError, match=r"`path` must be a sound AnnData file \(.h5ad\)"):
        open_table(tmp_path / "text.h5ad", on_disk=True)
