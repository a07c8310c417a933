import string
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from svqvae.data import gctx
from svqvae.data.samples import read_samples
from svqvae.data.tables import read_table

FOLDER = "lincs"
BINARY = [
    "a375/CPC006_A375_6H_X1_ZSPC_n371x978.gctx",
    "a375/LJP005_A375_24H_X1_B19_ZSPC_n377x978.gctx",
    "a375/LJP009_A375_24H_X1_B20_ZSPC_n371x978.gctx",
    "level5/modzs_n272x978.gctx",
    "formats/CORE_A_level4_ZSPCINF_n40x12328.gctx",
    "formats/modzs_n25x50.gctx",
]
FORMATS = [".gctx", ".gct"]
# Text begins with a letter, so that it is none of a number, a truth value and a marker of what is missing.
ANY = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT = {
    ".gctx": st.builds("x{}y".format, st.text(ANY)),
    ".gct": st.builds("x{}y".format, st.text(ANY.filter(lambda character: character not in "\t\n\r"))),
}
NAMES = (
    st.text(string.ascii_letters + "'\"\u00b5 .:-", min_size=1)
    .map(str.strip)
    .filter(lambda n: n not in ("", ".", "..", "id"))
)


@pytest.fixture
def plate() -> anndata.AnnData:
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "kind": pd.Categorical(["T", None, "B", "T"]),
            "dose": [0.1, np.nan, 10, 1e-7],
            "n": np.array([4, 3, 2, 1], np.int64),
            "is_gold": [True, False, True, True],
            "title": ['5\'-"x"', None, "\u00b5M", '"'],
        },
        index=["s1", "s2", "s3", "s4"],
    )
    var = pd.DataFrame(
        {"symbol": [f"G{k}" for k in range(7)], "is_lm": range(7)}, index=[str(780 + k) for k in range(7)]
    )
    X = rng.normal(size=(4, 7)).astype(np.float32)
    X[1, 2] = np.nan
    return anndata.AnnData(X, obs, var)


def assert_same(read: anndata.AnnData, written: anndata.AnnData) -> None:
    np.testing.assert_array_equal(read.X, np.asarray(written.X, np.float32))
    for a, b in ((read.obs, written.obs), (read.var, written.var)):
        assert list(a.index) == list(b.index)
        assert list(a.columns) == list(b.columns)
        for name in a.columns:
            np.testing.assert_array_equal(a[name].isna(), b[name].isna())
            assert a[name].dropna().tolist() == b[name].dropna().tolist()


@st.composite
def frames(draw: st.DrawFn, n: int, suffix: str) -> pd.DataFrame:
    index = draw(st.lists(NAMES, min_size=n, max_size=n, unique=True))
    numbers = st.floats(allow_infinity=True).filter(lambda value: value != -666)
    kinds = [
        st.integers(-(2**62), 2**62).filter(lambda value: value != -666),
        numbers,
        st.booleans(),
        TEXT[suffix] | st.none(),
    ]
    names = draw(st.lists(NAMES, max_size=4, unique=True))
    frame = pd.DataFrame(index=pd.Index(index, dtype=object))
    for name in names:
        kind = draw(st.sampled_from(kinds))
        values = draw(st.lists(kind, min_size=n, max_size=n))
        frame[name] = np.array(values) if kind is not kinds[3] else pd.Series(values, index=frame.index, dtype=object)
    return frame


@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_written_is_read(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    n_samples, n_genes = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    X = data.draw(arrays.arrays(np.float32, (n_samples, n_genes), elements=st.floats(width=32)))
    adata = anndata.AnnData(X, data.draw(frames(n_samples, suffix)), data.draw(frames(n_genes, suffix)))
    gctx.write(adata, tmp_path / f"a{suffix}")
    assert_same(gctx.read(tmp_path / f"a{suffix}"), adata)


@pytest.mark.parametrize("suffix", FORMATS)
def test_metadata_of_every_type_come_back(tmp_path, plate, suffix):
    gctx.write(plate, tmp_path / f"a{suffix}")
    adata = gctx.read(tmp_path / f"a{suffix}")
    assert_same(adata, plate)
    assert [adata.obs[name].dtype.kind for name in adata.obs] == ["O", "f", "i", "b", "O"]
    assert list(tmp_path.iterdir()) == [tmp_path / f"a{suffix}"]
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert anndata.read_h5ad(tmp_path / "a.h5ad").shape == (4, 7)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    "form", [sparse.csr_matrix, sparse.csc_array, sparse.csr_array, np.asfortranarray, lambda X: X.astype(np.float64)]
)
def test_matrices_of_every_form_are_written_dense(tmp_path, plate, suffix, form, monkeypatch):
    monkeypatch.setattr("svqvae.data.gctx._BLOCK", 40)
    other = anndata.AnnData(form(plate.X), plate.obs, plate.var, layers={"raw": plate.X})
    gctx.write(other, tmp_path / f"a{suffix}")
    assert_same(gctx.read(tmp_path / f"a{suffix}"), plate)


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_and_columns_come_in_the_order_asked(tmp_path, plate, suffix):
    gctx.write(plate, tmp_path / f"a{suffix}")
    part = plate[["s4", "s1"], ["786", "780", "783"]]
    assert_same(gctx.read(tmp_path / f"a{suffix}", ["786", "780", "783"], ["s4", "s1"]), part)
    assert_same(gctx.read(tmp_path / f"a{suffix}", rows=[6, 0, 3], columns=[3, 0]), part)
    with pytest.raises(ValueError, match=r"`columns` must be ids in .*got 's9', which it does not hold"):
        gctx.read(tmp_path / f"a{suffix}", columns=["s1", "s9"])


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("max_samples", [1, 3, 4, 100])
def test_blocks_make_up_the_whole(tmp_path, plate, suffix, max_samples):
    gctx.write(plate, tmp_path / f"a{suffix}")
    for options in ({}, {"rows": ["783", "780"], "columns": ["s4", "s1", "s2"]}):
        blocks = list(gctx.iter_blocks(tmp_path / f"a{suffix}", **options, max_samples=max_samples))
        whole = gctx.read(tmp_path / f"a{suffix}", **options)
        assert [block.n_obs for block in blocks[:-1]] == [max_samples] * (len(blocks) - 1)
        np.testing.assert_array_equal(np.concatenate([block.X for block in blocks]), whole.X)
        assert pd.concat([block.obs for block in blocks]).equals(whole.obs)
        assert all(block.var.equals(whole.var) for block in blocks)


