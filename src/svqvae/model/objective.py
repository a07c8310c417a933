"""The objectives: loss terms and their weights, with the codebook, the optimiser and the settling that go with them.

Pure functions compute named, unweighted loss terms from a module's output; the classes weight them.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from svqvae.model.batches import Batch, ModuleOutput
from svqvae.model.likelihood import Likelihood
from svqvae.model.quantizer import ClassMeanCodes, GradientCodes
from svqvae.model.recipe import Recipe

ObjectiveName = Literal["prototype", "published", "vqvae"]
LossTerms = dict[str, Tensor]
Optimization = tuple[Optimizer, LRScheduler]
# Share of the steps in which the learning rate of the prototype objective rises. Chosen by hand.
RISE = 0.2
# While the decoder settles: factor of the learning rate, and bounds of the number of classes as a weight of the error
# of the decoded codes. Chosen by hand, so that the codes of rare classes decode to their means with 10 to 75 classes.
SETTLING_RATE, MIN_CLASSES, MAX_CLASSES = 1 / 3, 10, 40
# Gradients of the label term at its logits are set to 0 up to this size; chosen by hand, well above subnormal numbers,
# which are below 10⁻³⁸ (benchmarks/NOTES.md).
SMALLEST_GRADIENT = 1e-30


@dataclass(frozen=True)
class Objective(ABC):
    """What training minimises; the subclasses below are in `OBJECTIVES` by name.

    Attributes
    ----------
    weights
        Weight of each term, by name.
    """

    weights: dict[str, float]

    # The type of codebook.
    codebook: ClassVar[type[GradientCodes | ClassMeanCodes]] = GradientCodes
    # Whether the code of its class represents a sample; if not, the nearest code does.
    is_supervised: ClassVar[bool] = True
    # Whether the decoder is trained on latents too, not on codes alone.
    decodes_latents: ClassVar[bool] = False
    # Whether built-in encoders end in tanh, which bounds latents that the divergence terms would drive off.
    bounds_latents: ClassVar[bool] = True
    # Whether built-in dense encoders read whitened features.
    whitens: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def of(cls, recipe: Recipe) -> "Objective":
        """Return the objective with the weights in a recipe."""

    @abstractmethod
    def terms(self, output: ModuleOutput, batch: Batch, likelihood: Likelihood) -> LossTerms:
        """Return the unweighted loss terms by name."""

    def total(self, terms: LossTerms) -> Tensor:
        """Return the loss, Σ weight × term."""
        return torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()

    def optimize(self, module: nn.Module, learning_rate: float, weight_decay: float, n_steps: int) -> Optimization:
        """Return the optimiser of the whole network and its learning rate schedule.

        Here: Adam with amsgrad at a constant rate, as published.

        Parameters
        ----------
        module
            The network.
        learning_rate, weight_decay
            Largest learning rate, and weight decay where the objective has it.
        n_steps
            Number of optimiser steps.
        """
        optimizer = Adam(module.parameters(), learning_rate, amsgrad=True, fused=True)
        return optimizer, LambdaLR(optimizer, lambda _: 1.0)

    def settling_weight(self, n_classes: int) -> float | None:
        """Return the weight of `code_error` while the decoder settles, or None if the objective has no settling."""
        return None


@dataclass(frozen=True)
class Prototype(Objective):
    """The default objective, see `prototype`.

    Attributes
    ----------
    temperature
        Divisor of the squared distances in the label term.
    label_smoothing
        Share of each label that is spread evenly over all classes.
    """

    temperature: float = 1.0
    label_smoothing: float = 0.0

    codebook: ClassVar[type[GradientCodes | ClassMeanCodes]] = ClassMeanCodes
    decodes_latents: ClassVar[bool] = True
    bounds_latents: ClassVar[bool] = False
    whitens: ClassVar[bool] = True

    @classmethod
    def of(cls, recipe: Recipe) -> "Prototype":
        """Return the objective with the weights in a recipe."""
        schedule = recipe.schedule
        weights = {
            "sample_reconstruction": schedule.w_sample,
            "class_reconstruction": schedule.w_class,
            "label": schedule.w_label,
            "commitment": schedule.commitment_cost,
        }
        return cls(weights, recipe.design.temperature, schedule.label_smoothing)

    def terms(self, output: ModuleOutput, batch: Batch, likelihood: Likelihood) -> LossTerms:
        """Return the four terms of `prototype`."""
        return prototype(output, likelihood, batch, self.temperature, self.label_smoothing)

    def optimize(self, module: nn.Module, learning_rate: float, weight_decay: float, n_steps: int) -> Optimization:
        """Return AdamW, whose learning rate rises for a fifth of the steps and then falls to 0."""
        optimizer = AdamW(module.parameters(), learning_rate, weight_decay=weight_decay, fused=True)
        return optimizer, LambdaLR(optimizer, lambda step: one_cycle((step + 1) / (n_steps + 1)))

    def settling_weight(self, n_classes: int) -> float:
        """Return `w_class` × min(max(K, 10), 40).

        While settling, this times the mean error of each decoded code against its class mean is added to the loss, so
        that the codes of rare classes decode to their means as well.
        """
        return min(max(n_classes, MIN_CLASSES), MAX_CLASSES) * self.weights["class_reconstruction"]


@dataclass(frozen=True)
class Published(Objective):
    """The published objective, see `published`."""

    @classmethod
    def of(cls, recipe: Recipe) -> "Published":
        """Return the objective with the weights in a recipe."""
        schedule = recipe.schedule
        weights = {"reconstruction": 1.0, "codebook": 1.0, "commitment": schedule.commitment_cost}
        return cls(weights | {"codebook_divergence": -1.0, "divergence": -schedule.divergence_cost})

    def terms(self, output: ModuleOutput, batch: Batch, likelihood: Likelihood) -> LossTerms:
        """Return the five terms of `published`."""
        return published(output, likelihood, batch)


@dataclass(frozen=True)
class VQVAE(Objective):
    """The unsupervised VQ-VAE, the published baseline, see `vqvae`."""

    is_supervised: ClassVar[bool] = False

    @classmethod
    def of(cls, recipe: Recipe) -> "VQVAE":
        """Return the objective with the weights in a recipe."""
        return cls({"reconstruction": 1.0, "codebook": 1.0, "commitment": recipe.schedule.commitment_cost})

    def terms(self, output: ModuleOutput, batch: Batch, likelihood: Likelihood) -> LossTerms:
        """Return the three terms of `vqvae`."""
        return vqvae(output, likelihood, batch)


OBJECTIVES: dict[str, type[Objective]] = {"prototype": Prototype, "published": Published, "vqvae": VQVAE}


def optimize_decoder(module: nn.Module, learning_rate: float, n_steps: int) -> Optimization:
    """Freeze the encoder; return an optimiser of decoder and likelihood and its schedule for settling.

    Adam at a third of the learning rate, which falls linearly to 0 over `n_steps`.
    """
    module.get_submodule("encoder").requires_grad_(False)
    parts = (module.get_submodule("decoder"), module.get_submodule("likelihood"))
    optimizer = Adam([weight for part in parts for weight in part.parameters()], SETTLING_RATE * learning_rate)
    return optimizer, LambdaLR(optimizer, lambda step: max(0.0, 1 - step / n_steps))


def one_cycle(progress: float) -> float:
    """Return the factor of the learning rate at a progress in [0, 1]: a cosine up over the first fifth, then down.

    Examples
    --------
    >>> [round(one_cycle(progress), 2) for progress in (0.0, 0.1, 0.2, 0.6, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if progress < RISE:
        return (1 - math.cos(math.pi * progress / RISE)) / 2
    return (1 + math.cos(math.pi * (progress - RISE) / (1 - RISE))) / 2


def published(
    output: ModuleOutput,
    likelihood: Likelihood,
    batch: Batch,
) -> LossTerms:
    """Compute the five terms of the published objective.

    With z a latent, e_y the code of its class, e_n its nearest code, I = 1 where n ≠ y and else 0, sg the stop
    gradient, and means over samples and dimensions::

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
    """Compute the three terms of the unsupervised VQ-VAE, the baseline of the published notebooks.

    They are the first three of `published` with the nearest code e_n in place of e_y.

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

    With E the class-mean codes, which get no gradient, d the squared distance in the model's geometry, and sg the stop
    gradient::

        sample_reconstruction   error(decoder(z), x)
        class_reconstruction    error(decoder(e_y), x)
        label                   cross-entropy(softmax(-d(z, E) / temperature), t_y), in nats
        commitment              mean((z - sg e_y)²)

    The smoothed label t_y is 1 - label_smoothing for class y plus label_smoothing / K for each of the K classes
    (Szegedy et al., arXiv:1512.00567). The label term is from Yang et al., arXiv:1805.03438.

    The two targets x differ where training images are shifted: that of the latent is shifted, that of the code is not.

    Raises
    ------
    ValueError
        The output has no decoded latents.
    """
    if output.code_of_sample is None:
        raise ValueError("`output` must hold decoded latents for the prototype objective; got none.")
    sample_error, class_error = likelihood.errors(
        output.decoded, output.code_of_sample, batch.sample_target, batch.class_target, batch.size
    )
    logits = output.distances * (-1 / temperature)
    if logits.requires_grad:
        # With thousands of classes and no label smoothing, most gradients are subnormal numbers, which processors
        # multiply a hundred times slower (benchmarks/NOTES.md).
        logits.register_hook(partial(functional.hardshrink, lambd=SMALLEST_GRADIENT))  # type: ignore[no-untyped-call]
    return {
        "sample_reconstruction": sample_error,
        "class_reconstruction": class_error,
        "label": functional.cross_entropy(logits, batch.y, label_smoothing=label_smoothing),
        "commitment": _mean_square_each_way(output.codes, batch.y, output.latents)[1],
    }


def code_error(output: ModuleOutput, likelihood: Likelihood, class_means: Tensor) -> Tensor:
    """Return the mean over classes of error(decoder(e_k), mean of class k), each class counting once.

    Parameters
    ----------
    output
        Output of a module with class-mean codes, all decoded.
    likelihood
        A likelihood with `takes_means`.
    class_means
        Mean target of each class, (classes, ...).

    Raises
    ------
    ValueError
        Not all codes are decoded.
    """
    if output.code_output is None:
        raise ValueError("`output` must hold all codes decoded; got none.")
    return likelihood.error(output.code_output, class_means, class_means.new_ones(len(class_means)))


def _mean_square_each_way(
    codes: Tensor, which: Tensor, latents: Tensor, counts: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return mean((e - sg z)²) and mean((sg e - z)²), which differ only in their gradients.

    Parameters
    ----------
    codes
        (classes, latent).
    which
        Index of the code e of each sample, (batch,).
    latents
        z, (batch, latent).
    counts
        Whether each sample counts, (batch,); None if all do.
    """
    each_way: tuple[Tensor, Tensor] = _MeanSquareEachWay.apply(codes, which, latents, counts)  # type: ignore[no-untyped-call]
    return each_way


class _MeanSquareEachWay(torch.autograd.Function):
    """Both terms from one table of differences, over which the gradient of the latents is written to save memory."""

    @staticmethod
    def forward(
        ctx: Any, codes: Tensor, which: Tensor, latents: Tensor, counts: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        difference = codes.index_select(0, which).sub_(latents)
        # Squared norms, which need no table of squares.
        squares = torch.linalg.vector_norm(difference, dim=1).square()
        if counts is not None:
            squares = squares * counts
            # Samples that do not count are summed in an extra row, which is dropped.
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
            # In place: PyTorch's version check refuses a second backward pass through the same graph.
            to_latents = difference.mul_(factor if counts is None else (factor * counts)[:, None])
        return to_codes, None, to_latents, None
