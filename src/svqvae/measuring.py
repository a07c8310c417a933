"""What is known of the classes once the network is trained."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from svqvae.atlas.density import ClassDensity, fit_density
from svqvae.atlas.health import code_health
from svqvae.model import inference
from svqvae.model.batches import MemoryBatches
from svqvae.model.module import SVQVAEModule


@dataclass(frozen=True)
class Findings:
    """Measured on the training samples.

    Attributes
    ----------
    health
        Whether the code of each class stands for it, see `svqvae.atlas.health.code_health`.
    density
        Where the latents of each class lie.
    noise
        Root mean square of what the decoder leaves out, per feature, in the model's units, (n_features,).
    """

    health: pd.DataFrame
    density: ClassDensity
    noise: NDArray[np.float32]


def measure(module: SVQVAEModule, training: MemoryBatches, classes: NDArray[np.generic], seed: int) -> Findings:
    """Measure a trained module on its training samples; unsupervised codes are given to classes first."""
    latents, y = inference.encode(module, training.inputs), training.y.numpy()
    if not module.is_supervised:
        give_codes_to_classes(module, latents, y)
    nearest = inference.distances(module, latents).argmin(1).numpy()
    codes = module.quantizer.codes.detach().numpy()
    decoded = inference.decode(module, latents, training.size)
    return Findings(
        code_health(latents.numpy(), y, codes, nearest, classes),
        fit_density(latents.numpy(), y, len(classes), seed),
        (decoded - training.target).square().mean(0).sqrt().flatten().float().numpy(),
    )


@torch.no_grad()
def give_codes_to_classes(module: SVQVAEModule, latents: Tensor, y: NDArray[np.int64]) -> None:
    """Order unsupervised codes so that as many samples as possible lie nearest to the code of their class."""
    codes = module.quantizer.codes
    n_classes = len(codes)
    nearest = inference.distances(module, latents).argmin(1).numpy()
    shared = np.bincount(nearest * n_classes + y, minlength=n_classes**2).reshape(n_classes, n_classes)
    code, owner = linear_sum_assignment(shared, maximize=True)
    codes[torch.as_tensor(owner)] = codes[torch.as_tensor(code)].clone()
