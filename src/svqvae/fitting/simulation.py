"""New data of a class: what the likelihood adds to decoded means."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from svqvae import parameters

if TYPE_CHECKING:
    from svqvae.estimator import SVQVAE


def add_noise(means: NDArray[np.float64], model: "SVQVAE", rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw data around decoded means, (n, ...), as the likelihood has it; bounded means come back as they are."""
    likelihood = parameters.resolve_likelihood(model)
    if likelihood == "bernoulli":
        return (rng.random(means.shape) < means).astype(np.float64)
    if likelihood == "negative_binomial":
        log_dispersion = model.module_.likelihood.get_parameter("log_dispersion").detach().numpy()
        dispersion = np.exp(log_dispersion.astype(np.float64))
        return rng.poisson(rng.gamma(dispersion, means / dispersion)).astype(np.float64)
    if likelihood == "gaussian":
        noise = (model.noise_ * model.scaling_.scale).reshape(model.sample_shape_)
        return means + noise * rng.standard_normal(means.shape)
    return means