def test_blocks_are_checked_at_the_call(tmp_path, plate):
    gctx.write(plate, tmp_path / "a.gctx")
    with pytest.raises(ValueError, match=r"`max_samples` must be 1 or more; got 0"):
        gctx.iter_blocks(tmp_path / "a.gctx", max_samples=0)
    with pytest.raises(ValueError, match=r"`rows` must be ids"):
        gctx.iter_blocks(tmp_path / "a.gctx", rows=["x"])


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("no.gctx", FileNotFoundError, r"`path` must be an existing file; got .*no.gctx"),
        ("a.gctx.gz", ValueError, r"`path` must be an unpacked .gctx file; got .*a.gctx.gz. Unpack it with gunzip"),
        ("a.h5", ValueError, r"`path` must end in .gctx, .gct or .gct.gz; got .*a.h5"),
    ],
)
def test_names_that_cannot_be_read_are_refused(tmp_path, name, error, message):
    for reading in (gctx.read, gctx.read_metadata, gctx.iter_blocks):
        with pytest.raises(error, match=message):
            reading(tmp_path / name)


def test_names_that_cannot_be_written_are_refused(tmp_path, plate):
    with pytest.raises(ValueError, match=r"`path` must end in .gctx or .gct; got a.h5ad"):
        gctx.write(plate, tmp_path / "a.h5ad")
    with pytest.raises(FileNotFoundError, match=r"`path` must be in an existing folder; got .*no/a.gct"):
        gctx.write(plate, tmp_path / "no" / "a.gct")


