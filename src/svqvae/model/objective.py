"""The objectives: pure functions from a module's output to named, unweighted loss terms."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from svqvae.model.batches import Batch
from svqvae.model.likelihood import Likelihood
from svqvae.model.module import ModuleOutput

Objective = Literal["prototype", "published", "vqvae"]
LossTerms = dict[str, Tensor]
# Gradients of the label term at its logits up to this size become zero.
SMALLEST_GRADIENT = 1e-30


@dataclass(frozen=True)
class Loss:
    """An objective with its weights.

    Attributes
    ----------
    objective
        Which function below gives the terms.
    weights
        Weight of each term, by name.
    temperature
        Temperature of the label term of the prototype objective.
    label_smoothing
        Share of each label that its label term spreads evenly over all classes.
    """

    objective: Objective
    weights: Mapping[str, float]
    temperature: float = 1.0
    label_smoothing: float = 0.0

    def terms(self, output: ModuleOutput, batch: Batch, likelihood: Likelihood) -> LossTerms:
        """Return the unweighted terms of the objective, by name."""
        if self.objective == "published":
            return published(output, likelihood, batch)
        if self.objective == "vqvae":
            return vqvae(output, likelihood, batch)
        return prototype(output, likelihood, batch, self.temperature, self.label_smoothing)

    def total(self, terms: LossTerms) -> Tensor:
        """Return Σ weight × term."""
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()


def published(
    output: ModuleOutput,
    likelihood: Likelihood,
    batch: Batch,
) -> LossTerms:
    """Compute the five terms of the published objective.

    With z a latent, e_y the code of its class, e_n the code nearest to it, I = 1 where n ≠ y, and sg the stop of
    the gradient, all means over samples and dimensions::

        reconstruction        error(decoder(z + sg(e_y - z)), x)
        codebook              mean((e_y - sg z)²)
        commitment            mean((sg e_y - z)²)
        codebook_divergence   mean(I (e_n - sg z)²)
        divergence            mean(I (sg e_n - z)²)

    The published weights are 1, 1, commitment_cost = 0.25, -1 and -divergence_cost = -0.1. Source:
    arXiv:1909.11124 and its notebooks, where the last four are q_latent, e_latent, x_latent and d_latent loss.
    """
    z, y = output.latents, batch.y
    nearest = output.distances.argmin(1)
    codebook, commitment = _mean_square_each_way(output.codes, y, z)
    codebook_divergence, divergence = _mean_square_each_way(output.codes, nearest, z, nearest != y)
    return {
        "reconstruction": likelihood.error(output.class_output, batch.class_target, batch.size),
        "codebook": codebook,
        "commitment": commitment,
        "codebook_divergence": codebook_divergence,
        "divergence": divergence,
    }


def vqvae(
    output: ModuleOutput,
    likelihood: Likelihood,
    batch: Batch,
) -> LossTerms:
    """Compute the terms of the unsupervised VQ-VAE, the notebooks' baseline: the nearest code in the place of e_y.

    Source: van den Oord et al., arXiv:1711.00937, equation 3.
    """
    codebook, commitment = _mean_square_each_way(output.codes, output.distances.argmin(1), output.latents)
    return {
        "reconstruction": likelihood.error(output.class_output, batch.class_target, batch.size),
        "codebook": codebook,
        "commitment": commitment,
    }


def prototype(
    output: ModuleOutput,
    likelihood: Likelihood,
    batch: Batch,
    temperature: float,
    label_smoothing: float = 0.0,
) -> LossTerms:
    """Compute the four terms of the default objective.

    With E the class-mean codes, which get no gradient, and d the squared distance of the model's geometry::

        sample_reconstruction   error(decoder(z), x)
        class_reconstruction    error(decoder(e_y), x)
        label                   cross-entropy(softmax(-d(z, E) / temperature), t_y), in nats
        commitment              mean((z - sg e_y)²)

    where t_y is 1 - label_smoothing for class y and label_smoothing / K more for every class, so that no sample needs
    to be infinitely sure (Szegedy et al., arXiv:1512.00567).

    The two targets of a batch differ where training images are shifted: a latent regenerates what the
    encoder saw, a code what the data hold. Source of the label term: Yang et al., arXiv:1805.03438.
    """
    if output.code_of_sample is None:
        raise ValueError("`output` must hold decoded latents for the prototype objective; got none.")
    sample_error, class_error = likelihood.errors(
        output.decoded, output.code_of_sample, batch.sample_target, batch.class_target, batch.size
    )
    logits = output.distances * (-1 / temperature)
    if logits.requires_grad:
        # Without label smoothing most of thousands of classes have a subnormal gradient, which processors multiply a
        # hundred times slower.
        logits.register_hook(partial(functional.hardshrink, lambd=SMALLEST_GRADIENT))  # type: ignore[no-untyped-call]
    return {
        "sample_reconstruction": sample_error,
        "class_reconstruction": class_error,
        "label": functional.cross_entropy(logits, batch.y, label_smoothing=label_smoothing),
        "commitment": _mean_square_each_way(output.codes, batch.y, output.latents)[1],
    }


def code_error(output: ModuleOutput, likelihood: Likelihood, class_means: Tensor) -> Tensor:
    """Return the mean over classes of error(decoder(e_k), mean of class k), however many samples a class has.

    Parameters
    ----------
    output
        Of a module with class-mean codes.
    likelihood
        One that takes means.
    class_means
        Mean of each class's samples as the decoder should give it, (classes, ...).
    """
    if output.code_output is None:
        raise ValueError("`output` must hold all codes decoded; got none.")
    return likelihood.error(output.code_output, class_means, class_means.new_ones(len(class_means)))


def _mean_square_each_way(
    codes: Tensor, which: Tensor, latents: Tensor, counts: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return mean((e - sg z)²) and mean((sg e - z)²), which differ in their gradients only.

    Parameters
    ----------
    codes
        (classes, latent).
    which
        Index of the code e of each sample, (batch,).
    latents
        z, (batch, latent).
    counts
        Whether a sample counts, (batch,); None where all do.
    """
    each_way: tuple[Tensor, Tensor] = _MeanSquareEachWay.apply(codes, which, latents, counts)  # type: ignore[no-untyped-call]
    return each_way


