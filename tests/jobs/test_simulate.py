"""Simulated samples as files that can be read as labelled data."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from svqvae import SVQVAE
from svqvae.data.tables import read_table
from svqvae.jobs.simulate import simulate_samples

GOLDEN = Path(__file__).parents[1] / "golden" / "format_1"


@pytest.mark.parametrize("suffix", ["csv", "h5ad", "gctx", "gct"])
def test_every_format_holds_the_draws_of_the_model(folder: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / "deep" / f"s.{suffix}"
    assert simulate_samples(folder, "NK", 7, out, seed=3) == 9
    found, model = read_table(out, label="class"), SVQVAE.load(folder)
    np.testing.assert_allclose(found.X, model.sample("NK", 7, random_state=3), rtol=1e-6)
    assert list(found.var_names) == model.feature_names_in_.tolist()
    assert found.obs_names.tolist() == [f"NK {number}" for number in range(1, 8)]
    assert found.obs["class"].tolist() == ["NK"] * 7
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_images_keep_their_shape(tmp_path: Path) -> None:
    assert simulate_samples(GOLDEN / "conv", "1", 3, tmp_path / "s.h5ad", seed=0) == 64
    found = anndata.read_h5ad(tmp_path / "s.h5ad")
    assert (found.shape, found.uns["image_shape"].tolist()) == ((3, 64), [8, 8])


@pytest.mark.parametrize(
    ("name", "n", "out", "message"),
    [
        ("NK", 7, "s.xlsx", r"`out` must end in \.h5ad, \.gctx, \.gct or \.csv; got s\.xlsx"),
        ("NK", 0, "s.csv", r"`n` must be a whole number of at least 1; got 0"),
        ("mono", 7, "s.csv", r"`name` must be one of 3 classes; got 'mono'"),
    ],
)
def test_mistakes_are_told_and_leave_no_file(
    name: str, n: int, out: str, message: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        simulate_samples(folder, name, n, tmp_path / out, seed=0)
    assert not list(tmp_path.iterdir())


def test_a_feature_that_is_called_as_a_column_is_refused_in_csv_alone(tmp_path: Path) -> None:
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 3)), columns=["class", "g1", "g2"])
    SVQVAE(n_epochs=1, latent_dim=2, random_state=0).fit(X, np.arange(30) % 2).save(tmp_path / "run")
    with pytest.raises(ValueError, match=r"`out` must end in \.h5ad where a feature .* 'class'; got s\.csv"):
        simulate_samples(tmp_path / "run", "0", 2, tmp_path / "s.csv", seed=0)
    assert simulate_samples(tmp_path / "run", "0", 2, tmp_path / "s.h5ad", seed=0) == 3


def test_a_run_without_samples_cannot_simulate(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it was imported without samples"):
        simulate_samples(GOLDEN / "imported", "mono", 2, tmp_path / "s.csv", seed=0)
