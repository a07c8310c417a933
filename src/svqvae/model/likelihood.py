"""What a decoder's output means: its mean in the units of the data, its error, and how to draw from it."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from svqvae.model.networks import ScaledTanh

LIKELIHOODS = ("gaussian", "bounded", "bernoulli", "negative_binomial")


class Likelihood(nn.Module, ABC):
    """The meaning of a decoder's output; the classes below are its kinds.

    Attributes
    ----------
    takes_means
        Whether the error against a mean of several targets has the same minimum as their mean error.
    activation
        Layer that the decoder ends in, each number by itself: samples of a class share what it makes of their code.
        `mean` and `error` take what it gives.
    """

    takes_means: bool = True

    def __init__(self) -> None:
        super().__init__()
        self.activation: nn.Module = nn.Identity()

    @abstractmethod
    def mean(
        self, output: Float[Tensor, "batch *event"], size: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *event"]:
        """Return the expected data for decoder outputs and total counts `size`."""

    @abstractmethod
    def error(
        self,
        output: Float[Tensor, "batch *event"],
        target: Float[Tensor, "batch *event"],
        size: Float[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """Return the reconstruction error, a mean over samples and features."""


class Gaussian(Likelihood):
    """The output is the mean of a Gaussian of fixed variance; the error is the mean squared error."""

    def mean(
        self, output: Float[Tensor, "batch *event"], size: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *event"]:
        """Return the output as it is."""
        return output

    def error(
        self,
        output: Float[Tensor, "batch *event"],
        target: Float[Tensor, "batch *event"],
        size: Float[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """Return the mean of (mean - target)² over samples and features."""
        error: Tensor = _MeanSquare.apply(self.mean(output, size), target)  # type: ignore[no-untyped-call]
        return error


class Bounded(Gaussian):
    """The decoder ends in tanh × scale, as in both published notebooks; the error is the mean squared error.

    Parameters
    ----------
    scale
        Largest absolute value of the data in the model's units: 1 for pixels in [-1, 1], 10 for z-scores.
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.activation = ScaledTanh(scale)


class Bernoulli(Likelihood):
    """The output is the logit of a probability; the error is the mean cross-entropy in nats per feature."""

    def mean(
        self, output: Float[Tensor, "batch *event"], size: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *event"]:
        """Return sigmoid(output)."""
        return torch.sigmoid(output)

    def error(
        self,
        output: Float[Tensor, "batch *event"],
        target: Float[Tensor, "batch *event"],
        size: Float[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """Return the mean binary cross-entropy over samples and features."""
        return functional.binary_cross_entropy_with_logits(output, target)


class NegativeBinomial(Likelihood):
    """The output is the log share of each feature in a sample's total count; one dispersion per feature is learnt.

    mean μ = size · softmax(output), variance μ + μ²/θ, θ = exp(log_dispersion); the error is the mean negative
    log likelihood in nats per feature. The parametrisation is that of Lopez et al. (Nature Methods 15:1053, 2018).

    Parameters
    ----------
    n_features
        Number of features, for the dispersions.
    """

    # The totals of the samples differ, and the dispersion must see their spread.
    takes_means = False

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.log_dispersion = nn.Parameter(torch.zeros(n_features))

    def mean(
        self, output: Float[Tensor, "batch *event"], size: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *event"]:
        """Return size × softmax(output): expected counts for samples of `size` counts in total."""
        return size[:, None] * torch.softmax(output, dim=1)

    def error(
        self,
        output: Float[Tensor, "batch *event"],
        target: Float[Tensor, "batch *event"],
        size: Float[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """Return the mean negative log likelihood over samples and features."""
        log_mean = torch.log(size)[:, None] + torch.log_softmax(output, dim=1)
        log_total = torch.logaddexp(self.log_dispersion, log_mean)
        dispersion = self.log_dispersion.exp()
        log_likelihood = (
            torch.lgamma(target + dispersion)
            - torch.lgamma(dispersion)
            - torch.lgamma(target + 1)
            + dispersion * (self.log_dispersion - log_total)
            + target * (log_mean - log_total)
        )
        return -log_likelihood.mean()


class _MeanSquare(torch.autograd.Function):
    """As `torch.nn.functional.mse_loss`, with a table for the differences and one for their gradient, and no others."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, target: Tensor) -> Tensor:
        difference = mean - target
        ctx.save_for_backward(difference)
        # By norms, since those make no table of squares.
        norms = torch.linalg.vector_norm(difference, dim=tuple(range(1, difference.ndim)))
        error: Tensor = norms.square().mean() * (len(difference) / difference.numel())
        return error

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        return difference * (gradient * (2 / difference.numel())), None


def build_likelihood(name: str, n_features: int, output_scale: float) -> Likelihood:
    """Return the likelihood of that name, one of `LIKELIHOODS`."""
    if name == "gaussian":
        return Gaussian()
    if name == "bounded":
        return Bounded(output_scale)
    if name == "bernoulli":
        return Bernoulli()
    if name == "negative_binomial":
        return NegativeBinomial(n_features)
    raise ValueError(f"`likelihood` must be one of {', '.join(LIKELIHOODS)}; got {name!r}.")
