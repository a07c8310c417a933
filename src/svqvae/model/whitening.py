"""Whitening of the encoder's input: compress outliers, then equalise the variance of directions within classes."""

from collections.abc import Callable, Iterable
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from svqvae.model.batches import Batches
from svqvae.model.quantizer import class_sums

# Weight by which the within-class covariance is shrunk toward the identity times its mean variance; chosen by hand.
SHRINKAGE = 0.7
# Principal directions whose variance is measured; along all others it is taken to be 0. Chosen by hand.
MAX_RANK = 256
# Rows from which the covariance is measured, with up to 2,000 features and with more: a guard for memory and time,
# 320 MB in double precision with 2,000 features, 160 MB with 20,000.
MAX_ROWS, MAX_FEATURES, MAX_ROWS_WIDE = 20_000, 2_000, 1_000
# Rows that are converted at a time: a guard for memory, 8 MB in double precision with 978 features.
CHUNK = 1024


class Whitening(nn.Module):
    """Compress outliers, then shrink the directions in which samples of a class differ most.

    w = S'^(-1/2) asinh(x), where asinh leaves small values nearly unchanged. S' = (1 - s) S / v + s I is the shrunken
    within-class covariance of regularised discriminant analysis (Friedman, J. Am. Stat. Assoc. 84:165, 1989), with S
    the covariance of asinh(x) within classes, v its mean variance per feature and s = 0.7. Directions in which samples
    of a class differ much, such as dose or batch, say little about the class. S is measured once, before training;
    until then w = asinh(x).

    Parameters
    ----------
    n_features
        Number of input features.
    rank
        Number of directions to measure; None takes at most 256, and with 0, w = asinh(x).

    Examples
    --------
    >>> whitening = Whitening(2)
    >>> whitening.measure(torch.tensor([[0.0, 1.0], [0.0, -1.0], [3.0, 0.1], [3.0, -0.1]]), torch.tensor([0, 0, 1, 1]))
    >>> whitening(torch.tensor([[0.0, 1.0]])).shape
    torch.Size([1, 2])
    """

    axes: Tensor
    gains: Tensor
    gain: Tensor

    def __init__(self, n_features: int, rank: int | None = None) -> None:
        super().__init__()
        rank = min(n_features, MAX_RANK) if rank is None else rank
        self.register_buffer("axes", torch.zeros(n_features, rank))
        self.register_buffer("gains", torch.zeros(rank))
        self.register_buffer("gain", torch.ones(()))

    def measure(self, inputs: Float[Tensor, "n features"], y: Int[Tensor, " n"]) -> None:
        """Measure the covariance within classes.

        Parameters
        ----------
        inputs
            (n, n_features).
        y
            Index of each sample's class, or of a group of samples that should be alike, (n,). A sample that is alone in
            its class does not contribute.
        """
        self.measure_in_parts([(inputs, y)], y, lambda rows: inputs[rows])

    @torch.no_grad()
    def measure_in_parts(
        self, parts: Iterable[tuple[Tensor, Tensor]], y: Int[Tensor, " n"], take: Callable[[Tensor], Tensor]
    ) -> None:
        """Measure the covariance within classes on samples that are not all in memory at once.

        Parameters
        ----------
        parts
            Inputs, (n_part, n_features), and class indices, (n_part,), of all samples in parts.
        y
            Class index of each sample, (n,), as in `measure`.
        take
            Returns the inputs of samples by ascending position, (n_chosen, n_features).
        """
        counts, sums = torch.zeros(2, 1, dtype=torch.float64)
        for inputs, classes in parts:
            part_counts, part_sums = class_sums(asinh(inputs).double(), classes, int(y.max()) + 1)
            counts, sums = counts + part_counts, sums + part_sums
        means = sums / counts.clamp_min(1)[:, None]
        among_others = torch.nonzero(counts[y] > 1).flatten()
        n_features = len(self.axes)
        n_most = MAX_ROWS if n_features <= MAX_FEATURES else MAX_ROWS_WIDE
        picked = torch.linspace(0, max(0, len(among_others) - 1), min(len(among_others), n_most)).round().long()
        chosen = among_others[picked]
        residuals = torch.empty(len(chosen), n_features, dtype=torch.float64)
        for rows, place in zip(torch.split(chosen, CHUNK), torch.split(residuals, CHUNK), strict=True):
            # Each row is part of its class mean, so its squared residual is too small by (n - 1) / n.
            freedom = (1 - 1 / counts[y[rows]]).sqrt()
            place.copy_((asinh(take(rows)).double() - means[y[rows]]) / freedom[:, None])
        squares = torch.stack([part.square().sum() for part in torch.split(residuals, CHUNK)])
        mean_variance = float(squares.sum()) / max(1, residuals.numel())
        if mean_variance == 0:
            return
        variances, axes = _principal_axes(residuals, self.axes.shape[1])
        rank = len(variances)
        # Relative to the mean variance, so that features keep a standard deviation of about 1.
        self.gain.copy_(torch.tensor(SHRINKAGE**-0.5))
        self.gains[:rank] = ((1 - SHRINKAGE) * variances / mean_variance + SHRINKAGE).rsqrt() - SHRINKAGE**-0.5
        self.axes[:, :rank] = axes

    @torch.no_grad()
    def of_all(self, inputs: Float[Tensor, "n features"]) -> Float[Tensor, "n features"]:
        """Return the whitened features of many samples, (n, n_features), in chunks and without gradients."""
        whitened = torch.empty_like(inputs)
        for rows, place in zip(torch.split(inputs, CHUNK), torch.split(whitened, CHUNK), strict=True):
            place.copy_(self(rows))
        return whitened

    def forward(self, inputs: Float[Tensor, "batch features"]) -> Float[Tensor, "batch features"]:
        """Return the whitened features, (batch, n_features)."""
        compressed = asinh(inputs)
        if not len(self.gains):
            return compressed
        along = ((compressed @ self.axes) * self.gains) @ self.axes.T
        return (self.gain * compressed).add_(along)


