from pathlib import Path

import h5py
import numpy as np
import pytest

from svqvae.data import gctx

MATRIX, ROW, COLUMN = "0/DATA/0/matrix", "0/META/ROW", "0/META/COL"


def store(path: Path, X: np.ndarray, version: object = "GCTX1.0", **layout: object) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["version"] = version
        file.create_dataset(MATRIX, data=X, **layout)
        file[f"{ROW}/id"] = np.arange(X.shape[1])
        file[f"{COLUMN}/id"] = np.array([f"s{k}" for k in range(len(X))], dtype="S9")
    return path


def change(path: Path, name: str, values: object = None) -> Path:
    with h5py.File(path, "r+") as file:
        del file[name]
        if values is not None:
            file[name] = values
    return path


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    return store(tmp_path / "a.gctx", np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("version", ["GCTX1.0", b"GCTX1.0", np.bytes_("GCTX1.0"), np.array([b"GCTX1.0"])])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, ">f4"])
def test_versions_and_numbers_of_every_writer_are_read(tmp_path, version, dtype):
    X = np.arange(6).reshape(2, 3).astype(dtype)
    adata = gctx.read(store(tmp_path / "a.gctx", X, version))
    assert adata.X.dtype == np.float32
    np.testing.assert_array_equal(adata.X, X)


@pytest.mark.parametrize(
    "ids", [np.array([5, 6, 7], np.int32), np.array([b"5", b"6 ", b"7"]), np.array(["5", "6", "7"], dtype=object)]
)
def test_ids_of_every_writer_are_text(plate, ids):
    assert list(gctx.read(change(plate, f"{ROW}/id", ids)).var_names) == ["5", "6", "7"]


@pytest.mark.parametrize(
    "layout", [{}, {"chunks": (1, 1)}, {"chunks": (3, 7), "compression": "gzip"}, {"chunks": True}]
)
@pytest.mark.parametrize("tile", [1, 200, 1 << 23])
def test_any_pick_of_any_layout_is_what_numpy_picks(tmp_path, monkeypatch, layout, tile):
    monkeypatch.setattr("svqvae.data.hdf5._TILE", tile)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(31, 23)).astype(np.float32)
    path = store(tmp_path / "a.gctx", X, **layout)
    np.testing.assert_array_equal(gctx.read(path).X, X)
    for n_samples, n_genes in ((1, 1), (31, 2), (2, 23), (9, 8)):
        samples, genes = rng.permutation(31)[:n_samples], rng.permutation(23)[:n_genes]
        np.testing.assert_array_equal(gctx.read(path, genes, samples).X, X[np.ix_(samples, genes)])
        np.testing.assert_array_equal(gctx.read(path, columns=samples).X, X[samples])
        np.testing.assert_array_equal(gctx.read(path, rows=genes).X, X[:, genes])


