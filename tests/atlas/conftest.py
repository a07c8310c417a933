"""An atlas built without a network."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from svqvae.atlas.atlas import ClassAtlas
from svqvae.atlas.density import fit_density
from svqvae.atlas.spread import fit_spread
from svqvae.data.simulate import Planted


@pytest.fixture(scope="session")
def build() -> Callable[..., ClassAtlas]:
    """Return the function that makes an atlas of planted classes."""
    return build_atlas


def build_atlas(planted: Planted, **changes: Any) -> ClassAtlas:
    """Return the atlas of a model whose codes and decoded codes are the class means; X = 2 × its units."""
    classes, y = np.unique(planted.y, return_inverse=True)
    y = y.astype(np.int64)
    n, n_features = len(classes), planted.X.shape[1]
    rows = planted.X / 2
    means = np.stack([rows[y == k].mean(0, dtype=np.float64) for k in range(n)]).astype(np.float32)
    spread = fit_spread(rows, y, n, seed=0)
    return ClassAtlas(
        classes=classes,
        feature_names=tuple(planted.profiles.columns),
        counts=np.bincount(y),
        codes=means,
        decoded=means,
        means=means,
        center=np.zeros(n_features),
        scale=np.full(n_features, 2.0),
        code_spread=spread,
        profile_spread=spread,
        density=fit_density(rows, y, n, seed=0),
        sample_shape=(n_features,),
        **changes,
    )
