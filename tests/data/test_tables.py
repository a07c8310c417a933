from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from scipy import sparse

from svqvae.data.rows import StoredRows
from svqvae.data.tables import image_shape_of, matrix_of, plain_column, read_table, require_roles

CELLS = "sample,kind,batch,CD3E,CD19\ns1,T cell,1,5.5,0\ns2,B cell,2,0.5,4\ns3,T cell,1,6.0,1\n"


def write(tmp_path, text, name="cells.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def annotated(**options):
    obs = pd.DataFrame({"kind": pd.Categorical(["T", "B", "T"]), "donor": [1, 2, 1]}, index=["s1", "s2", "s3"])
    var = pd.DataFrame(index=["CD3E", "CD19"])
    return anndata.AnnData(np.arange(6.0).reshape(3, 2), obs=obs, var=var, **options)


def test_a_table_gives_features_annotations_and_sample_names(tmp_path):
    adata = read_table(write(tmp_path, CELLS), label="kind", group="batch")
    np.testing.assert_array_equal(adata.X, [[5.5, 0], [0.5, 4], [6, 1]])
    assert list(adata.var_names) == ["CD3E", "CD19"]
    assert list(adata.obs_names) == ["s1", "s2", "s3"]
    assert list(adata.obs.columns) == ["kind", "batch"]
    assert list(adata.obs["kind"]) == ["T cell", "B cell", "T cell"]


def test_a_label_of_numbers_keeps_its_type_and_is_no_feature(tmp_path):
    adata = read_table(write(tmp_path, CELLS), label="batch")
    assert adata.obs["batch"].dtype == np.int64
    assert "batch" not in adata.var_names


def test_without_a_label_numbers_are_features(tmp_path):
    assert list(read_table(write(tmp_path, CELLS)).var_names) == ["batch", "CD3E", "CD19"]


@pytest.mark.parametrize("first", ["dose", "id,dose"])
def test_a_bad_cell_among_numbers_is_named(tmp_path, first):
    cells = ["1.5", "2", "n.d.", "4", "", "5", "6"]
    rows = [f"s{row},{cell},1" if "id" in first else f"{cell},1" for row, cell in enumerate(cells)]
    path = write(tmp_path, "\n".join([f"{first},b", *rows]))
    sample = "s2" if "id" in first else "2"
    message = rf"column 'dose' .* 1 of 7 cells, first 'n.d.' in data row 3 \(sample '{sample}'\)"
    with pytest.raises(ValueError, match=message):
        read_table(path)


def test_a_label_may_be_mostly_numbers(tmp_path):
    adata = read_table(write(tmp_path, "grade,a\n1,1\n2,1\n3,1\n3,1\n4b,1\n"), label="grade")
    assert list(adata.obs["grade"]) == ["1", "2", "3", "3", "4b"]


@pytest.mark.parametrize("role", ["label", "group"])
def test_a_misspelt_column_is_answered_with_the_closest(tmp_path, role):
    header = "sample,kind," + ",".join(f"g{i}" for i in range(6))
    path = write(tmp_path, header + "\nx,T" + ",1" * 6 + "\n")
    message = (
        rf"`{role}` must be a column of .*cells.csv; got 'Knd'. The closest name is 'kind'; "
        r"columns are 'kind', 'g0', 'g1', 'g2', 'g3' \(\+2 more\)\."
    )
    with pytest.raises(ValueError, match=message):
        read_table(path, **{role: "Knd"})


def test_a_table_with_semicolons_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"must have its columns separated by commas .*; got .* with semicolons"):
        read_table(write(tmp_path, "kind;a;b\nT;1;2\n"), label="kind")


def test_decimal_commas_are_refused(tmp_path):
    content = 'kind,a,b\nT,"1,5",2\nB,,3\nB,"-0,25",3\n'
    with pytest.raises(
        ValueError, match=r"decimal point; got .*, where column 'a' has commas, such as '1,5'\. Replace"
    ):
        read_table(write(tmp_path, content), label="kind")


@pytest.mark.parametrize(("name", "start"), [("number", 1), ("sample_id", 7)])
def test_a_column_of_identifiers_is_warned_of(tmp_path, name, start):
    step = 1 if name == "number" else 13
    rows = "".join(f"T,{start + step * k},{k % 3}\n" for k in range(12))
    with pytest.warns(
        UserWarning, match=rf"Column '{name}' of cells.csv .* looks like an identifier: .*ignore='{name}'"
    ):
        adata = read_table(write(tmp_path, f"kind,{name},a\n{rows}"), label="kind")
    assert adata.n_vars == 2


def test_whole_numbers_that_differ_are_no_identifiers(tmp_path, recwarn):
    rows = "".join(f"T,{k * k},{k % 3}\n" for k in range(12))
    read_table(write(tmp_path, f"kind,count,a\n{rows}"), label="kind")
    assert not recwarn.list


