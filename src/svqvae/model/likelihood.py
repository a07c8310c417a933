"""Likelihoods: the mean, the reconstruction error and random draws that belong to a decoder's output."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from svqvae.model.networks import ScaledTanh

Array = NDArray[np.float64]


class Likelihood(nn.Module, ABC):
    """How a decoder's output describes the data; the subclasses below are in `LIKELIHOODS` by name.

    Parameters
    ----------
    n_features
        Number of features.
    scale
        Largest absolute value of the data in the model's units, for a likelihood that bounds them.

    Attributes
    ----------
    takes_means
        Whether the error against the mean of several targets has the same minimum as the mean of their errors.
    activation
        Element-wise last layer of the decoder; its output is the `output` of the methods.
    """

    takes_means: bool = True

    def __init__(self, n_features: int = 1, scale: float = 1.0) -> None:
        super().__init__()
        self.activation: nn.Module = nn.Identity()

    @abstractmethod
    def mean(
        self, output: Float[Tensor, "batch *event"], size: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *event"]:
        """Return the expected data, (batch, ...), for decoder outputs, (batch, ...), and total counts, (batch,)."""

    @abstractmethod
    def draw(self, means: Array, noise: Array, rng: np.random.Generator) -> Array:
        """Draw data around expected data.

        Parameters
        ----------
        means
            Expected data in the units of the data, (n, ...).
        noise
            Standard deviation of each feature within classes that decoded latents lack, (...), in the same units.
        rng
            Random number generator.

        Returns
        -------
        numpy.ndarray
            Draws in the units of the data, (n, ...).
        """

    @abstractmethod
    def error(
        self,
        output: Float[Tensor, "batch *event"],
        target: Float[Tensor, "batch *event"],
        size: Float[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """Return the reconstruction error, averaged over samples and features.

        Parameters
        ----------
        output
            Decoder outputs, (batch, ...).
        target
            Data in the model's units, or counts, (batch, ...).
        size
            Total count of each sample, (batch,).
        """

    def errors(
        self,
        output: Float[Tensor, "rows *event"],
        code_of_sample: Int[Tensor, " batch"],
        sample_target: Float[Tensor, "batch *event"],
        class_target: Float[Tensor, "batch *event"],
        size: Float[Tensor, " batch"],
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the mean error of the decoded latents, and that of the decoded code of each sample.

        Parameters
        ----------
        output
            Decoder outputs of the latents, followed by those of the codes, (batch + codes, ...).
        code_of_sample
            Index, among these codes, of the code of each sample, (batch,).
        sample_target, class_target
            Targets of the decoded latents and of the decoded codes, (batch, ...).
        size
            Total count of each sample, (batch,).
        """
        n = len(sample_target)
        own, codes = output.split_with_sizes([n, len(output) - n])
        return (
            self.error(own, sample_target, size),
            self.error(codes.index_select(0, code_of_sample), class_target, size),
        )


