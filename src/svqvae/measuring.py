"""What is known of the classes once the network is trained."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax
from torch import Tensor

from svqvae.atlas.atlas import ClassAtlas
from svqvae.atlas.confidence import Calibration, cross_fitted_surprises, surprise
from svqvae.atlas.density import ClassDensity, fit_density
from svqvae.atlas.health import code_health, unknown_health
from svqvae.atlas.spread import Spread, fit_spread
from svqvae.model import inference
from svqvae.model.batches import MemoryBatches
from svqvae.model.module import SVQVAEModule
from svqvae.parameters import resolve_temperature

if TYPE_CHECKING:
    from svqvae.estimator import SVQVAE

# Draws that are enough to know their variance.
MAX_DRAWS = 2000


@dataclass(frozen=True)
class Findings:
    """Measured on the training samples.

    Attributes
    ----------
    health
        Whether the code of each class stands for it, see `svqvae.atlas.health.code_health`.
    atlas
        What is typical of each class and how sure that is, see `svqvae.atlas.atlas.ClassAtlas`.
    noise
        Standard deviation within classes that decoded draws lack, per feature, in the model's units, (n_features,).
    """

    health: pd.DataFrame
    atlas: ClassAtlas
    noise: NDArray[np.float32]


def measure(
    model: "SVQVAE",
    training: MemoryBatches,
    held_out: MemoryBatches | None = None,
    groups: NDArray[np.int64] | None = None,
) -> Findings:
    """Measure a trained model on its training samples; unsupervised codes are given to classes first.

    What is said of new samples is calibrated on those held out, or else across folds that keep `groups` whole.
    """
    module, classes, seed = model.module_, model.classes_, model.seed_
    found, y = inference.encode(module, training.inputs), training.y.numpy()
    if not module.is_supervised:
        give_codes_to_classes(module, found, y)
    nearest = inference.distances(module, found).argmin(1).numpy()
    latents = found.float().numpy()
    codes = module.quantizer.codes.detach().float().numpy().copy()
    density = fit_density(latents, y, len(classes), seed)
    health = code_health(latents, y, codes, nearest, classes)
    rows = training.inputs.flatten(1).numpy()
    code_spread, profile_spread = (fit_spread(points, y, len(classes), seed) for points in (latents, rows))
    calibration = None
    if profile_spread is not None:
        means = np.stack([rows[y == k].mean(0, dtype=np.float64) for k in range(len(classes))]).astype(np.float32)
        if held_out is not None:
            calibration = calibrate(model, held_out, means, profile_spread, code_spread)
        else:
            surprises = cross_fitted_surprises(rows, y, groups, seed)
            calibration = Calibration(means, surprises, np.empty(0), np.empty(0))
    atlas = ClassAtlas(
        classes=classes,
        feature_names=feature_names(model),
        counts=np.bincount(y, minlength=len(classes)),
        codes=codes,
        decoded=decode_codes(model),
        means=class_means(model, training),
        center=np.broadcast_to(model.scaling_.center, rows.shape[1]).copy(),
        scale=np.broadcast_to(model.scaling_.scale, rows.shape[1]).copy(),
        code_spread=code_spread,
        profile_spread=profile_spread,
        density=density,
        calibration=calibration,
        sample_shape=tuple(model.sample_shape_),
    )
    return Findings(health, atlas, missing_noise(module, training, density, seed))


def calibrate(
    model: "SVQVAE",
    held_out: MemoryBatches,
    means: NDArray[np.float32],
    profile_spread: Spread,
    code_spread: Spread | None,
) -> Calibration:
    """Return the scores of samples that were not trained on."""
    module, rows = model.module_, held_out.inputs.flatten(1).numpy()
    latents = inference.encode(module, held_out.inputs)
    shares = softmax(-inference.distances(module, latents).numpy() / resolve_temperature(model), axis=1)
    codes = module.quantizer.codes.detach().float().numpy()
    from_codes = np.empty(0) if code_spread is None else surprise(latents.float().numpy(), codes, code_spread)
    return Calibration(
        means,
        np.sort(surprise(rows, means, profile_spread)),
        np.sort(from_codes),
        np.sort(shares[np.arange(len(rows)), held_out.y.numpy()]),
    )


def know_codes_only(model: "SVQVAE") -> Findings:
    """Return what a network without any samples tells: decoded codes, no counts, means, spreads or densities."""
    classes, n_features = model.classes_, model.n_features_in_
    atlas = ClassAtlas(
        classes=classes,
        feature_names=feature_names(model),
        counts=np.zeros(len(classes), dtype=np.int64),
        codes=model.codebook_,
        decoded=decode_codes(model),
        means=np.full((len(classes), n_features), np.nan, dtype=np.float32),
        center=np.broadcast_to(model.scaling_.center, n_features).copy(),
        scale=np.broadcast_to(model.scaling_.scale, n_features).copy(),
        sample_shape=tuple(model.sample_shape_),
    )
    return Findings(unknown_health(classes), atlas, np.zeros(n_features, dtype=np.float32))


def feature_names(model: "SVQVAE") -> tuple[str, ...]:
    """Return the features' names, or x0, x1 ... where they have none."""
    names = getattr(model, "feature_names_in_", None)
    return tuple(map(str, names if names is not None else [f"x{j}" for j in range(model.n_features_in_)]))


