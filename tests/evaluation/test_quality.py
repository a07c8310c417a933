"""Held-out figures against plain numpy, and the main job on real data."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from svqvae import SVQVAE
from svqvae.data.images import read_idx
from svqvae.data.samples import Samples, read_samples
from svqvae.data.tables import read_table
from svqvae.evaluation import quality
from svqvae.evaluation.quality import held_out_quality, quality_beside, quality_of
from svqvae.fitting.fitted import Fitted
from svqvae.model import inference
from svqvae.model.module import SVQVAEModule

RealFile = Callable[[str], Path]


def test_figures_equal_plain_numpy() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=120)
    X = rng.normal(size=(120, 5)) * [1, 10, 100, 1, 1] + 4 * y[:, None]
    train, test = slice(0, 80), slice(80, 120)
    model = SVQVAE(n_epochs=3, latent_dim=4, hidden=(8,), random_state=0).fit(X[train], y[train])
    found = held_out_quality(model, X[train], y[train], X[test], y[test])
    center, spread = X[train].mean(0), X[train].std(0)
    means = np.stack([X[train][y[train] == k].mean(0) for k in range(3)])

    def error(predicted: NDArray[np.float64]) -> float:
        return float((((predicted - X[test]) / spread) ** 2).mean())

    distances = ((((X[test] - center) / spread)[:, None] - (means - center) / spread) ** 2).sum(2)
    assert found.accuracy == (model.predict(X[test]) == y[test]).mean()
    assert found.accuracy_class_means == (distances.argmin(1) == y[test]).mean()
    assert found.class_reconstruction == pytest.approx(error(model.class_profiles()[y[test]]), rel=1e-5)
    assert found.class_reconstruction_means == pytest.approx(error(means[y[test]]), rel=1e-5)
    assert found.sample_reconstruction == pytest.approx(error(model.reconstruct(X[test])), rel=1e-5)
    assert found.n_samples == 40


@pytest.fixture(scope="module")
def fit() -> tuple[SVQVAE, Samples, Samples]:
    """Return a model of three classes, the samples it was trained on, and others."""
    rng = np.random.default_rng(1)
    y = rng.integers(3, size=120)
    X = rng.normal(size=(120, 5)) + y[:, None]
    model = SVQVAE(n_epochs=3, latent_dim=4, hidden=(8,), random_state=0).fit(X[:80], y[:80])
    return model, model.fitted_.labelled(X[:80], y[:80]), model.fitted_.labelled(X[80:], y[80:])


def test_each_sample_is_read_and_encoded_once(
    fit: tuple[SVQVAE, Samples, Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, training, tested = fit
    blocks, encode, n_read, n_encoded = Fitted.blocks, inference.encode, [], []

    def counted_blocks(*arguments: Any) -> Iterator[Any]:
        for block in blocks(*arguments):
            n_read.append(len(block))
            yield block

    def counted_encode(module: SVQVAEModule, inputs: Tensor) -> Tensor:
        n_encoded.append(len(inputs))
        return encode(module, inputs)

    whole = quality_of(model.fitted_, training, tested)
    monkeypatch.setattr(Fitted, "blocks", counted_blocks)
    monkeypatch.setattr(inference, "encode", counted_encode)
    monkeypatch.setattr(quality, "CHUNK", 32)
    assert quality_of(model.fitted_, training, tested).to_dict() == pytest.approx(whole.to_dict())
    assert n_read == [32, 32, 16, 32, 8]
    assert n_encoded == [32, 8]


def test_class_means_of_the_atlas_stand_in_for_training_samples(fit: tuple[SVQVAE, Samples, Samples]) -> None:
    model, training, tested = fit
    found = quality_beside(model.fitted_, model.atlas_.means, tested)
    assert found.to_dict() == pytest.approx(quality_of(model.fitted_, training, tested).to_dict(), rel=1e-5)


def test_figures_beside_unknown_class_means_are_unknown(fit: tuple[SVQVAE, Samples, Samples]) -> None:
    model, training, tested = fit
    found = quality_of(model.fitted_, training.subset(np.flatnonzero(training.y != 1)), tested)
    whole = quality_of(model.fitted_, training, tested)
    assert np.isnan([found.accuracy_class_means, found.class_reconstruction_means]).all()
    assert (found.accuracy, found.class_reconstruction) == (whole.accuracy, whole.class_reconstruction)


@pytest.mark.parametrize("name", ["y_train", "y_test"])
def test_classes_that_the_model_does_not_know_are_refused(fit: tuple[SVQVAE, Samples, Samples], name: str) -> None:
    model, training, tested = fit
    parts = {"X_train": training, "y_train": training.labels, "X_test": tested, "y_test": tested.labels}
    with pytest.raises(ValueError, match=f"`{name}` must hold classes of the fit; got .*7.*, which is none of them"):
        held_out_quality(model, **parts | {name: np.append(parts[name][1:], 7)})


def test_handwritten_digits_are_learnt_in_three_epochs(real_file: RealFile) -> None:
    images = read_idx(real_file("mnist/train-images-idx3-ubyte.gz"))[:3000]
    labels = read_idx(real_file("mnist/train-labels-idx1-ubyte.gz"))[:3000].astype(np.int64)
    model = SVQVAE(architecture="conv", n_epochs=3, batch_size=64, random_state=0).fit(images[:2500], labels[:2500])
    found = held_out_quality(model, images[:2500], labels[:2500], images[2500:], labels[2500:])
    assert found.accuracy > 0.87 > 0.84 > found.accuracy_class_means
    assert found.class_reconstruction < 1.15 * found.class_reconstruction_means
    assert found.sample_reconstruction < found.class_reconstruction_means


def test_blood_cells_are_told_apart_as_well_as_by_class_means(real_file: RealFile) -> None:
    cells = read_table(real_file("pbmc68k_reduced.h5ad"), label="bulk_labels")
    is_test = np.arange(cells.n_obs) % 4 == 0
    train, test = (read_samples(cells[rows], label="bulk_labels") for rows in (~is_test, is_test))
    model = SVQVAE(n_epochs=20, random_state=0).fit(train)
    found = held_out_quality(model, train, train.labels, test, test.labels)
    assert found.accuracy > found.accuracy_class_means - 0.03
    assert found.class_reconstruction < 1.05 * found.class_reconstruction_means


def test_idx_files_are_the_canonical_ones(real_file: RealFile) -> None:
    content = gzip.decompress(real_file("mnist/t10k-labels-idx1-ubyte.gz").read_bytes())
    assert len(content) == 8 + 10_000