class Gaussian(Likelihood):
    """The output is the mean of a Gaussian of fixed variance; the error is the mean squared error."""

    def mean(
        self, output: Float[Tensor, "batch *event"], size: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *event"]:
        """Return the output unchanged."""
        return output

    def draw(self, means: Array, noise: Array, rng: np.random.Generator) -> Array:
        """Add Gaussian noise with standard deviation `noise`."""
        return means + noise * rng.standard_normal(means.shape)

    def error(
        self,
        output: Float[Tensor, "batch *event"],
        target: Float[Tensor, "batch *event"],
        size: Float[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """Return the mean of (mean - target)² over samples and features."""
        error: Tensor = _MeanSquare.apply(self.mean(output, size), target)  # type: ignore[no-untyped-call]
        return error

    def errors(
        self,
        output: Float[Tensor, "rows *event"],
        code_of_sample: Int[Tensor, " batch"],
        sample_target: Float[Tensor, "batch *event"],
        class_target: Float[Tensor, "batch *event"],
        size: Float[Tensor, " batch"],
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """As `Likelihood.errors`, from class sums of the targets instead of a decoded row per sample.

        Output and targets must have the same dtype. In single precision, rounding errors are about 10⁻⁶ of the mean
        square of the targets in the error of the codes, and about 10⁻⁶ of the targets in its gradient.
        """
        each: tuple[Tensor, Tensor] = _MeanSquares.apply(  # type: ignore[no-untyped-call]
            output, code_of_sample, sample_target, class_target
        )
        return each


class Bounded(Gaussian):
    """The decoder ends in tanh × scale, as in both published notebooks; the error is the mean squared error.

    Parameters
    ----------
    n_features
        Unused.
    scale
        Largest absolute value of the data in the model's units: 1 for pixels in [-1, 1], 10 for z-scores.
    """

    def __init__(self, n_features: int = 1, scale: float = 1.0) -> None:
        super().__init__(n_features, scale)
        self.activation = ScaledTanh(scale)

    def draw(self, means: Array, noise: Array, rng: np.random.Generator) -> Array:
        """Return the means unchanged: noise on pixels would not make better images."""
        return means


class Bernoulli(Likelihood):
    """The output is the logit of a probability; the error is the mean cross-entropy in nats per feature."""

    def mean(
        self, output: Float[Tensor, "batch *event"], size: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *event"]:
        """Return sigmoid(output)."""
        return torch.sigmoid(output)

    def draw(self, means: Array, noise: Array, rng: np.random.Generator) -> Array:
        """Draw 0 or 1 with the expected probability."""
        return (rng.random(means.shape) < means).astype(np.float64)

    def error(
        self,
        output: Float[Tensor, "batch *event"],
        target: Float[Tensor, "batch *event"],
        size: Float[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """Return the mean binary cross-entropy over samples and features."""
        return functional.binary_cross_entropy_with_logits(output, target)


class NegativeBinomial(Likelihood):
    """The softmax of the output is each feature's share of a sample's total count; dispersions are learnt per feature.

    Mean μ = size · softmax(output), variance μ + μ²/θ, θ = exp(log_dispersion); the error is the mean negative
    log likelihood in nats per feature. The parametrisation is that of Lopez et al. (Nature Methods 15:1053, 2018).

    Parameters
    ----------
    n_features
        Number of features, each with a dispersion.
    scale
        Unused.
    """

    # A mean would hide how totals and counts vary between samples, from which the dispersion is learnt.
    takes_means = False

    def __init__(self, n_features: int = 1, scale: float = 1.0) -> None:
        super().__init__(n_features, scale)
        self.log_dispersion = nn.Parameter(torch.zeros(n_features))

    def mean(
        self, output: Float[Tensor, "batch *event"], size: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch *event"]:
        """Return size × softmax(output), the expected counts of samples with `size` counts in total."""
        return size[:, None] * torch.softmax(output, dim=1)

    def draw(self, means: Array, noise: Array, rng: np.random.Generator) -> Array:
        """Draw counts from Poisson distributions whose means follow a gamma distribution with the learnt dispersion."""
        dispersion = np.exp(self.log_dispersion.detach().numpy().astype(np.float64))
        return rng.poisson(rng.gamma(dispersion, means / dispersion)).astype(np.float64)

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
    """As `torch.nn.functional.mse_loss`, with the gradient written over the differences to save memory."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, target: Tensor) -> Tensor:
        difference = mean - target
        ctx.save_for_backward(difference)
        return _square_norms(difference).mean() * (len(difference) / difference.numel())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        # In place: PyTorch's version check refuses a second backward pass through the same graph.
        return difference.mul_(gradient * (2 / difference.numel())), None


class _MeanSquares(torch.autograd.Function):
    """Mean squared errors of decoded latents, and of decoded codes against the targets of the samples of their class.

    With C a decoded code, t the n targets of its class and m their mean, Σ‖C - t‖² = n‖C - m‖² + Σ‖t‖² - n‖m‖². The
    gradient is written over the differences to save memory.
    """

    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, code_of_sample: Tensor, sample_target: Tensor, class_target: Tensor
    ) -> tuple[Tensor, Tensor]:
        n = len(sample_target)
        difference = torch.empty_like(mean)
        own, of_codes = difference[:n], difference[n:]
        torch.sub(mean[:n], sample_target, out=own)
        counts = torch.bincount(code_of_sample, minlength=len(of_codes)).to(mean.dtype)
        centers = torch.zeros_like(of_codes).index_add_(0, code_of_sample, class_target)
        centers /= _per_row(counts.clamp_min(1), centers)
        torch.sub(mean[n:], centers, out=of_codes)
        # Summed in double precision, since Σ‖t‖² and n‖m‖² nearly cancel.
        within = _square_norms(class_target).double().sum() - (counts * _square_norms(centers)).double().sum()
        between = (counts * _square_norms(of_codes)).double().sum()
        of_codes *= _per_row(counts, of_codes)
        ctx.save_for_backward(difference)
        ctx.n = n
        ctx.set_materialize_grads(False)
        return _square_norms(own).sum() / own.numel(), ((within.clamp_min(0) + between) / own.numel()).to(mean.dtype)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, own_gradient: Tensor | None, codes_gradient: Tensor | None
    ) -> tuple[Tensor, None, None, None]:
        (difference,) = ctx.saved_tensors
        own, of_codes = difference[: ctx.n], difference[ctx.n :]
        for rows, gradient in ((own, own_gradient), (of_codes, codes_gradient)):
            rows *= 0.0 if gradient is None else gradient * (2 / own.numel())
        return difference, None, None, None


def _square_norms(rows: Tensor) -> Tensor:
    """Return the sum of squares of each row, (n,), as a squared norm, which needs no table of squares."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=tuple(range(1, rows.ndim)))
    return norms.square()


def _per_row(factors: Tensor, rows: Tensor) -> Tensor:
    """Return one factor per row, (n,), in a shape that broadcasts over rows, (n, ...)."""
    return factors.reshape(-1, *(1,) * (rows.ndim - 1))


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "gaussian": Gaussian,
    "bounded": Bounded,
    "bernoulli": Bernoulli,
    "negative_binomial": NegativeBinomial,
}