def test_a_column_like_no_other_is_answered_with_the_columns(tmp_path):
    with pytest.raises(ValueError, match=r"got 'zzz'. The columns are 'kind', 'batch', 'CD3E', 'CD19'\."):
        read_table(write(tmp_path, CELLS), label="zzz")


@pytest.mark.parametrize("role", ["label", "group"])
def test_samples_without_a_label_are_counted_and_named(tmp_path, role):
    path = write(tmp_path, "id,kind,a\ns1,T,1\ns2,,2\ns3,NA,3\n")
    message = rf"`{role}` must be a column without missing values; got 'kind' .* 2 of 3 samples have none: 's2', 's3'\."
    with pytest.raises(ValueError, match=message):
        read_table(path, **{role: "kind"})


def test_an_unknown_suffix_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"`path` must be one of \.csv, .*\.parquet, \.h5ad.*; got .*cells.xlsx"):
        read_table(write(tmp_path, CELLS, "cells.xlsx"))


def test_a_missing_table_is_told_in_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`path` must be an existing file; got .*no.csv"):
        read_table(tmp_path / "no.csv")


def test_parquet_keeps_its_index_and_its_numbers(tmp_path):
    frame = pd.DataFrame({"kind": pd.Categorical(["T", "B"]), "a": np.float32([1.5, 2]), "b": np.int16([3, 4])})
    frame.index = pd.Index([11, 12])
    frame.to_parquet(tmp_path / "t.parquet")
    adata = read_table(tmp_path / "t.parquet", label="kind")
    assert list(adata.obs_names) == ["11", "12"]
    assert adata.X.dtype == np.float32
    np.testing.assert_array_equal(adata.X, [[1.5, 3], [2, 4]])


def test_parquet_without_an_index_names_samples_by_its_first_column(tmp_path):
    frame = pd.DataFrame({"sample_id": [7, 8], "kind": ["T", "B"], "a": [0.1, 0.2]})
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    adata = read_table(tmp_path / "t.parquet", label="kind")
    assert list(adata.obs_names) == ["7", "8"]
    assert list(adata.var_names) == ["a"]


def test_parquet_numbers_of_every_kind_are_features(tmp_path):
    frame = pd.DataFrame(
        {
            "nullable": pd.array([1, None], dtype="Int64"),
            "flag": [True, None],
            "price": [Decimal("1.5"), Decimal("2.5")],
            "big": [1e300, 0.1],
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    adata = read_table(tmp_path / "t.parquet")
    np.testing.assert_array_equal(adata.X, [[1, 1, 1.5, 1e300], [np.nan, np.nan, 2.5, 0.1]])
    assert adata.X.dtype == np.float64


def test_parquet_text_and_dates_and_lists_are_annotations(tmp_path):
    dates = pd.to_datetime(["2017-03-06", "2020-01-01"])
    frame = pd.DataFrame({"tags": [["a"], ["b", "c"]], "day": dates, "kind": ["T", "B"], "a": [1.0, 2.0]})
    frame.to_parquet(tmp_path / "t.parquet")
    assert list(read_table(tmp_path / "t.parquet").obs.columns) == ["tags", "day", "kind"]


def test_parquet_with_repeated_columns_is_refused(tmp_path):
    pa.parquet.write_table(pa.table([[1], [2]], names=["a", "a"]), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"unique column names; got .*t.parquet with 'a'"):
        read_table(tmp_path / "t.parquet")


def test_parquet_with_an_index_of_two_levels_is_refused(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)]))
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"one name for each sample; got .*t.parquet, whose index has 2 levels"):
        read_table(tmp_path / "t.parquet")


def test_parquet_without_rows_is_refused(tmp_path):
    pd.DataFrame({"a": np.empty(0)}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"a table with rows; got .*t.parquet, which has none"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("name", ["t.parquet", "t.h5ad"])
@pytest.mark.parametrize("content", [b"", b"hello, world"])
def test_a_foreign_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"`path` must be a sound .*; got .*{name}, where reading fails"):
        read_table(tmp_path / name)


def test_hdf5_that_is_not_anndata_is_refused(tmp_path):
    with h5py.File(tmp_path / "t.h5ad", "w") as file:
        file["0/DATA/0/matrix"] = np.zeros((2, 2))
    with pytest.raises(ValueError, match=r"sound AnnData file \(.h5ad\); got .*t.h5ad, where reading fails"):
        read_table(tmp_path / "t.h5ad")


