"""What the encoder of tables reads: features without outliers, equally wide in all directions within classes."""

from collections.abc import Callable, Iterable
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from svqvae.model.batches import Batches
from svqvae.model.quantizer import class_sums

# Share of the within-class covariance that is replaced by a sphere of the same mean variance.
SHRINKAGE = 0.7
# Directions whose variance is measured; along the others it is taken to be the same.
MAX_RANK = 256
# Rows that are enough to know the covariance of up to so many features, and rows looked at where there are more.
MAX_ROWS, MAX_FEATURES, MAX_ROWS_WIDE = 20_000, 2_000, 1_000
# Rows that are worked on at a time.
CHUNK = 1024


class Whitening(nn.Module):
    """Bring outliers near, then shrink the directions in which samples of a class differ most.

    w = S'^(-1/2) asinh(x). The inverse hyperbolic sine leaves small values as they are. S' = (1 - s) S / v + s I is the
    shrunken within-class covariance of regularised discriminant analysis (Friedman, J. Am. Stat. Assoc. 84:165, 1989),
    with v the mean variance of a feature within classes: directions in which samples of one class differ much, such as
    dose or batch, tell little of the class. It is measured once, before training; until then w = asinh(x).

    Parameters
    ----------
    n_features
        Number of input features, p.
    rank
        Number of directions to measure; with none, w = asinh(x).
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
        """Measure the directions.

        Parameters
        ----------
        inputs
            (n, n_features).
        y
            Class of each sample, or anything else that samples which should be alike have in common, (n,). Of one that
            is alone nothing is learnt.
        """
        self.measure_in_parts([(inputs, y)], y, lambda rows: inputs[rows])

    @torch.no_grad()
    def measure_in_parts(
        self, parts: Iterable[tuple[Tensor, Tensor]], y: Int[Tensor, " n"], take: Callable[[Tensor], Tensor]
    ) -> None:
        """Measure the directions on samples that are not in memory all at once.

        Parameters
        ----------
        parts
            Inputs, (n_part, n_features), and class, (n_part,), of all samples, part by part.
        y
            Class of each sample, (n,), as for `measure`.
        take
            Returns inputs of some samples, by rising positions.
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
            # A mean that a row has a share in is too near to it: n - 1 instead of n.
            freedom = (1 - 1 / counts[y[rows]]).sqrt()
            place.copy_((asinh(take(rows)).double() - means[y[rows]]) / freedom[:, None])
        squares = torch.stack([part.square().sum() for part in torch.split(residuals, CHUNK)])
        mean_variance = float(squares.sum()) / max(1, residuals.numel())
        if mean_variance == 0:
            return
        variances, axes = _principal_axes(residuals, self.axes.shape[1])
        rank = len(variances)
        # Relative to the mean variance, so that features keep a width of about one.
        self.gain.copy_(torch.tensor(SHRINKAGE**-0.5))
        self.gains[:rank] = ((1 - SHRINKAGE) * variances / mean_variance + SHRINKAGE).rsqrt() - SHRINKAGE**-0.5
        self.axes[:, :rank] = axes

    @torch.no_grad()
    def of_all(self, inputs: Float[Tensor, "n features"]) -> Float[Tensor, "n features"]:
        """Return the whitened features of many samples, without gradients."""
        whitened = torch.empty_like(inputs)
        for rows, place in zip(torch.split(inputs, CHUNK), torch.split(whitened, CHUNK), strict=True):
            place.copy_(self(rows))
        return whitened

    def forward(self, inputs: Float[Tensor, "batch features"]) -> Float[Tensor, "batch features"]:
        """Return the whitened features."""
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
        Whether what comes in is whitened already.
    """

    def __init__(self, whitening: Whitening, network: nn.Module, reads_whitened: bool = False) -> None:
        super().__init__()
        self.whitening, self.network, self.reads_whitened = whitening, network, reads_whitened

    def forward(self, inputs: Float[Tensor, "batch features"]) -> Float[Tensor, "batch latent"]:
        """Return the latent of each sample."""
        latents: Tensor = self.network(inputs if self.reads_whitened else self.whitening(inputs))
        return latents

    @torch.no_grad()
    def fold(self) -> None:
        """Let the first linear layer do what the whitening does after asinh, once nothing is trained any more.

        The latents are the same but for rounding, in half of the arithmetic or less. The whitening is then one without
        directions.
        """
        first = next(layer for layer in self.network.modules() if isinstance(layer, nn.Linear))
        weight, axes, gains = first.weight.double(), self.whitening.axes.double(), self.whitening.gains.double()
        first.weight.copy_(self.whitening.gain * weight + (weight @ axes * gains) @ axes.T)
        self.whitening = Whitening(first.in_features, rank=0).to(first.weight.dtype)


def measure_whitening(whitening: Whitening, batches: Batches, others: tuple[Tensor, Tensor] | None = None) -> None:
    """Measure the directions on training samples, and on others besides.

    Parameters
    ----------
    whitening
        Changed in place.
    batches
        Training samples.
    others
        Inputs, (n_others, n_features), and the group of each, (n_others,), whose numbers are none of a class; or None.
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
    """Return asinh(x) = sign(x) log(1 + |x| + x² / (1 + √(1 + x²))), of finite x.

    Its operations are vectorised, which `torch.asinh` is not. Where x² overflows, from 1.8·10¹⁹ on in single precision,
    the result is sign(x) log(1 + |x|), too small by log 2.
    """
    # ONNX knows no copysign.
    if x.requires_grad or torch.compiler.is_compiling():
        return torch.asinh(x)
    size = x.abs()
    part = size / x.square().add_(1).sqrt_().add_(1)
    return torch.addcmul(size, size, part).log1p_().copysign_(x)


def _principal_axes(residuals: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the variances along the principal axes, largest first, and the axes, (n_features, at most rank)."""
    n, n_features = residuals.shape
    if n < n_features:
        values, left = torch.linalg.eigh(residuals @ residuals.T)
        kept = values > 1e-9 * values.max()
        values = values[kept]
        axes = residuals.T @ (left[:, kept] / values.sqrt())
    else:
        values, axes = torch.linalg.eigh(residuals.T @ residuals)
    return values.clamp_min(0).flip(0)[:rank] / n, axes.flip(1)[:, :rank]
