"""Small fits of every kind, and all that they answer: what a change of the inside must leave as it is."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from svqvae import SVQVAE
from svqvae.data.images import digits
from svqvae.data.stored import open_table
from svqvae.fitting.annotate import tell_classes
from svqvae.fitting.published import CODES, DECODER, ENCODER
from svqvae.jobs.import_published import read_published

Answers = dict[str, NDArray[Any]]
# A fitted model, samples as it takes them, and the networks that a run folder does not hold.
Fitted = tuple[SVQVAE, Any, Any]
N_CLASSES, N_FEATURES = 4, 14


def table(seed: int = 0) -> tuple[pd.DataFrame, NDArray[np.str_], NDArray[np.int64]]:
    """Return samples of four classes, unevenly many, their classes, and what belongs together."""
    rng = np.random.default_rng(seed)
    index = np.repeat(np.arange(N_CLASSES), [50, 30, 20, 9])
    means = 1.5 * rng.normal(size=(N_CLASSES, N_FEATURES))
    X = means[index] + rng.normal(size=(len(index), N_FEATURES)) * rng.uniform(0.2, 3, N_FEATURES)
    frame = pd.DataFrame(X + 5, columns=[f"g{j}" for j in range(N_FEATURES)])
    return frame, np.array(["B", "NK", "T", "mono"])[index], rng.integers(12, size=len(index))


def counted(seed: int = 0) -> tuple[pd.DataFrame, NDArray[np.str_]]:
    X, y, _ = table(seed)
    return np.random.default_rng(seed).poisson(np.exp(0.3 * X.clip(0, 12))) + (X * 0).astype(int), y


def dense() -> Fitted:
    X, y, _ = table()
    return SVQVAE(random_state=0, n_epochs=6, latent_dim=8).fit(X, y), X, None


def held_out() -> Fitted:
    X, y, groups = table()
    settings: dict[str, Any] = {"early_stopping": True, "validation_fraction": 0.3, "dropout": 0.1, "latent_dim": 8}
    return SVQVAE(random_state=3, n_epochs=8, hidden=(16, 12), **settings).fit(X, y, groups=groups), X, None


def cosine() -> Fitted:
    X, y, _ = table()
    settings: dict[str, Any] = {"geometry": "cosine", "label_smoothing": 0.1, "w_label": 2.0, "latent_dim": 8}
    return SVQVAE(random_state=1, n_epochs=6, hidden=(16,), **settings).fit(X.to_numpy(), y), X.to_numpy(), None


def counts() -> Fitted:
    X, y = counted()
    model = SVQVAE(likelihood="negative_binomial", random_state=0, n_epochs=6, latent_dim=8, hidden=(16,))
    return model.fit(X, y), X, None


def zero_one() -> Fitted:
    X, y, _ = table()
    model = SVQVAE(likelihood="bernoulli", random_state=0, n_epochs=6, latent_dim=8, hidden=(16,))
    X = X.gt(X.mean()).astype(int)
    return model.fit(X, y), X, None


def conv() -> Fitted:
    images, y = digits()
    X, y = images[y < 3][:90], y[y < 3][:90]
    return SVQVAE(architecture="conv", random_state=0, n_epochs=3, latent_dim=8).fit(X, y), X, None


def published() -> Fitted:
    X, y, _ = table()
    X = X.clip(-10, 10)
    model = SVQVAE.published("lincs", n_epochs=6, latent_dim=8, batch_size=32, random_state=0)
    return model.fit(X, y), X, None


def published_dense() -> Fitted:
    X, y, _ = table()
    settings: dict[str, Any] = {"objective": "published", "n_epochs": 6, "latent_dim": 8, "hidden": (12,)}
    return SVQVAE(**settings, random_state=0).fit(X, y), X, None


def vqvae() -> Fitted:
    X, y, _ = table()
    return SVQVAE(objective="vqvae", n_epochs=6, latent_dim=8, random_state=0).fit(X, y), X, None


def unlabelled() -> Fitted:
    X, y, _ = table()
    others, _, groups = table(1)
    model = SVQVAE(random_state=0, n_epochs=6, latent_dim=8, hidden=(16,))
    return model.fit(X, y, unlabelled=others, unlabelled_groups=groups), X, None


def on_disk() -> Fitted:
    X, y, groups = table()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.h5ad"
        obs = pd.DataFrame({"kind": y, "batch": groups.astype(str)}, index=[f"s{k}" for k in range(len(y))])
        anndata.AnnData(X.to_numpy(), obs, pd.DataFrame(index=X.columns)).write_h5ad(path)
        adata = open_table(path, label="kind", on_disk=True)
        model = SVQVAE(random_state=0, n_epochs=6, latent_dim=8, hidden=(16,)).fit(adata, label="kind")
        adata.X.file.close()
    return model, X, None


def own_networks() -> Fitted:
    X, y, _ = table()
    torch.manual_seed(5)
    pair = nn.Sequential(nn.Linear(N_FEATURES, 8)), nn.Sequential(nn.Linear(8, N_FEATURES))
    return SVQVAE(architecture=pair, latent_dim=8, n_epochs=6, random_state=0).fit(X, y), X, pair


def write_published(folder: Path) -> None:
    """Write a model in the layout of the authors' files."""
    torch.manual_seed(0)
    layers = {ENCODER: (N_FEATURES, 8), DECODER: (8, N_FEATURES)}
    modules: dict[str, nn.Module] = {name: nn.Sequential(nn.Linear(*size), nn.Tanh()) for name, size in layers.items()}
    modules[CODES] = nn.Embedding(N_CLASSES, 8)
    for name, module in modules.items():
        torch.save(module, folder / name, _use_new_zipfile_serialization=False)
    pd.DataFrame({"index": range(N_CLASSES), "pcl": ["T", "B", "mono", "NK"]}).to_csv(folder / "names.csv", index=False)
    pd.DataFrame({"pr_gene_symbol": [f"g{j}" for j in range(N_FEATURES)]}).to_csv(
        folder / "genes.tsv", index=False, sep="\t"
    )