def test_h5ad_is_read_as_it_was_written(tmp_path):
    annotated().write_h5ad(tmp_path / "t.h5ad")
    adata = read_table(tmp_path / "t.h5ad", label="kind", group="donor")
    np.testing.assert_array_equal(adata.X, annotated().X)
    with pytest.raises(
        ValueError, match=r"`label` must be a column of .*t.h5ad; got 'knd'. The closest name is 'kind'"
    ):
        read_table(tmp_path / "t.h5ad", label="knd")


def test_idx_images_come_through_the_same_door(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 9, 5]))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]))
    for path in (tmp_path, tmp_path / "train-images-idx3-ubyte"):
        table = read_table(path, label="label")
        labels = plain_column(table.obs["label"])
        assert (matrix_of(table, None).tolist(), labels.tolist(), image_shape_of(table)) == ([[9, 5]], ["7"], (1, 2))


def test_anndata_becomes_plain_arrays():
    adata = annotated()
    np.testing.assert_array_equal(matrix_of(adata, None), adata.X)
    kinds, donors = plain_column(adata.obs["kind"]), plain_column(adata.obs["donor"])
    assert kinds.dtype == object
    assert (kinds.tolist(), donors.tolist()) == (["T", "B", "T"], [1, 2, 1])
    assert image_shape_of(adata) is None


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pd.Categorical([3, 1, 3]), "i"),
        (pd.array([3, 1, 3], dtype="Int64"), "i"),
        (pd.Categorical([0.5, 1, 0.5]), "f"),
        ([True, False, True], "b"),
        (pd.array(["a", "b", "a"], dtype="string"), "O"),
        (["a", "b", "a"], "O"),
    ],
)
def test_labels_keep_the_kind_of_their_values(column, kind):
    adata = annotated()
    adata.obs["kind"] = column
    y = plain_column(adata.obs["kind"])
    assert isinstance(y, np.ndarray)
    assert y.dtype.kind == kind
    assert y.tolist() == list(column)


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_array])
def test_a_sparse_matrix_is_given_as_it_is_stored(form):
    adata = annotated(layers={"counts": form(np.eye(3, 2))})
    X = matrix_of(adata, "counts")
    assert isinstance(X, form)
    np.testing.assert_array_equal(X.toarray(), np.eye(3, 2))


def test_backed_anndata_stay_on_disk(tmp_path):
    annotated().write_h5ad(tmp_path / "t.h5ad")
    backed = anndata.read_h5ad(tmp_path / "t.h5ad", backed="r")
    found = matrix_of(backed, None)
    assert type(found) is StoredRows
    np.testing.assert_array_equal(found.toarray(), annotated().X)
    backed.file.close()


def test_sliced_anndata_give_arrays_in_memory():
    sliced = matrix_of(annotated()[:, ["CD19"]], None)
    assert type(sliced) is np.ndarray
    np.testing.assert_array_equal(sliced, [[1], [3], [5]])


def test_image_shape_survives_a_file(tmp_path):
    annotated(uns={"image_shape": [1, 2]}).write_h5ad(tmp_path / "t.h5ad")
    assert image_shape_of(read_table(tmp_path / "t.h5ad")) == (1, 2)


def test_an_image_shape_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"one feature for each pixel .*got \(2, 2\) and 2 features"):
        image_shape_of(annotated(uns={"image_shape": [2, 2]}))


def test_a_missing_layer_is_answered_with_the_layers():
    adata = annotated(layers={"counts": np.eye(3, 2)})
    with pytest.raises(ValueError, match=r"`layer` must be a name in adata.layers; got 'count'. .*'counts'"):
        matrix_of(adata, "count")


def test_anndata_without_a_matrix_asks_for_a_layer():
    adata = anndata.AnnData(obs=pd.DataFrame(index=["a"]), layers={"counts": np.ones((1, 2))})
    with pytest.raises(ValueError, match=r"`layer` must be given where adata.X is empty.*'counts'"):
        matrix_of(adata, None)


def test_anndata_without_the_column_or_its_values_is_refused():
    with pytest.raises(ValueError, match=r"`group` must be a column of adata.obs; got 'doner'. .* 'donor'"):
        require_roles(annotated().obs, {"group": "doner"}, "adata.obs")
    adata = annotated()
    adata.obs["kind"] = pd.Categorical(["T", None, "T"])
    with pytest.raises(ValueError, match=r"`label` must be a column without missing values; .* 1 of 3 .* 's2'"):
        require_roles(adata.obs, {"label": "kind"}, "adata.obs")


def test_real_blood_cells_are_read_with_their_types(real_file: Callable[[str], Path]):
    table = read_table(real_file("pbmc68k_reduced.h5ad"), label="bulk_labels")
    kinds = plain_column(table.obs["bulk_labels"])
    assert matrix_of(table, None).shape == (700, 765)
    assert len(set(kinds)) == 10
    assert "CD14+ Monocyte" in kinds
