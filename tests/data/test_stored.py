"""Tables whose matrix stays on disk: opened, and written as .h5ad in parts."""

from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from svqvae.data import gctx, stored
from svqvae.data.stored import open_table, write_h5ad

N, P = 25, 6


def table(is_sparse: bool = False) -> anndata.AnnData:
    X = np.random.default_rng(0).poisson(0.7, (N, P)).astype(np.float32)
    return anndata.AnnData(
        sparse.csr_matrix(X) if is_sparse else X,
        pd.DataFrame({"kind": ["a", "b", "c", "d", "e"] * 5, "donor": "x"}, index=[f"s{k}" for k in range(N)]),
        pd.DataFrame({"length": np.arange(P)}, index=list("ABCDEF")),
        uns={"source": "planted"},
        obsm={"place": np.arange(2.0 * N).reshape(N, 2)},
    )


def dense(adata: anndata.AnnData) -> np.ndarray:
    return adata.X.toarray() if sparse.issparse(adata.X) else np.asarray(adata.X)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy matrices in parts of 7 rows."""
    monkeypatch.setattr(stored, "_BLOCK", 7)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_a_matrix_on_disk_is_written_as_it_was(is_sparse: bool, tmp_path: Path) -> None:
    table(is_sparse).write_h5ad(tmp_path / "a.h5ad")
    write_h5ad(open_table(tmp_path / "a.h5ad", on_disk=True), tmp_path / "b.h5ad")
    found, wanted = anndata.read_h5ad(tmp_path / "b.h5ad"), table(is_sparse)
    assert type(found.X) is type(wanted.X)
    np.testing.assert_array_equal(dense(found), dense(wanted))
    pd.testing.assert_frame_equal(found.obs, wanted.obs, check_categorical=False, check_dtype=False)
    pd.testing.assert_frame_equal(found.var, wanted.var)
    assert found.uns["source"] == "planted"


@pytest.mark.parametrize("is_sparse", [False, True])
def test_a_view_of_a_matrix_on_disk_is_written_as_it_shows(is_sparse: bool, tmp_path: Path) -> None:
    table(is_sparse).write_h5ad(tmp_path / "a.h5ad")
    view = open_table(tmp_path / "a.h5ad", on_disk=True)[np.arange(N) % 3 > 0, ["D", "A"]]
    write_h5ad(view, tmp_path / "b.h5ad")
    found = anndata.read_h5ad(tmp_path / "b.h5ad")
    np.testing.assert_array_equal(dense(found), dense(table())[np.arange(N) % 3 > 0][:, [3, 0]])
    assert list(found.var_names) == ["D", "A"]
    assert found.obs_names[0] == "s1"


def test_a_matrix_in_memory_is_written_with_all_that_goes_with_it(tmp_path: Path) -> None:
    write_h5ad(table(), tmp_path / "a.h5ad")
    found = anndata.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(found.obsm["place"], table().obsm["place"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5ad"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    write_h5ad(table(), tmp_path / "a.h5ad")
    before = (tmp_path / "a.h5ad").read_bytes()
    broken = table()
    broken.uns["function"] = print
    with pytest.raises(Exception, match="function"):
        write_h5ad(broken, tmp_path / "a.h5ad")
    assert (tmp_path / "a.h5ad").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5ad"]


@pytest.mark.parametrize("suffix", [".h5ad", ".gctx"])
def test_annotations_are_read_where_the_matrix_is_not(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    gctx.write(table(), path) if suffix == ".gctx" else table().write_h5ad(path)
    adata = open_table(path, label="kind", group="donor", on_disk=True)
    assert not isinstance(adata.X, np.ndarray)
    assert adata.shape == (N, P)
    assert adata.obs["kind"].tolist() == table().obs["kind"].tolist()
    assert adata.var["length"].tolist() == list(range(P))


@pytest.mark.parametrize(("label", "group", "role"), [("knd", None, "label"), ("kind", "dnor", "group")])
def test_columns_are_checked_though_the_matrix_is_not_read(
    label: str, group: str | None, role: str, tmp_path: Path
) -> None:
    table().write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(ValueError, match=rf"`{role}` must be a column of .*a.h5ad; got '.*The closest name is"):
        open_table(tmp_path / "a.h5ad", label=label, group=group, on_disk=True)


def test_a_matrix_of_text_formats_cannot_stay_on_disk(tmp_path: Path) -> None:
    table().to_df().to_csv(tmp_path / "a.csv")
    with pytest.raises(ValueError, match=r"must go with \.h5ad, \.zarr, \.gctx; got .*a\.csv"):
        open_table(tmp_path / "a.csv", on_disk=True)
    assert open_table(tmp_path / "a.csv").shape == (N, P)


def test_files_of_the_layout_before_anndata_0_7_are_told_from_damaged_ones(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "old.h5ad", "w") as file:
        file["X"] = dense(table())
        file["obs"] = np.array([(b"s0", 1)], dtype=[("index", "S2"), ("kind", "i8")])
    with pytest.raises(ValueError, match=r"whose layout is that of anndata before 0\.7\. Rewrite it"):
        open_table(tmp_path / "old.h5ad", on_disk=True)


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.h5ad"):
        open_table(tmp_path / "none.h5ad", on_disk=True)
