"""What is known of the classes once the network is trained."""

from dataclasses import dataclass
from typing import Any

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
from svqvae.data.samples import Names
from svqvae.data.units import Units
from svqvae.model import inference
from svqvae.model.batches import Batches
from svqvae.model.module import SVQVAEModule
from svqvae.model.recipe import Recipe

# Draws that are enough to know their variance.
MAX_DRAWS = 2000


@dataclass(frozen=True)
class Trained:
    """A trained network and what its numbers mean.

    Attributes
    ----------
    recipe, module, units
        As in `svqvae.fitting.fitted.Fitted`.
    classes
        The classes, sorted, (n_classes,).
    feature_names
        (n_features,), or None where features have no names.
    sample_shape
        Shape of one sample: (n_features,), or that of an image.
    fingerprint
        Of the fit.
    """

    recipe: Recipe
    module: SVQVAEModule
    units: Units
    classes: NDArray[np.generic]
    feature_names: Names | None
    sample_shape: tuple[int, ...]
    fingerprint: str

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, or x0, x1 ... where they have none."""
        names = (
            [f"x{j}" for j in range(self.recipe.design.n_features)]
            if self.feature_names is None
            else self.feature_names
        )
        return tuple(map(str, names))

    @property
    def affine(self) -> dict[str, Any]:
        """Center and scale of each feature, as an atlas holds them."""
        n_features = self.recipe.design.n_features
        pairs = (("center", self.units.center), ("scale", self.units.scale))
        return {name: np.broadcast_to(values, n_features).copy() for name, values in pairs}

    def decoded_codes(self) -> NDArray[np.float32]:
        """Return the decoded codes on the scale that the encoder reads, (n_classes, n_features)."""
        return self.units.as_read(inference.decode_codes(self.module, self.units.typical_size).flatten(1).numpy())


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
    trained: Trained, training: Batches, held_out: Batches | None = None, groups: NDArray[np.int64] | None = None
) -> Findings:
    """Measure a trained model on its training samples; unsupervised codes are given to classes first.

    What is said of new samples is calibrated on those held out, or else across folds that keep `groups` whole.
    """
    module, classes, seed = trained.module, trained.classes, trained.recipe.schedule.seed
    y = training.y.numpy()
    seen = look_once(trained, training)
    if not module.is_supervised:
        seen.nearest = give_codes_to_classes(module, seen.nearest, y)
    codes = inference.codes_of(module).astype(np.float32)
    code_spread, profile_spread = (
        spread_of(moments, picked.rows, y[picked.positions])
        for moments, picked in ((seen.latents, seen.spread_latents), (seen.inputs, seen.spread_inputs))
    )
    density = fit_density(seen.cloud_latents.rows, y[seen.cloud_latents.positions], len(classes), seed)
    calibration = None
    if profile_spread is not None:
        means = seen.inputs.means.astype(np.float32)
        if held_out is not None:
            calibration = calibrate(trained, held_out, means, profile_spread, code_spread)
        else:
            calibration = Calibration(means, surprises_of(training, groups, seed), np.empty(0), np.empty(0))
    atlas = ClassAtlas(
        classes=classes,
        feature_names=trained.names,
        counts=np.bincount(y, minlength=len(classes)),
        codes=codes,
        decoded=trained.decoded_codes(),
        means=trained.units.of_average(seen.averages.means),
        code_spread=code_spread,
        profile_spread=profile_spread,
        density=density,
        calibration=calibration,
        sample_shape=trained.sample_shape,
        fingerprint=trained.fingerprint,
        **trained.affine,
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
    trained: Trained,
    held_out: Batches,
    means: NDArray[np.float32],
    profile_spread: Spread,
    code_spread: Spread | None,
) -> Calibration:
    """Return the scores of samples that were not trained on; of many, some are drawn."""
    module = trained.module
    batch = held_out.take(torch.as_tensor(draw_samples(len(held_out.y), trained.recipe.schedule.seed)))
    latents = inference.encode(module, batch.inputs)
    temperature = trained.recipe.design.temperature
    shares = softmax(-inference.nearness(module)(latents).double().numpy() / temperature, axis=1)
    from_codes = np.empty(0)
    if code_spread is not None:
        from_codes = surprise(latents.float().numpy(), inference.codes_of(module).astype(np.float32), code_spread)
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
    latents, inputs, target, averages
        Moments of the latents, of what the encoder reads, of what the decoder regenerates, and of what is averaged over
        a class of that, see `Units.averaged`.
    cloud_latents, spread_latents, spread_inputs
        As many samples as are enough for what takes samples.
    """

    nearest: NDArray[np.int64]
    latents: ClassMoments
    inputs: ClassMoments
    target: ClassMoments
    averages: ClassMoments
    cloud_latents: Picked
    spread_latents: Picked
    spread_inputs: Picked


def look_once(trained: Trained, training: Batches) -> Seen:
    """Go over the training samples once, in their order."""
    module, y, seed, units = trained.module, training.y.numpy(), trained.recipe.schedule.seed, trained.units
    n, n_classes, design = len(y), len(trained.classes), trained.recipe.design
    n_features, latent_dim, is_apart = design.n_features, design.latent_dim, units.has_own_target
    inputs = ClassMoments(n_classes, n_features)
    seen = Seen(
        nearest=np.empty(n, dtype=np.int64),
        latents=ClassMoments(n_classes, latent_dim),
        inputs=inputs,
        target=ClassMoments(n_classes, n_features) if is_apart else inputs,
        averages=ClassMoments(n_classes, n_features) if is_apart else inputs,
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
        if is_apart:
            target = batch.sample_target.flatten(1).numpy()
            seen.target.add(target, own)
            seen.averages.add(units.averaged(target), own)
        start = stop
    return seen


def know_codes_only(trained: Trained) -> Findings:
    """Return what a network without any samples tells: decoded codes, no counts, means, spreads or densities."""
    classes, n_features = trained.classes, trained.recipe.design.n_features
    atlas = ClassAtlas(
        classes=classes,
        feature_names=trained.names,
        counts=np.zeros(len(classes), dtype=np.int64),
        codes=inference.codes_of(trained.module),
        decoded=trained.decoded_codes(),
        means=np.full((len(classes), n_features), np.nan, dtype=np.float32),
        sample_shape=trained.sample_shape,
        fingerprint=trained.fingerprint,
        **trained.affine,
    )
    return Findings(unknown_health(classes), atlas, np.zeros(n_features, dtype=np.float32))


def missing_noise(
    module: SVQVAEModule, y: NDArray[np.int64], real: NDArray[np.float64], density: ClassDensity, seed: int
) -> NDArray[np.float32]:
    """Return the standard deviation that decoded draws lack against the samples of their class, per feature.

    The difference of two pooled within-class variances, that of the training samples, `real`, and that of as many draws
    (at most `MAX_DRAWS`), no less than 0. What the decoder leaves out of its own training samples would be too little:
    where samples are few, it overfits them.
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
