import gzip
import hashlib
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import sklearn.datasets
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from svqvae.data.images import digits, fetch_mnist, read_idx, read_image_folder

IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def idx_bytes(array):
    code = IDX_CODES[array.dtype.str[1:]]
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_pair(folder, prefix, n_images=3, separator="-", suffix="", n_labels=None):
    images = np.arange(n_images * 6, dtype=np.uint8).reshape(n_images, 2, 3)
    labels = np.arange(n_images if n_labels is None else n_labels, dtype=np.uint8)
    pack = gzip.compress if suffix == ".gz" else bytes
    (folder / f"{prefix}-images{separator}idx3-ubyte{suffix}").write_bytes(pack(idx_bytes(images)))
    (folder / f"{prefix}-labels{separator}idx1-ubyte{suffix}").write_bytes(pack(idx_bytes(labels)))
    return images, labels


@hypothesis_settings(max_examples=30, deadline=None)
@given(
    array=st.sampled_from(sorted(IDX_CODES)).flatmap(
        lambda code: hnp.arrays(np.dtype(code), hnp.array_shapes(max_dims=4, max_side=3))
    ),
    is_packed=st.booleans(),
)
def test_every_idx_type_is_read_as_it_was_written(tmp_path_factory, array, is_packed):
    path = tmp_path_factory.mktemp("idx") / "any.name"
    path.write_bytes(gzip.compress(idx_bytes(array), mtime=0) if is_packed else idx_bytes(array))
    read = read_idx(path)
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    assert read.flags.writeable


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "which is empty"),
        (b"\x89PNG....", "which starts with 89 50 4e 47"),
        (b"\0\0", "which starts with 00 00"),
        (b"\0\0\x07\x01", "which starts with 00 00 07 01"),
        (b"\0\0\x08\x03\0\0", "at least 16 bytes and which has 6"),
        (idx_bytes(np.zeros((2, 3), np.uint8))[:-1], "header says 18 bytes and which has 17"),
        (idx_bytes(np.zeros((2, 3), np.uint8)) + b"xy", "2 trailing bytes after 18"),
        (gzip.compress(idx_bytes(np.zeros(50, np.uint8)), mtime=0)[:-9], "does not unpack"),
        (b"\x1f\x8bnonsense", "does not unpack"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "bad-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"`path` must .*bad-images-idx3-ubyte.*{message}"):
        read_idx(path)


@pytest.mark.parametrize("read", [read_idx, read_image_folder])
def test_a_missing_file_is_told_in_a_sentence(tmp_path, read):
    with pytest.raises(FileNotFoundError, match=r"`path` must be an existing file; got .*nowhere.*Check the spelling"):
        read(tmp_path / "nowhere")


def test_a_folder_is_no_idx_file(tmp_path):
    with pytest.raises(ValueError, match=r"got the folder .*read_image_folder"):
        read_idx(tmp_path)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("separator", ["-", "."])
def test_a_folder_gives_its_training_pair(tmp_path, separator, suffix):
    images, labels = write_pair(tmp_path, "train", separator=separator, suffix=suffix)
    write_pair(tmp_path, "t10k", n_images=2, separator=separator, suffix=suffix)
    adata = read_image_folder(tmp_path)
    np.testing.assert_array_equal(adata.X, images.reshape(3, 6))
    assert adata.X.dtype == np.uint8
    assert list(adata.obs["label"]) == [str(label) for label in labels]
    assert list(adata.obs_names) == ["0", "1", "2"]
    assert list(adata.var_names) == ["r00c00", "r00c01", "r00c02", "r01c00", "r01c01", "r01c02"]
    assert adata.uns["image_shape"] == [2, 3]


def test_a_file_of_images_brings_the_labels_beside_it(tmp_path):
    write_pair(tmp_path, "train")
    write_pair(tmp_path, "t10k", n_images=2)
    adata = read_image_folder(tmp_path / "t10k-images-idx3-ubyte")
    assert list(adata.obs["label"]) == ["0", "1"]


def test_labels_are_found_under_the_other_spelling(tmp_path):
    write_pair(tmp_path, "train")
    (tmp_path / "train-labels-idx1-ubyte").rename(tmp_path / "train-labels.idx1-ubyte")
    assert "label" in read_image_folder(tmp_path).obs


def test_the_only_labels_of_a_folder_belong_to_its_only_images(tmp_path):
    write_pair(tmp_path, "letters")
    (tmp_path / "letters-labels-idx1-ubyte").rename(tmp_path / "answers.idx1-ubyte")
    assert list(read_image_folder(tmp_path).obs["label"]) == ["0", "1", "2"]


def test_images_without_labels_are_read_without_labels(tmp_path):
    write_pair(tmp_path, "train")
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    adata = read_image_folder(tmp_path)
    assert adata.shape == (3, 6)
    assert list(adata.obs.columns) == []


def test_categories_of_labels_are_in_the_order_of_their_numbers(tmp_path):
    write_pair(tmp_path, "train", n_images=12)
    assert list(read_image_folder(tmp_path).obs["label"].cat.categories) == [str(number) for number in range(12)]


def test_a_file_kept_beside_its_packed_copy_is_no_ambiguity(tmp_path):
    write_pair(tmp_path, "train")
    write_pair(tmp_path, "train", suffix=".gz")
    assert read_image_folder(tmp_path).n_obs == 3


def test_labels_that_do_not_fit_the_images_are_refused(tmp_path):
    write_pair(tmp_path, "train", n_images=3, n_labels=2)
    with pytest.raises(ValueError, match=r"one label for each image; got 3 images .* labels of shape \(2,\)"):
        read_image_folder(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ValueError, match=r"none of 1 files has a name such as train-images-idx3-ubyte.gz"):
        read_image_folder(tmp_path)


def test_several_files_of_images_without_a_training_pair_are_refused(tmp_path):
    write_pair(tmp_path, "letters")
    write_pair(tmp_path, "t10k")
    with pytest.raises(
        ValueError, match=r"one file of images; got .*letters-images-idx3-ubyte, t10k-images-idx3-ubyte"
    ):
        read_image_folder(tmp_path)


def test_several_files_of_labels_of_other_names_are_refused(tmp_path):
    write_pair(tmp_path, "letters")
    (tmp_path / "letters-labels-idx1-ubyte").rename(tmp_path / "first.idx1-ubyte")
    (tmp_path / "second.idx1-ubyte").write_bytes(idx_bytes(np.zeros(3, np.uint8)))
    with pytest.raises(ValueError, match=r"one file of labels; got .*first.idx1-ubyte, second.idx1-ubyte"):
        read_image_folder(tmp_path)


def test_a_file_of_labels_is_not_taken_for_images(tmp_path):
    write_pair(tmp_path, "train")
    with pytest.raises(ValueError, match=r"`path` must hold images.*shape \(3,\).*idx3 in its name"):
        read_image_folder(tmp_path / "train-labels-idx1-ubyte")


def test_digits_are_scikit_learns_own():
    X, y = digits()
    bunch = sklearn.datasets.load_digits()
    np.testing.assert_array_equal(X.reshape(1797, 64), bunch.data)
    np.testing.assert_array_equal(y, bunch.target)
    assert (X.dtype, y.dtype) == (np.float32, np.int64)


def test_mnist_is_split_where_its_authors_split_it(monkeypatch):
    rows = np.zeros((70_000, 784), dtype=np.uint8)
    rows[[0, 60_000], 29] = [3, 5]
    answers = np.repeat(["1", "7"], [60_000, 10_000]).astype(object)
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", lambda *names, **options: (rows, answers))
    X_train, y_train, X_test, y_test = fetch_mnist()
    assert (X_train.shape, X_test.shape) == ((60_000, 28, 28), (10_000, 28, 28))
    assert (X_train[0, 1, 1], X_test[0, 1, 1]) == (3, 5)
    assert (set(y_train.tolist()), set(y_test.tolist())) == ({1}, {7})
    assert X_train.dtype == np.uint8


def test_mnist_without_a_network_says_what_to_do(monkeypatch):
    def unreachable(*names, **options):
        raise URLError("no route to host")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", unreachable)
    with pytest.raises(
        OSError, match=r"MNIST could not be fetched .*no route to host.*four IDX files.*read_image_folder"
    ):
        fetch_mnist()


def test_reading_data_never_loads_torch_nor_anndata():
    code = (
        "import svqvae.data.images, svqvae.data.tables, sys;"
        "loaded = {'torch', 'anndata', 'sklearn', 'pyarrow.parquet'} & set(sys.modules); assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", MNIST_MD5)
def test_real_mnist_files_hold_the_published_bytes(real_file: Callable[[str], Path], name):
    path = real_file(f"mnist/{name}.gz")
    content = idx_bytes(read_idx(path))
    assert hashlib.md5(content, usedforsecurity=False).hexdigest() == MNIST_MD5[name]


def test_real_mnist_folder_gives_the_training_images(real_file: Callable[[str], Path]):
    adata = read_image_folder(real_file("mnist"))
    assert adata.shape == (60_000, 784)
    assert adata.obs["label"].value_counts(sort=False).to_dict() == {
        "0": 5923, "1": 6742, "2": 5958, "3": 6131, "4": 5842, "5": 5421, "6": 5918, "7": 6265, "8": 5851, "9": 5949,
    }  # fmt: skip


def test_real_mnist_test_images_are_read_by_their_file(real_file: Callable[[str], Path]):
    adata = read_image_folder(real_file("mnist/t10k-images-idx3-ubyte.gz"))
    assert adata.shape == (10_000, 784)
    assert adata.obs["label"].value_counts(sort=False).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
