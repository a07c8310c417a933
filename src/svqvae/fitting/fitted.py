"""What a fit has learnt, whole: read samples, encode them, tell their class, decode, simulate."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from svqvae.atlas.atlas import ClassAtlas
from svqvae.data.samples import (
    Index,
    Names,
    Rows,
    Samples,
    check_features,
    check_sample_shape,
    read_samples,
)
from svqvae.data.units import Units
from svqvae.model import inference
from svqvae.model.module import SVQVAEModule
from svqvae.model.objective import OBJECTIVES
from svqvae.model.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Fitted:
    """A recipe, what was learnt by it, and what is known of the fit.

    Attributes
    ----------
    recipe
        All that it was made with.
    given
        The hyper-parameters as they were set; None where the recipe chose.
    units
        What the numbers of the data are.
    module
        The trained network.
    atlas
        What is known of the classes, with the calibration.
    health
        Whether the code of each class stands for it, see `svqvae.atlas.health`.
    noise
        Standard deviation within classes that decoded draws lack, per feature, in the model's units, (n_features,).
    history
        One row per epoch with each loss term.
    n_iter
        Epochs trained.
    held_out
        Rows of the data that were held out to watch training.
    feature_names
        (n_features,), or None where features have no names.
    layer
        Layer of AnnData that was read, or None for X.
    origin
        What it was made of: ``n_samples``, ``n_trained``, ``sha256`` of values and labels, and what a command adds.
    fingerprint
        Of recipe, data and first weights: the same in all files of a run.
    """

    recipe: Recipe
    given: Mapping[str, Any]
    units: Units
    module: SVQVAEModule
    atlas: ClassAtlas
    health: pd.DataFrame
    noise: NDArray[np.float32]
    history: pd.DataFrame
    n_iter: int
    held_out: Index
    feature_names: Names | None
    layer: str | None
    origin: Mapping[str, Any]
    fingerprint: str

    @property
    def classes(self) -> NDArray[np.generic]:
        """The classes, sorted, (n_classes,)."""
        return self.atlas.classes

    @property
    def codebook(self) -> NDArray[np.floating]:
        """The code of each class, (n_classes, latent_dim)."""
        return inference.codes_of(self.module)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (n_features,), or that of an image."""
        return self.atlas.sample_shape

    @property
    def seed(self) -> int:
        """Seed of everything that was drawn."""
        return self.recipe.schedule.seed

    @property
    def is_interrupted(self) -> bool:
        """Whether training was stopped before its end."""
        return "interrupted" in self.history

    def made_of(self, **origin: Any) -> "Fitted":
        """Return the same with more said of what it was made of."""
        return replace(self, origin={**self.origin, **origin})

    def accept(self, samples: Samples) -> Samples:
        """Return samples as they are; refuse other features, or samples of another shape, than those of the fit."""
        check_features(samples.feature_names, self.feature_names)
        n_features = self.recipe.design.n_features
        if samples.n_features != n_features:
            raise ValueError(
                f"X has {samples.n_features} features, but SVQVAE is expecting {n_features} features as input."
            )
        check_sample_shape(samples.sample_shape, self.sample_shape)
        return samples

    def labelled(self, X: Any, y: Any, name: str = "y") -> Samples:
        """Return samples in any container with their classes, which must be classes of the fit.

        Parameters
        ----------
        X : (n, n_features), or images
        y : (n,)
        name
            What the labels are called in messages.
        """
        samples, y = self.accept(read_samples(X)), np.asarray(y)
        if len(y) != len(samples):
            raise ValueError(f"`{name}` must have a label for each of the {len(samples)} samples; got {len(y)}.")
        known = set(self.classes.tolist())
        unknown = [label for label in y.tolist() if label not in known]
        if len(unknown):
            raise ValueError(f"`{name}` must hold classes of the fit; got {unknown[0]!r}, which is none of them.")
        return replace(samples, y=np.searchsorted(self.classes, y).astype(np.int64), classes=self.classes)

    def blocks(self, samples: Samples, n_most: int | None = inference.CHUNK) -> Iterator[Rows]:
        """Yield rows in the units of the data part by part, and refuse what no sample of the fit can be."""
        start = 0
        for block in samples.blocks(None if samples.stay_on_disk else n_most):
            if self.units.checks_new_samples:
                self.units.check(block, start, self.recipe.design.output_scale)
            start += len(block)
            yield block

    def read(self, rows: Rows) -> NDArray[np.float32]:
        """Return rows on the scale that the model works on, (n, n_features)."""
        return self.units.apply(rows)

    def encode(self, rows: Rows) -> Tensor:
        """Return the latents of rows in the units of the data, (n, latent_dim)."""
        return self.encode_read(self.read(rows))

    def encode_read(self, read: NDArray[np.float32]) -> Tensor:
        """Return the latents of rows that were read, (n, latent_dim)."""
        return inference.encode(self.module, torch.as_tensor(read).reshape(-1, *self.recipe.design.event_shape))

    def recognizer(self) -> "Recognizer":
        """Return what tells the class of latents."""
        return Recognizer(self.module, self.recipe.design.temperature)

    def decode(self, latents: Tensor, sizes: Tensor | None = None) -> NDArray[np.float64]:
        """Return the data expected for latents, in shape and units of the samples; counts at the median total."""
        if sizes is None:
            sizes = torch.full((len(latents),), self.units.typical_size)
        return self._to_data(inference.decode(self.module, latents, sizes))

    def class_profiles(self) -> NDArray[np.float64]:
        """Return the decoded code of each class, in shape and units of the samples."""
        return self._to_data(inference.decode_codes(self.module, self.units.typical_size))

    def reconstruct(self, rows: Rows, latents: Tensor | None = None) -> NDArray[np.float64]:
        """Encode and decode rows, in shape and units of the samples; counts at the total of each row.

        Where the decoder has only ever seen codes, the nearest code is decoded.

        Parameters
        ----------
        rows
            (n, n_features), in the units of the data.
        latents
            Those of the rows where they are known already.
        """
        latents = self.encode(rows) if latents is None else latents
        if not OBJECTIVES[self.recipe.design.objective].decodes_latents:
            latents = self.module.quantizer.codes.detach()[inference.nearness(self.module)(latents).argmin(1)]
        return self.decode(latents, torch.as_tensor(self.units.sizes(rows), dtype=torch.float32))

    def sample(self, name: Any, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Simulate n samples of a class, in shape and units of the samples; see `SVQVAE.sample`."""
        k = self.atlas.find(name)
        if self.atlas.density is None:
            raise ValueError(
                "`sample` must know where the latents of a class lie, which this model never learnt: it was imported "
                "without samples. Import it with samples, or fit it anew."
            )
        latents = torch.as_tensor(self.atlas.density.draw(k, n, rng))
        sizes = torch.as_tensor(self.units.draw_sizes(len(latents), rng), dtype=torch.float32)
        noise = (self.noise * self.units.scale).reshape(self.sample_shape)
        return self.module.likelihood.draw(self.decode(latents, sizes), noise, rng)

    def _to_data(self, decoded: Tensor) -> NDArray[np.float64]:
        return self.units.invert(decoded.flatten(1).numpy()).reshape(-1, *self.sample_shape)


class Recognizer:
    """Tells the class of latents by the nearest code.

    Parameters
    ----------
    module
        With its codes.
    temperature
        Divides squared distances in class probabilities.
    """

    def __init__(self, module: SVQVAEModule, temperature: float) -> None:
        self.distances, self.temperature = inference.nearness(module), temperature

    def nearest(self, latents: Tensor) -> Index:
        """Return the index of the nearest code of each latent, (n,)."""
        return self.distances(latents).argmin(1).numpy()

    def probabilities(self, latents: Tensor) -> NDArray[np.float32]:
        """Return softmax(-d / temperature), (n, n_classes), d squared distances to the codes."""
        shares: NDArray[np.float32] = (
            torch.softmax(-self.distances(latents).double() / self.temperature, 1).float().numpy()
        )
        return shares