@pytest.mark.parametrize(
    ("part", "value", "suffix", "message"),
    [
        ("obs_names", ["a", "a ", "b", "c"], ".gct", r"`adata.obs_names` must be unique; got 'a' more than once"),
        ("var_names", ["", *"abcdef"], ".gctx", r"`adata.var_names` must not be empty; got '' at position 0"),
        ("id", 1, ".gctx", r"`adata.obs.columns` must be names other than 'id'"),
        ("a/b", 1, ".gctx", r"`adata.obs.columns` must be names .* got 'a/b'"),
        ("z", "a\0b", ".gctx", r"`adata.obs` must have no zero bytes in 'z'"),
        ("X", np.ones((4, 7), complex), ".gctx", r"`adata.X` must hold real numbers; got complex128"),
        ("X", np.full((4, 7), 1e300), ".gct", r"`adata.X` must hold numbers that fit float32; got 1e\+300"),
        ("X", None, ".gct", r"`adata` must have a matrix with samples and genes"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, plate, part, value, suffix, message):
    if part in ("obs_names", "var_names", "X"):
        setattr(plate, part, value)
    else:
        plate.obs[part] = value
    with pytest.raises(ValueError, match=message):
        gctx.write(plate, tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_a_refused_file_leaves_the_old_one(tmp_path, plate):
    gctx.write(plate, tmp_path / "a.gctx")
    other = plate.copy()
    other.obs["z"] = "a\0b"
    with pytest.raises(ValueError, match="zero bytes"):
        gctx.write(other, tmp_path / "a.gctx")
    assert_same(gctx.read(tmp_path / "a.gctx"), plate)


@pytest.mark.parametrize("suffix", FORMATS)
def test_tables_are_read_with_their_labels(tmp_path, plate, suffix):
    gctx.write(plate[["s1", "s3", "s4"]], tmp_path / f"a{suffix}")
    table = read_table(tmp_path / f"a{suffix}", label="kind", group="n")
    assert (list(table.obs["kind"]), list(table.obs["n"])) == (["T", "B", "T"], [4, 2, 1])
    samples = read_samples(table, label="kind", groups="n")
    assert (list(samples.labels), list(samples.groups)) == (["T", "B", "T"], [0, 1, 2])
    assert list(samples.feature_names) == [str(780 + k) for k in range(7)]
    with pytest.raises(
        ValueError, match=r"`label` must be a column of .*; got 'kin'. The closest names are 'kind', 'n'; col"
    ):
        read_table(tmp_path / f"a{suffix}", label="kin")
    (tmp_path / "b.gctx.gz").touch()
    with pytest.raises(ValueError, match=r"`path` must be an unpacked .gctx file"):
        read_table(tmp_path / "b.gctx.gz")


@pytest.mark.parametrize("name", BINARY)
def test_real_gctx_is_what_h5py_reads(real_file: Callable[[str], Path], name: str) -> None:
    path = real_file(f"{FOLDER}/{name}")
    adata = gctx.read(path)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(adata.X, file["0/DATA/0/matrix"][()].astype(np.float32))
        for frame, group in ((adata.obs, file["0/META/COL"]), (adata.var, file["0/META/ROW"])):
            assert set(frame.columns) | {"id"} == set(group)
            assert list(frame.index) == group["id"].asstr()[()].tolist()
            for column in frame.columns:
                stored = group[column].asstr()[()] if group[column].dtype.kind == "S" else group[column][()]
                gone = np.isin(stored.astype(str), ["-666", "-666.0", ""])
                np.testing.assert_array_equal(frame[column].isna(), gone)
                assert frame[column][~gone].tolist() == stored[~gone].tolist()


def test_real_gct_is_what_splitting_reads(real_file: Callable[[str], Path]) -> None:
    path = real_file(f"{FOLDER}/formats/test_l1000.gct")
    adata = gctx.read(path)
    cells = np.array([line.split("\t") for line in path.read_text().splitlines()[2:]])
    np.testing.assert_array_equal(adata.X, cells[36:, 12:].astype(np.float32).T)
    assert (list(adata.var_names), list(adata.obs_names)) == (cells[36:, 0].tolist(), cells[0, 12:].tolist())
    assert adata.var["pr_gene_title"].tolist() == cells[36:, 8].tolist()
    assert adata.var["pr_gene_id"].tolist() == cells[36:, 6].astype(int).tolist()
    doses = cells[cells[:, 0] == "pert_dose", 12:][0].astype(float)
    np.testing.assert_array_equal(adata.obs["pert_dose"], np.where(doses == -666, np.nan, doses))
    assert adata.obs["pert_idose"].iloc[[0, 4]].tolist() == [None, "10.0 um"]
    assert adata.obs["qc_iqr"].dtype == np.float64


def test_the_same_plate_as_text_and_as_hdf5_is_the_same(real_file: Callable[[str], Path]) -> None:
    with pytest.warns(UserWarning, match="1 row of column metadata where line 2 counts 15"):
        text = gctx.read(real_file(f"{FOLDER}/formats/modzs_n25x50.gct"))
    binary = gctx.read(real_file(f"{FOLDER}/formats/modzs_n25x50.gctx"))
    np.testing.assert_allclose(text.X, binary.X, atol=0.00501)
    assert (list(text.var_names), list(text.obs_names)) == (list(binary.var_names), list(binary.obs_names))
    assert text.var.equals(binary.var.astype({"is_bing": int, "is_lm": int, "pr_gene_id": int}))
    assert text.obs["brew_prefix"].equals(binary.obs["brew_prefix"])


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", [*BINARY, "formats/test_l1000.gct"])
def test_real_files_survive_both_formats(
    real_file: Callable[[str], Path], tmp_path: Path, name: str, suffix: str
) -> None:
    adata = gctx.read(real_file(f"{FOLDER}/{name}"))
    gctx.write(adata, tmp_path / f"a{suffix}")
    again = gctx.read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(again.X, adata.X)
    assert list(again.obs.columns) == list(adata.obs.columns)
    assert again.obs_names.equals(adata.obs_names)
    if suffix == ".gctx":
        assert_same(again, adata)


def test_real_plates_are_picked_by_landmark_genes(real_file: Callable[[str], Path]) -> None:
    genes = pd.read_csv(real_file(f"{FOLDER}/landmark_genes.tsv"), sep="\t", dtype=str).iloc[:, 0].tolist()
    path = real_file(f"{FOLDER}/formats/CORE_A_level4_ZSPCINF_n40x12328.gctx")
    adata = gctx.read(path)[:, genes]
    blocks = list(gctx.iter_blocks(path, rows=genes, max_samples=15))
    assert [block.shape for block in blocks] == [(15, 978), (15, 978), (10, 978)]
    np.testing.assert_array_equal(np.concatenate([block.X for block in blocks]), adata.X)
