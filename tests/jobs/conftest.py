"""Samples of three classes in batches, and runs fitted on them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from svqvae.jobs.fit import fit_run

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))

SHORT: dict[str, Any] = {"n_epochs": 3, "latent_dim": 6, "hidden": (12,), "random_state": 0}


def draw_cells(n: int = 60, seed: int = 0) -> anndata.AnnData:
    """Return samples of three classes that lie apart, in batches of four."""
    rng = np.random.default_rng(seed)
    y = np.array(["B", "NK", "T"])[np.arange(n) % 3]
    X = rng.normal(size=(n, 9)) + 4 * (y[:, None] == np.repeat(["B", "NK", "T"], 3))
    obs = pd.DataFrame({"kind": y, "batch": np.arange(n) // 4}, index=[f"cell {k}" for k in range(n)])
    return anndata.AnnData(X.astype(np.float32), obs, pd.DataFrame(index=[f"gene {k}" for k in range(9)]))


@pytest.fixture(scope="session")
def make_cells() -> Callable[..., anndata.AnnData]:
    """Return the function that draws samples of three classes."""
    return draw_cells


@pytest.fixture
def cells() -> anndata.AnnData:
    """Return 60 samples of three classes."""
    return draw_cells()


@pytest.fixture
def new_cells() -> anndata.AnnData:
    """Return 24 other samples of the same classes."""
    return draw_cells(24, seed=1)


@pytest.fixture(scope="session")
def short() -> dict[str, Any]:
    """Return parameters by which a fit takes no time."""
    return dict(SHORT)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder fitted on the samples."""
    out = tmp_path_factory.mktemp("jobs") / "run"
    fit_run(draw_cells(), "kind", "batch", out, SHORT, command="svqvae fit cells.h5ad")
    return out


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder of a fit that held batches out."""
    out = tmp_path_factory.mktemp("jobs") / "watched"
    watching = {"early_stopping": True, "validation_fraction": 0.3}
    fit_run(draw_cells(), "kind", "batch", out, {**SHORT, **watching})
    return out