def decode_codes(model: "SVQVAE") -> NDArray[np.float32]:
    """Return the decoded codes on the scale that the encoder reads, (n_classes, n_features)."""
    codes = model.module_.quantizer.codes.detach()
    sizes = torch.full((len(codes),), model.median_size_)
    decoded: NDArray[np.float64] = inference.decode_exactly(model.module_, codes, sizes).flatten(1).numpy()
    return model.scaling_.apply(decoded) if model.scaling_.kind == "counts" else decoded.astype(np.float32)


def class_means(model: "SVQVAE", training: MemoryBatches) -> NDArray[np.float32]:
    """Return the mean of each class on the scale that the encoder reads, (n_classes, n_features).

    Of counts it is that of the mean share of each feature, which the decoder gives too: a mean of logarithms would be
    another, and would depend on how deep samples were counted.
    """
    y, rows = training.y.numpy(), training.target.flatten(1).numpy()
    is_counts = model.scaling_.kind == "counts"
    if is_counts:
        rows = rows / np.maximum(rows.sum(1, keepdims=True), 1)
    means = np.stack([rows[y == k].mean(0, dtype=np.float64) for k in range(len(model.classes_))])
    return model.scaling_.apply(means) if is_counts else means.astype(np.float32)


def missing_noise(
    module: SVQVAEModule, training: MemoryBatches, density: ClassDensity, seed: int
) -> NDArray[np.float32]:
    """Return the standard deviation that decoded draws lack against the samples of their class, per feature.

    The difference of two pooled within-class variances, that of the training samples and that of as many draws (at
    most `MAX_DRAWS`), no less than 0. What the decoder leaves out of its own training samples would be too little:
    where samples are few, it knows them by heart.
    """
    y = training.y.numpy()
    rng = np.random.default_rng(seed)
    drawn_y = y if len(y) <= MAX_DRAWS else np.sort(rng.choice(y, MAX_DRAWS, replace=False))
    names, counts = np.unique(drawn_y, return_counts=True)
    draws = np.concatenate([density.draw(int(k), int(n), rng) for k, n in zip(names, counts, strict=True)])
    decoded = inference.decode(module, torch.as_tensor(draws), torch.ones(len(draws))).flatten(1).float().numpy()
    real = _within_variance(training.target.flatten(1).numpy(), y)
    noise: NDArray[np.float32] = np.sqrt(np.maximum(0, real - _within_variance(decoded, np.repeat(names, counts))))
    return noise.astype(np.float32)


def _within_variance(rows: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the pooled variance within classes of each feature."""
    names = np.unique(y)
    squares = sum(((rows[y == k] - rows[y == k].mean(0)) ** 2).sum(0, dtype=np.float64) for k in names)
    return np.asarray(squares) / max(1, len(y) - len(names))


@torch.no_grad()
def give_codes_to_classes(module: SVQVAEModule, latents: Tensor, y: NDArray[np.int64]) -> None:
    """Order unsupervised codes so that as many samples as possible lie nearest to the code of their class."""
    codes = module.quantizer.codes
    n_classes = len(codes)
    nearest = inference.distances(module, latents).argmin(1).numpy()
    shared = np.bincount(nearest * n_classes + y, minlength=n_classes**2).reshape(n_classes, n_classes)
    code, owner = linear_sum_assignment(shared, maximize=True)
    codes[torch.as_tensor(owner)] = codes[torch.as_tensor(code)].clone()
