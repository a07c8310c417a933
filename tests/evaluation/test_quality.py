"""Held-out figures against plain numpy, and the main job on real data."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from svqvae import SVQVAE
from svqvae.data.images import read_idx
from svqvae.data.simulate import plant_classes
from svqvae.data.tables import from_anndata, read_table
from svqvae.evaluation import simulation
from svqvae.evaluation.quality import held_out_quality
from svqvae.evaluation.simulation import simulation_quality

RealFile = Callable[[str], Path]


def test_figures_equal_plain_numpy() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=120)
    X = rng.normal(size=(120, 5)) * [1, 10, 100, 1, 1] + 4 * y[:, None]
    train, test = slice(0, 80), slice(80, 120)
    model = SVQVAE(n_epochs=3, latent_dim=4, hidden=(8,), random_state=0).fit(X[train], y[train])
    quality = held_out_quality(model, X[train], y[train], X[test], y[test])
    center, spread = X[train].mean(0), X[train].std(0)
    means = np.stack([X[train][y[train] == k].mean(0) for k in range(3)])

    def error(predicted: NDArray[np.float64]) -> float:
        return float((((predicted - X[test]) / spread) ** 2).mean())

    distances = ((((X[test] - center) / spread)[:, None] - (means - center) / spread) ** 2).sum(2)
    assert quality.accuracy == (model.predict(X[test]) == y[test]).mean()
    assert quality.accuracy_class_means == (distances.argmin(1) == y[test]).mean()
    assert quality.class_reconstruction == pytest.approx(error(model.class_profiles()[y[test]]), rel=1e-5)
    assert quality.class_reconstruction_means == pytest.approx(error(means[y[test]]), rel=1e-5)
    assert quality.sample_reconstruction == pytest.approx(error(model.reconstruct(X[test])), rel=1e-5)
    assert quality.n_samples == 40


def test_simulated_samples_are_judged_beside_plain_ways_to_simulate(monkeypatch: pytest.MonkeyPatch) -> None:
    # A tenth of the trees, for speed.
    monkeypatch.setattr(simulation, "RandomForestClassifier", lambda n, **rest: RandomForestClassifier(n // 10, **rest))
    planted = plant_classes(4, 30, n_levels=2, sizes=(60, 90))
    train = np.arange(len(planted.y)) % 2 == 0
    model = SVQVAE(n_epochs=20, random_state=0).fit(planted.X[train], planted.y[train])
    parts = planted.X[train], planted.y[train], planted.X[~train], planted.y[~train]
    table = simulation_quality(model, *parts)
    assert list(table.index) == ["svqvae", "resampled rows", "gaussian on features", "real"]
    assert table.loc["resampled rows", "copied"] == 0
    assert table.loc["svqvae", "copied"] > 0.5
    assert table["accuracy"].between(0, 1).all()
    assert table["detected"].between(0, 1).all()
    assert abs(table.loc["real", "detected"] - 0.5) < 0.1
    model.noise_ = 10 * model.noise_
    worse = simulation_quality(model, *parts)
    assert worse.loc["svqvae", "detected"] > table.loc["svqvae", "detected"]
    assert worse.loc["svqvae", "deviation_error"] > table.loc["svqvae", "deviation_error"]
    with pytest.raises(
        ValueError, match=r"`y_test` must hold at least 5 samples of each class of the fit; 'class 0' has fewer"
    ):
        simulation_quality(model, *parts[:2], parts[2][:1], parts[3][:1])


def test_handwritten_digits_are_learnt_in_three_epochs(real_file: RealFile) -> None:
    images = read_idx(real_file("mnist/train-images-idx3-ubyte.gz"))[:3000]
    labels = read_idx(real_file("mnist/train-labels-idx1-ubyte.gz"))[:3000].astype(np.int64)
    model = SVQVAE(architecture="conv", n_epochs=3, batch_size=64, random_state=0).fit(images[:2500], labels[:2500])
    quality = held_out_quality(model, images[:2500], labels[:2500], images[2500:], labels[2500:])
    assert quality.accuracy > 0.87 > 0.84 > quality.accuracy_class_means
    assert quality.class_reconstruction < 1.15 * quality.class_reconstruction_means
    assert quality.sample_reconstruction < quality.class_reconstruction_means


def test_blood_cells_are_told_apart_as_well_as_by_class_means(real_file: RealFile) -> None:
    cells = read_table(real_file("pbmc68k_reduced.h5ad"), label="bulk_labels")
    is_test = np.arange(cells.n_obs) % 4 == 0
    tables = [from_anndata(cells[rows], label="bulk_labels") for rows in (~is_test, is_test)]
    (X_train, y_train), (X_test, y_test) = ((np.asarray(t.X), np.asarray(t.y)) for t in tables)
    model = SVQVAE(n_epochs=20, random_state=0).fit(X_train, y_train)
    quality = held_out_quality(model, X_train, y_train, X_test, y_test)
    assert quality.accuracy > quality.accuracy_class_means - 0.03
    assert quality.class_reconstruction < 1.05 * quality.class_reconstruction_means


def test_idx_files_are_the_canonical_ones(real_file: RealFile) -> None:
    content = gzip.decompress(real_file("mnist/t10k-labels-idx1-ubyte.gz").read_bytes())
    assert len(content) == 8 + 10_000