def test_no_chunk_is_read_twice_or_without_need(tmp_path, monkeypatch):
    monkeypatch.setattr("svqvae.data.hdf5._TILE", 1)
    path = store(tmp_path / "a.gctx", np.zeros((40, 12)), chunks=(10, 4))
    seen = []
    whole = h5py.Dataset.__getitem__

    def spy(dataset, key, **options):
        if dataset.name == f"/{MATRIX}":
            seen.append(
                [(part.start // chunk, (part.stop - 1) // chunk) for part, chunk in zip(key, (10, 4), strict=True)]
            )
        return whole(dataset, key, **options)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    gctx.read(path, rows=[11, 0, 1], columns=[35, 3, 12, 0, 19])
    assert sorted(seen) == [[(down, down), (across, across)] for down in (0, 1, 3) for across in (0, 2)]


def test_metadata_are_read_where_the_matrix_is_damaged(tmp_path):
    path = store(tmp_path / "a.gctx", np.ones((9, 9)), chunks=(9, 9), compression="gzip")
    with h5py.File(path) as file:
        chunk = file[MATRIX].id.get_chunk_info(0)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\xff" * chunk.size)
    var, obs = gctx.read_metadata(path)
    assert (len(var), len(obs)) == (9, 9)
    blocks = gctx.iter_blocks(path)
    for reading in (lambda: gctx.read(path), lambda: next(blocks)):
        with pytest.raises(ValueError, match=r"sound GCTX file; got .*a.gctx, where reading fails"):
            reading()


def test_a_file_cut_short_is_refused(plate):
    plate.write_bytes(plate.read_bytes()[:-400])
    with pytest.raises(ValueError, match=r"sound GCTX file; got .*a.gctx, where reading fails: .*truncated"):
        gctx.read_metadata(plate)


@pytest.mark.parametrize(("content", "message"), [(b"", "which is empty"), (b"#1.3\n2\t2\n", "which is not")])
def test_what_is_not_hdf5_is_refused(tmp_path, content, message):
    (tmp_path / "a.gctx").write_bytes(content)
    with pytest.raises(ValueError, match=rf"`path` must be a GCTX file.* got .*a.gctx, {message}"):
        gctx.read(tmp_path / "a.gctx")


@pytest.mark.parametrize("version", ["GCTX2.0", b"", 1])
def test_another_version_is_refused(tmp_path, version):
    with pytest.raises(ValueError, match=r"version GCTX1.0; got .*a.gctx with (GCTX2.0|none|1)\. Convert"):
        gctx.read(store(tmp_path / "a.gctx", np.ones((2, 3)), version))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (MATRIX, np.ones((3, 2)), r"here 2 by 3 as its ids say; got .* matrix of 3 by 2. It is transposed"),
        (MATRIX, np.ones((2, 4)), r"here 2 by 3 as its ids say; got .* matrix of 2 by 4. Check"),
        (MATRIX, np.ones(6), r"here 2 by 3 as its ids say; got .* matrix of 6\. Check"),
        (MATRIX, None, r"matrix of numbers in 0/DATA/0/matrix; got .* with none"),
        (MATRIX, np.full((2, 3), b"x"), r"matrix of numbers in 0/DATA/0/matrix; got .* with one of \|S1"),
        (ROW, None, r"gene ids in 0/META/ROW/id; got .* with nothing in 0/META/ROW"),
        (f"{COLUMN}/id", None, r"sample ids in 0/META/COL/id; got .* with nothing"),
        (f"{COLUMN}/id", np.array([b"a", b"a"]), r"unique ids; got .* with the sample 'a' more than once"),
        (f"{COLUMN}/id", np.array([b"a", b""]), r"an id for each sample; got .* with none for sample 2"),
        (f"{COLUMN}/id", np.empty((0,)), r"one value for each of 0 ids in every column of 0/META/COL"),
        (f"{COLUMN}/id", np.ones((2, 2)), r"one value for each of 2 ids .*'id \(2, 2\)'"),
    ],
)
def test_parts_that_do_not_fit_are_named(plate, name, values, message):
    with pytest.raises(ValueError, match=message):
        gctx.read(change(plate, name, values))


def test_a_column_of_another_length_or_type_is_named(plate):
    with h5py.File(plate, "r+") as file:
        file[f"{COLUMN}/dose"] = np.arange(5)
    with pytest.raises(ValueError, match=r"one value for each of 2 ids in every column of 0/META/COL.*'dose \(5,\)'"):
        gctx.read_metadata(plate)
    change(plate, f"{COLUMN}/dose", np.zeros(2, dtype=[("a", int)]))
    with pytest.raises(ValueError, match=r"sound GCTX file; got .* a column must hold numbers or text"):
        gctx.read_metadata(plate)


def test_chunks_and_attributes_are_those_of_cmapr(tmp_path):
    import anndata

    gctx.write(anndata.AnnData(np.ones((300, 1500), np.float32)), tmp_path / "a.gctx")
    with h5py.File(tmp_path / "a.gctx") as file:
        assert (file[MATRIX].chunks, file[MATRIX].shape, file[MATRIX].dtype) == ((262, 1000), (300, 1500), np.float32)
        assert (file.attrs["version"], file.attrs["src"]) == (b"GCTX1.0", "a.gctx")
        assert file[f"{ROW}/id"].dtype == "S4"
