"""What is known of the classes once the network is trained."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax

from svqvae.atlas.atlas import ClassAtlas
from svqvae.atlas.confidence import Calibration, cross_fitted_surprises, draw_samples, surprise
from svqvae.atlas.density import ClassDensity, fit_density, thin_classes
from svqvae.atlas.health import health_of, unknown_health
from svqvae.atlas.moments import ClassMoments
from svqvae.atlas.spread import Spread, spread_of, thin_out
from svqvae.model import inference
from svqvae.model.batches import Batches
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
    model: "SVQVAE", training: Batches, held_out: Batches | None = None, groups: NDArray[np.int64] | None = None
) -> Findings:
    """Measure a trained model on its training samples; unsupervised codes are given to classes first.

    What is said of new samples is calibrated on those held out, or else across folds that keep `groups` whole.
    """
    module, classes, seed = model.module_, model.classes_, model.seed_
    y = training.y.numpy()
    seen = look_once(model, training)
    if not module.is_supervised:
        seen.nearest = give_codes_to_classes(module, seen.nearest, y)
    codes = module.quantizer.codes.detach().float().numpy().copy()
    n_features = model.n_features_in_
    code_spread, profile_spread = (
        spread_of(moments, picked.rows, y[picked.positions])
        for moments, picked in ((seen.latents, seen.spread_latents), (seen.inputs, seen.spread_inputs))
    )
    density = fit_density(seen.cloud_latents.rows, y[seen.cloud_latents.positions], len(classes), seed)
    calibration = None
    if profile_spread is not None:
        means = seen.inputs.means.astype(np.float32)
        if held_out is not None:
            calibration = calibrate(model, held_out, means, profile_spread, code_spread)
        else:
            calibration = Calibration(means, surprises_of(training, groups, seed), np.empty(0), np.empty(0))
    atlas = ClassAtlas(
        classes=classes,
        feature_names=feature_names(model),
        counts=np.bincount(y, minlength=len(classes)),
        codes=codes,
        decoded=decode_codes(model),
        means=class_means(model, seen),
        center=np.broadcast_to(model.scaling_.center, n_features).copy(),
        scale=np.broadcast_to(model.scaling_.scale, n_features).copy(),
        code_spread=code_spread,
        profile_spread=profile_spread,
        density=density,
        calibration=calibration,
        sample_shape=tuple(model.sample_shape_),
    )
    health = health_of(seen.latents, y, codes, seen.nearest, classes)
    return Findings(health, atlas, missing_noise(module, y, seen.target.within_variance, density, seed))


def surprises_of(training: Batches, groups: NDArray[np.int64] | None, seed: int) -> NDArray[np.float64]:
    """Return the surprise of training samples at classes fitted without them, in rising order."""
    drawn = draw_samples(len(training.y), seed)
    batch = training.take(torch.as_tensor(drawn))
    own_groups = None if groups is None else groups[drawn]
    return cross_fitted_surprises(batch.inputs.flatten(1).numpy(), batch.y.numpy(), own_groups, seed)


def calibrate(
    model: "SVQVAE",
    held_out: Batches,
    means: NDArray[np.float32],
    profile_spread: Spread,
    code_spread: Spread | None,
) -> Calibration:
    """Return the scores of samples that were not trained on; of many, some are drawn."""
    module = model.module_
    batch = held_out.take(torch.as_tensor(draw_samples(len(held_out.y), model.seed_)))
    latents = inference.encode(module, batch.inputs)
    shares = softmax(-inference.nearness(module)(latents).double().numpy() / resolve_temperature(model), axis=1)
    codes = module.quantizer.codes.detach().float().numpy()
    from_codes = np.empty(0) if code_spread is None else surprise(latents.float().numpy(), codes, code_spread)
    return Calibration(
        means,
        np.sort(surprise(batch.inputs.flatten(1).numpy(), means, profile_spread)),
        np.sort(from_codes),
        np.sort(shares[np.arange(len(batch.y)), batch.y.numpy()]),
    )


class Picked:
    """Some rows of a stream, (n_picked, n_dimensions), at given positions in rising order."""

    def __init__(self, positions: NDArray[np.int64], n_dimensions: int) -> None:
        self.positions = positions
        self.rows = np.empty((len(positions), n_dimensions), dtype=np.float32)

    def add(self, start: int, part: NDArray[np.float32]) -> None:
        """Take what is wanted of the rows from `start` on."""
        first, last = np.searchsorted(self.positions, [start, start + len(part)])
        self.rows[first:last] = part[self.positions[first:last] - start]


@dataclass
class Seen:
    """What one pass over the training samples leaves.

    Attributes
    ----------
    nearest
        Index of the nearest code of each sample, (n,).
    latents, inputs, target
        Moments of the latents, of what the encoder reads, and of what the decoder regenerates.
    shares
        Of counts, those of the share of each feature in its sample; else None.
    cloud_latents, spread_latents, spread_inputs
        As many samples as are enough for what takes samples.
    """

    nearest: NDArray[np.int64]
    latents: ClassMoments
    inputs: ClassMoments
    target: ClassMoments
    shares: ClassMoments | None
    cloud_latents: Picked
    spread_latents: Picked
    spread_inputs: Picked


def look_once(model: "SVQVAE", training: Batches) -> Seen:
    """Go over the training samples once, in their order."""
    module, y, n_classes, seed = model.module_, training.y.numpy(), len(model.classes_), model.seed_
    n, n_features, latent_dim = len(y), model.n_features_in_, model.latent_dim
    inputs, is_counts = ClassMoments(n_classes, n_features), model.scaling_.kind == "counts"
    seen = Seen(
        nearest=np.empty(n, dtype=np.int64),
        latents=ClassMoments(n_classes, latent_dim),
        inputs=inputs,
        target=ClassMoments(n_classes, n_features) if is_counts else inputs,
        shares=ClassMoments(n_classes, n_features) if is_counts else None,
        cloud_latents=Picked(thin_classes(y, n_classes, latent_dim, seed), latent_dim),
        spread_latents=Picked(thin_out(n, latent_dim, seed), latent_dim),
        spread_inputs=Picked(thin_out(n, n_features, seed), n_features),
    )
    distances, start = inference.nearness(module), 0
    for batch in training.once():
        stop = start + len(batch.y)
        found, own = inference.encode(module, batch.inputs), batch.y.numpy()
        seen.nearest[start:stop] = distances(found).argmin(1).numpy()
        latents, rows = found.float().numpy(), batch.inputs.flatten(1).numpy()
        seen.latents.add(latents, own)
        seen.inputs.add(rows, own)
        seen.cloud_latents.add(start, latents)
        seen.spread_latents.add(start, latents)
        seen.spread_inputs.add(start, rows)
        if seen.shares is not None:
            counted = batch.sample_target.flatten(1).numpy()
            seen.target.add(counted, own)
            seen.shares.add(counted / np.maximum(counted.sum(1, keepdims=True), 1), own)
        start = stop
    return seen


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


def class_means(model: "SVQVAE", seen: Seen) -> NDArray[np.float32]:
    """Return the mean of each class on the scale that the encoder reads, (n_classes, n_features).

    Of counts it is that of the mean share of each feature, which the decoder gives too: a mean of logarithms would be
    another, and would depend on how deep samples were counted.
    """
    return seen.inputs.means.astype(np.float32) if seen.shares is None else model.scaling_.apply(seen.shares.means)


def missing_noise(
    module: SVQVAEModule, y: NDArray[np.int64], real: NDArray[np.float64], density: ClassDensity, seed: int
) -> NDArray[np.float32]:
    """Return the standard deviation that decoded draws lack against the samples of their class, per feature.

    The difference of two pooled within-class variances, that of the training samples, `real`, and that of as many draws
    (at most `MAX_DRAWS`), no less than 0. What the decoder leaves out of its own training samples would be too little:
    where samples are few, it knows them by heart.
    """
    rng = np.random.default_rng(seed)
    drawn_y = y if len(y) <= MAX_DRAWS else np.sort(rng.choice(y, MAX_DRAWS, replace=False))
    names, counts = np.unique(drawn_y, return_counts=True)
    draws = np.concatenate([density.draw(int(k), int(n), rng) for k, n in zip(names, counts, strict=True)])
    decoded = inference.decode(module, torch.as_tensor(draws), torch.ones(len(draws))).flatten(1).float().numpy()
    moments = ClassMoments(int(y.max()) + 1, decoded.shape[1])
    moments.add(decoded, np.repeat(names, counts))
    noise: NDArray[np.float32] = np.sqrt(np.maximum(0, real - moments.within_variance)).astype(np.float32)
    return noise


@torch.no_grad()
def give_codes_to_classes(module: SVQVAEModule, nearest: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order unsupervised codes so that as many samples as possible lie nearest to the code of their class.

    Returns the index of the nearest code of each sample in the new order.
    """
    codes = module.quantizer.codes
    n_classes = len(codes)
    shared = np.bincount(nearest * n_classes + y, minlength=n_classes**2).reshape(n_classes, n_classes)
    code, owner = linear_sum_assignment(shared, maximize=True)
    codes[torch.as_tensor(owner)] = codes[torch.as_tensor(code)].clone()
    renamed = np.empty(n_classes, dtype=np.int64)
    renamed[code] = owner
    return renamed[nearest]