class _MeanSquareEachWay(torch.autograd.Function):
    """One table of differences for both terms, and then for the gradient of the latents."""

    @staticmethod
    def forward(
        ctx: Any, codes: Tensor, which: Tensor, latents: Tensor, counts: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        difference = codes.index_select(0, which).sub_(latents)
        # By norms, since those make no table of squares.
        squares = torch.linalg.vector_norm(difference, dim=1).square()
        if counts is not None:
            squares = squares * counts
            # Those that do not count are added up in a row of their own.
            which = torch.where(counts, which, len(codes))
        ctx.save_for_backward(difference, which, counts)
        ctx.n_codes = len(codes)
        ctx.set_materialize_grads(False)
        mean = squares.mean() / difference.shape[1]
        return mean, mean.clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, codes_gradient: Tensor | None, latents_gradient: Tensor | None
    ) -> tuple[Tensor | None, None, Tensor | None, None]:
        difference, which, counts = ctx.saved_tensors
        scale = 2 / difference.numel()
        to_codes = to_latents = None
        if codes_gradient is not None:
            sums = difference.new_zeros(ctx.n_codes + 1, difference.shape[1]).index_add_(0, which, difference)
            to_codes = sums[:-1].mul_(scale * codes_gradient)
        if latents_gradient is not None:
            factor = -scale * latents_gradient
            # In place: a second backward pass through the same graph is refused by the check of versions.
            to_latents = difference.mul_(factor if counts is None else (factor * counts)[:, None])
        return to_codes, None, to_latents, None
