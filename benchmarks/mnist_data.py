"""MNIST for the benchmarks: from the folder that SVQVAE_TEST_DATA names, or from OpenML."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from svqvae.data.images import fetch_mnist, read_idx

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def load_mnist() -> tuple[Images, Labels, Images, Labels]:
    """Return training images (60000, 28, 28), training labels, test images (10000, 28, 28), test labels."""
    folder = os.environ.get("SVQVAE_TEST_DATA")
    if folder is None:
        X_train, y_train, X_test, y_test = fetch_mnist()
    else:
        X_train, y_train, X_test, y_test = (read_idx(Path(folder) / "mnist" / f"{name}-ubyte.gz") for name in FILES)
    return X_train, y_train.astype(np.int64), X_test, y_test.astype(np.int64)
