"""Images as arrays: IDX files, the format of MNIST, and scikit-learn's digits."""

import gzip
import http.client
import math
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import anndata

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_IMAGES_NAME = re.compile(r"idx3-ubyte(\.gz)?$")
_LABELS_NAME = re.compile(r"idx1-ubyte(\.gz)?$")
_N_MNIST_TRAIN = 60_000


def read_idx(path: Path | str) -> npt.NDArray[Any]:
    """Read one IDX file, plain or gzipped.

    Compression is recognised by the first bytes, whatever the suffix.

    Parameters
    ----------
    path : the file

    Returns
    -------
    array of the shape in the file's header, in native byte order

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is empty, truncated, too long, not an IDX file, or a damaged gzip file.

    References
    ----------
    Y. LeCun, C. Cortes, C. J. C. Burges, *The MNIST database of handwritten digits*, section "File formats".

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels-idx1-ubyte"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    content = _uncompressed(path)
    dtype, shape, start = _idx_header(content, path)
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) < expected:
        raise ValueError(
            f"`path` must be a complete IDX file; got {path}, whose header says {expected} bytes and which has "
            f"{len(content)}. Copy or download the file again."
        )
    if len(content) > expected:
        raise ValueError(
            f"`path` must be an IDX file that ends where its header says; got {path}, which has "
            f"{len(content) - expected} trailing bytes after {expected}. Copy or download the file again."
        )
    return np.frombuffer(content, dtype=dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _uncompressed(path: Path) -> bytes:
    if not path.exists():
        raise FileNotFoundError(f"`path` must be an existing file; got {path}. Check the spelling and the folder.")
    if path.is_dir():
        raise ValueError(f"`path` must be an IDX file; got the folder {path}. Read a folder with read_image_folder.")
    content = path.read_bytes()
    if not content:
        raise ValueError(f"`path` must be an IDX file; got {path}, which is empty. Copy or download the file again.")
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"`path` must be a sound gzip file; got {path}, which does not unpack ({error}). "
            "Copy or download the file again."
        ) from error


def _idx_header(content: bytes, path: Path) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    n_dimensions = content[3] if len(content) > 3 else 0
    start = 4 + 4 * n_dimensions
    if content[:2] != b"\0\0" or n_dimensions == 0 or content[2] not in _IDX_TYPES:
        raise ValueError(
            f"`path` must be an IDX file, which starts with two zero bytes, a type and a number of dimensions; "
            f"got {path}, which starts with {content[:4].hex(' ')}. Give the file as it was published."
        )
    if len(content) < start:
        raise ValueError(
            f"`path` must be a complete IDX file; got {path}, whose header says at least {start} bytes and which has "
            f"{len(content)}. Copy or download the file again."
        )
    shape = tuple(int(size) for size in np.frombuffer(content, dtype=">u4", count=n_dimensions, offset=4))
    return np.dtype(_IDX_TYPES[content[2]]), shape, start


def read_image_folder(path: Path | str) -> "anndata.AnnData":
    """Read images as flat rows from a folder of IDX files, or from one file with its labels beside it.

    Of a folder, the training pair (``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``) is read if there is
    one, otherwise the only file of images. Names may have ``-idx3-`` or ``.idx3-``, and may end in ``.gz``.

    Parameters
    ----------
    path : the folder, or the file of images, such as ``t10k-images-idx3-ubyte.gz``

    Returns
    -------
    AnnData with
    X : (n_images, height * width), in the type of the file, usually uint8
    obs["label"] : (n_images,), categories of text, if there are labels
    uns["image_shape"] : [height, width]

    Raises
    ------
    FileNotFoundError
        There is no such file or folder.
    ValueError
        The folder has no file of images, or several; the numbers of labels and images differ; a file is damaged.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     images, labels = Path(folder) / "a-images-idx3-ubyte", Path(folder) / "a-labels-idx1-ubyte"
    ...     _ = images.write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 9, 5]))
    ...     _ = labels.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]))
    ...     adata = read_image_folder(folder)
    >>> adata.X.tolist(), adata.obs["label"].tolist(), adata.uns["image_shape"]
    ([[9, 5]], ['7'], [1, 2])
    """
    path = Path(path)
    if path.is_dir():
        images_path, labels_path = _files_of_folder(path)
    else:
        images_path, labels_path = path, _labels_beside(path)
    images = read_idx(images_path)
    if images.ndim != 3 or len(images) == 0:
        raise ValueError(
            f"`path` must hold images, (n_images, height, width); got {images_path} of shape {images.shape}. "
            "Give the file with idx3 in its name."
        )
    labels = None if labels_path is None else read_idx(labels_path)
    if labels is not None and labels.shape != images.shape[:1]:
        raise ValueError(
            f"`path` must hold one label for each image; got {len(images)} images in {images_path} and labels of shape "
            f"{labels.shape} in {labels_path}. Put only files that belong together in one folder."
        )
    return _image_annotated(images, labels)


def _files_of_folder(folder: Path) -> tuple[Path, Path | None]:
    files = _without_packed_copies(sorted(file for file in folder.iterdir() if file.is_file()))
    images = [file for file in files if _IMAGES_NAME.search(file.name)]
    training = [file for file in images if file.name.startswith("train-images")]
    if not images:
        raise ValueError(
            f"`path` must be a folder with an IDX file of images; got {folder}, where none of {len(files)} files has a "
            "name such as train-images-idx3-ubyte.gz. Put the images and their labels there."
        )
    chosen = training or images
    if len(chosen) > 1:
        raise _several("images", folder, chosen)
    beside = _labels_beside(chosen[0])
    if beside is not None or len(images) > 1:
        return chosen[0], beside
    labels = [file for file in files if _LABELS_NAME.search(file.name)]
    if len(labels) > 1:
        raise _several("labels", folder, labels)
    return chosen[0], labels[0] if labels else None


def _without_packed_copies(files: list[Path]) -> list[Path]:
    # `gunzip --keep` leaves the same file twice, compressed and not, of which either will do.
    present = set(files)
    return [file for file in files if file.suffix != ".gz" or file.with_suffix("") not in present]


def _several(what: str, folder: Path, files: list[Path]) -> ValueError:
    names = ", ".join(file.name for file in files[:5])
    more = f" (+{len(files) - 5} more)" if len(files) > 5 else ""
    return ValueError(
        f"`path` must be a folder with one file of {what}; got {folder} with {names}{more}. Give the path of the file "
        "of images instead of the folder, with its labels beside it."
    )


def _labels_beside(images: Path) -> Path | None:
    name = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    other = re.sub(r"[-.]idx1", ".idx1" if "-idx1" in name else "-idx1", name)
    candidates = [images.with_name(spelling + packed) for spelling in (name, other) for packed in ("", ".gz")]
    return next((file for file in candidates if file.is_file() and file != images), None)


def _image_annotated(images: npt.NDArray[Any], labels: npt.NDArray[Any] | None) -> "anndata.AnnData":
    import anndata
    import pandas as pd

    n_images, height, width = images.shape
    obs = pd.DataFrame(index=pd.RangeIndex(n_images).astype(str))
    if labels is not None:
        categories = [str(name) for name in np.unique(labels).tolist()]
        obs["label"] = pd.Categorical(labels.astype(str), categories=categories)
    n_digits = max(2, len(str(max(height, width) - 1)))
    names = [f"r{row:0{n_digits}}c{column:0{n_digits}}" for row in range(height) for column in range(width)]
    return anndata.AnnData(
        X=images.reshape(n_images, height * width),
        obs=obs,
        var=pd.DataFrame(index=names),
        uns={"image_shape": [height, width]},
    )


def digits() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Load scikit-learn's handwritten digits, which need no download.

    Returns
    -------
    X : (1797, 8, 8), intensities from 0 to 16
    y : (1797,), the digit

    Examples
    --------
    >>> X, y = digits()
    >>> X.shape, X.dtype.name, X.max().item(), y[:3].tolist()
    ((1797, 8, 8), 'float32', 16.0, [0, 1, 2])
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images.astype(np.float32), bunch.target.astype(np.int64)


def fetch_mnist() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Load MNIST in its canonical split, from OpenML or scikit-learn's cache.

    Returns
    -------
    X_train : (60000, 28, 28), intensities from 0 to 255
    y_train : (60000,), the digit
    X_test : (10000, 28, 28)
    y_test : (10000,)

    Raises
    ------
    OSError
        MNIST is not in the cache, and OpenML cannot be reached.

    Examples
    --------
    >>> X_train, y_train, X_test, y_test = fetch_mnist()  # doctest: +SKIP
    """
    from sklearn.datasets import fetch_openml

    try:
        X, y = fetch_openml("mnist_784", version=1, as_frame=False, parser="auto", return_X_y=True)
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"MNIST could not be fetched from OpenML ({str(error) or type(error).__name__}); put its four IDX files in "
            "a folder and read that with read_image_folder."
        ) from error
    X = np.asarray(X).reshape(-1, 28, 28).astype(np.uint8, copy=False)
    y = np.asarray(y).astype(np.int64)
    return X[:_N_MNIST_TRAIN], y[:_N_MNIST_TRAIN], X[_N_MNIST_TRAIN:], y[_N_MNIST_TRAIN:]