def imported() -> Fitted:
    X, _, _ = table()
    with tempfile.TemporaryDirectory() as folder:
        write_published(Path(folder))
        model = read_published(folder, Path(folder) / "names.csv", Path(folder) / "genes.tsv")
    return model, X.clip(-10, 10), None


FITS: dict[str, Callable[[], Fitted]] = {
    make.__name__: make
    for make in (
        dense,
        held_out,
        cosine,
        counts,
        zero_one,
        conv,
        published,
        published_dense,
        vqvae,
        unlabelled,
        on_disk,
        own_networks,
        imported,
    )
}


def answers(model: SVQVAE, X: Any) -> Answers:
    """Return what a model answers about samples, as arrays by name."""
    atlas, first = model.to_atlas(), model.classes_[0]
    told = tell_classes(model.fitted_, X)
    metric = atlas.default_metric
    found: Answers = {
        "codebook": model.codebook_,
        "transform": model.transform(X),
        "predict_proba": model.predict_proba(X),
        "predict": np.searchsorted(model.classes_, model.predict(X)),
        "class_profiles": model.class_profiles(),
        "reconstruct": model.reconstruct(X),
        "inverse_transform": model.inverse_transform(model.transform(X)[:5]),
        "atlas.profiles": atlas.profiles.to_numpy(),
        "atlas.distances": atlas.distances(metric).to_numpy(),
        "atlas.code_distances": atlas.distances(metric="correlation", space="code").to_numpy(),
        "atlas.contrast": atlas.contrast(*atlas.names[:2]).sort_index().select_dtypes("number").to_numpy(),
        "atlas.counts": atlas.counts,
        "novelty_p": told["novelty_p"].to_numpy(dtype=np.float64),
        "n_in_set": told["set"].str.count("[|]").to_numpy(dtype=np.int64),
        "health": model.health_.select_dtypes("number").to_numpy(dtype=np.float64),
        "held_out": model.held_out_,
        "loss": model.history_["loss"].to_numpy() if "loss" in model.history_ else np.zeros(0),
    }
    if atlas.density is not None:
        found["sample"] = model.sample(first, 5, random_state=0)
        found["nearest"] = atlas.nearest(random_state=0)[["distance", "support"]].to_numpy(dtype=np.float64)
    return {name: np.ascontiguousarray(values) for name, values in found.items()}


def differences(found: Answers, kept: Answers) -> dict[str, float]:
    """Return the largest difference of each answer, relative to the largest number in it; 0 for the same bits."""
    assert set(found) == set(kept)
    gap: Callable[[NDArray[Any], NDArray[Any]], float] = partial(_gap)
    return {name: gap(found[name], kept[name]) for name in kept}


def _gap(found: NDArray[Any], kept: NDArray[Any]) -> float:
    if found.shape != kept.shape or not np.array_equal(np.isnan(found), np.isnan(kept)):
        return float("inf")
    if not kept.size or np.array_equal(found, kept, equal_nan=True):
        return 0.0
    found, kept = found.astype(np.float64), kept.astype(np.float64)
    return float(np.nanmax(np.abs(found - kept)) / max(np.nanmax(np.abs(kept)), 1e-12))
