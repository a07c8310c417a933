"""The data of the speed benchmark: MNIST, and signatures of the shape of the published LINCS data."""

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svqvae.data.simulate import plant_classes

Array = NDArray[Any]
N_SIGNATURES, N_CLASSES, N_GENES = 9769, 75, 978
# On a logarithmic scale, as the perturbagen classes of GSE70138 are; they add up to a few more than are needed.
SIZES = (10, 545)


@functools.cache
def lincs_shaped() -> tuple[Array, Array]:
    """Return simulated signatures (9769, 978), clipped to ±10, and their classes, 75 of 10 to 545 signatures.

    A signature is the profile of its class plus noise, half of which is shared between genes. The profiles are those
    that the published model decodes where SVQVAE_TEST_DATA is given, and planted ones otherwise.
    """
    planted = plant_classes(N_CLASSES, N_GENES, sizes=SIZES)
    names, index = np.unique(planted.y, return_inverse=True)
    X = planted.X
    if (profiles := published_profiles()) is not None:
        X = X + (profiles - planted.profiles.reindex(names).to_numpy())[index]
    chosen = np.sort(np.random.default_rng(0).choice(len(X), N_SIGNATURES, replace=False))
    return np.clip(X[chosen], -10, 10).astype(np.float32), index[chosen]


def published_profiles() -> Array | None:
    """Return the profiles that the authors' trained model decodes, (75, 978), or None without SVQVAE_TEST_DATA."""
    folder = os.environ.get("SVQVAE_TEST_DATA")
    if folder is None:
        return None
    from svqvae.jobs.import_published import read_published

    lincs = Path(folder) / "lincs"
    model = read_published(
        lincs / "reference_model", lincs / "reference_model" / "pcl_names.csv", lincs / "landmark_genes.tsv"
    )
    return model.class_profiles()


def spread_classes(n_classes: int, n_samples: int) -> tuple[Array, Array]:
    """Return noise, (n_samples, 978), and as many classes as asked, all about equally large."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((n_samples, N_GENES), dtype=np.float32), rng.permutation(n_samples) % n_classes


def write(folder: Path, name: str, X: Array, y: Array) -> Path:
    """Keep data for the processes that measure, and return where."""
    path = folder / f"{name}.npz"
    np.savez(path, X=X, y=y)
    return path


def read(path: Path) -> tuple[Array, Array]:
    """Return what `write` kept."""
    with np.load(path) as stored:
        return stored["X"], stored["y"]


def scale_pixels(images: Array) -> Array:
    """Return images (n, 1, 28, 28) in [-1, 1], as the notebooks read them."""
    return images[:, None].astype(np.float32) / 127.5 - 1