class WhitenedEncoder(nn.Module):
    """An encoder that reads whitened features.

    Parameters
    ----------
    whitening
        (batch, n_features) to (batch, n_features).
    network
        (batch, n_features) to (batch, latent_dim).
    reads_whitened
        Whether the inputs are whitened already.
    """

    def __init__(self, whitening: Whitening, network: nn.Module, reads_whitened: bool = False) -> None:
        super().__init__()
        self.whitening, self.network, self.reads_whitened = whitening, network, reads_whitened

    def forward(self, inputs: Float[Tensor, "batch features"]) -> Float[Tensor, "batch latent"]:
        """Return the latent of each sample, (batch, latent_dim)."""
        latents: Tensor = self.network(inputs if self.reads_whitened else self.whitening(inputs))
        return latents

    @torch.no_grad()
    def fold(self) -> None:
        """After training, multiply the linear part of the whitening into the first linear layer, in place.

        Latents change by rounding only. The whitening is then just asinh, which saves a third of the multiplications of
        the default encoder at 978 features (benchmarks/NOTES.md).
        """
        first = next(layer for layer in self.network.modules() if isinstance(layer, nn.Linear))
        weight, axes, gains = first.weight.double(), self.whitening.axes.double(), self.whitening.gains.double()
        first.weight.copy_(self.whitening.gain * weight + (weight @ axes * gains) @ axes.T)
        self.whitening = Whitening(first.in_features, rank=0).to(first.weight.dtype)


def measure_whitening(whitening: Whitening, batches: Batches, others: tuple[Tensor, Tensor] | None = None) -> None:
    """Measure a whitening, in place, on training samples and optionally on unlabelled samples.

    Parameters
    ----------
    whitening
        The whitening.
    batches
        Training samples.
    others
        Inputs, (n_others, n_features), and group indices, (n_others,), of unlabelled samples, or None. A group has no
        index of a class.
    """
    parts = ((batch.inputs, batch.y) for batch in batches.once())
    if others is None:
        whitening.measure_in_parts(parts, batches.y, lambda rows: batches.take(rows).inputs)
        return
    inputs, groups = others
    n = len(batches.y)

    def take(rows: Tensor) -> Tensor:
        return torch.cat([batches.take(rows[rows < n]).inputs, inputs[rows[rows >= n] - n]])

    whitening.measure_in_parts(chain(parts, [others]), torch.cat([batches.y, groups]), take)


def asinh(x: Tensor) -> Tensor:
    """Return asinh(x) = sign(x) log(1 + |x| + x² / (1 + √(1 + x²))) for finite x of any shape.

    Its operations are vectorised, unlike `torch.asinh`. Where x² overflows, for |x| above 1.8·10¹⁹ in single precision,
    the result is sign(x) log(1 + |x|), too small by log 2.

    Examples
    --------
    >>> asinh(torch.tensor([0.0, 1.0, -10.0]))
    tensor([ 0.0000,  0.8814, -2.9982])
    """
    # With gradients and in ONNX, which has no copysign, torch's own is used.
    if x.requires_grad or torch.compiler.is_compiling():
        return torch.asinh(x)
    size = x.abs()
    part = size / x.square().add_(1).sqrt_().add_(1)
    return torch.addcmul(size, size, part).log1p_().copysign_(x)


def _principal_axes(residuals: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the variances along the principal axes in descending order, and the axes, (n_features, at most rank)."""
    n, n_features = residuals.shape
    if n < n_features:
        values, left = torch.linalg.eigh(residuals @ residuals.T)
        kept = values > 1e-9 * values.max()
        values = values[kept]
        axes = residuals.T @ (left[:, kept] / values.sqrt())
    else:
        values, axes = torch.linalg.eigh(residuals.T @ residuals)
    return values.clamp_min(0).flip(0)[:rank] / n, axes.flip(1)[:, :rank]
