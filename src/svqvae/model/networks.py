"""Pairs of encoder and decoder: dense for tables, convolutional for images, and the two published pairs."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod, sqrt

import torch
from torch import Tensor, nn

Pair = tuple[nn.Module, nn.Module]


def dense(n_features: int, latent_dim: int, hidden: Sequence[int], n_outputs: int, dropout: float = 0.0) -> Pair:
    """Build a dense encoder and a decoder that mirrors it.

    Parameters
    ----------
    n_features
        Number of input features.
    latent_dim
        Number of latent dimensions.
    hidden
        Widths of the encoder's hidden layers; the decoder has them in reverse. If empty, each is one linear layer.
    n_outputs
        Number of decoder outputs.
    dropout
        Probability with which an input feature is set to 0 in training.

    Returns
    -------
    tuple of torch.nn.Module
        The encoder, (batch, n_features) to (batch, latent_dim), and the decoder, (batch, latent_dim) to
        (batch, n_outputs). No layer mixes the rows of a batch, so a code decodes the same alone or among others.

    Examples
    --------
    >>> encoder, decoder = dense(978, 64, (256,), 978)
    >>> decoder[-1].out_features
    978
    """
    widths = [n_features, *hidden]
    encoder: list[nn.Module] = [nn.Dropout(dropout)] if dropout else []
    for n_in, n_out in pairwise(widths):
        encoder += [nn.Linear(n_in, n_out), nn.LayerNorm(n_out), nn.GELU()]
    widths = [latent_dim, *reversed(hidden)]
    decoder: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        decoder += [nn.Linear(n_in, n_out), nn.LayerNorm(n_out), nn.GELU()]
    encoder.append(nn.Linear(hidden[-1] if hidden else n_features, latent_dim))
    decoder.append(nn.Linear(widths[-1], n_outputs))
    return nn.Sequential(*encoder), nn.Sequential(*decoder)


def convolutional(image_shape: tuple[int, int, int], latent_dim: int) -> Pair:
    """Build a convolutional pair for small images, such as digits of 8×8 or 28×28 pixels.

    The encoder has batch normalisation; the decoder has none, since a batch mixes latents and codes, and each must
    decode as it does alone. The layers were chosen on validation digits of MNIST (docs/defaults.md).

    Parameters
    ----------
    image_shape
        Channels, height and width; each side at least 4.
    latent_dim
        Number of latent dimensions.

    Returns
    -------
    tuple of torch.nn.Module
        The encoder, (batch, channels, height, width) to (batch, latent_dim), and the decoder back.

    Raises
    ------
    ValueError
        A side is below 4.
    """
    channels, height, width = image_shape
    if min(height, width) < 4:
        raise ValueError(
            f"`X` must hold images of at least 4×4 pixels for architecture='conv'; got {height}×{width}. "
            "Use architecture='dense' with flat rows."
        )
    # Large: 1×28×28 → 32×14×14 → 64×7×7 → 128×7×7 → 128×4×4. Small: 1×8×8 → 32×8×8 → 64×4×4 → 64×4×4 → 128×2×2.
    is_large = min(height, width) >= 16
    layers = (
        [(32, 5, 2), (64, 3, 2), (128, 3, 1), (128, 3, 2)]
        if is_large
        else [(32, 3, 1), (64, 3, 2), (64, 3, 1), (128, 3, 2)]
    )
    encoder: list[nn.Module] = []
    n_in, side_h, side_w = channels, height, width
    for n_out, kernel, stride in layers:
        encoder += [nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]
        n_in, side_h, side_w = n_out, -(-side_h // stride), -(-side_w // stride)
    encoder += [nn.Flatten(), nn.Linear(n_in * side_h * side_w, latent_dim)]

    factor = 4 if is_large else 2
    start = (64, -(-height // factor), -(-width // factor))
    decoder: list[nn.Module] = [nn.Linear(latent_dim, prod(start)), nn.ReLU(), nn.Unflatten(1, start)]
    decoder += [nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU()]
    if is_large:
        decoder += [nn.ConvTranspose2d(32, channels, 4, 2, 1)]
    else:
        decoder += [nn.Conv2d(32, channels, 3, 1, 1)]
    decoder += [Crop(height, width)]
    return nn.Sequential(*encoder), nn.Sequential(*decoder)


class Tanh(nn.Tanh):
    """tanh in single precision or better: in bfloat16 it is coarser and takes six times as long on processors."""

    def forward(self, values: Tensor) -> Tensor:
        """Return tanh(values), of any shape."""
        if values.dtype.itemsize >= torch.float32.itemsize:
            return torch.tanh(values)
        return values.float().tanh_()


class ScaledTanh(Tanh):
    """tanh times a factor, in single precision or better.

    Parameters
    ----------
    scale
        Largest absolute value of the output.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, values: Tensor) -> Tensor:
        """Return scale × tanh(values), of any shape."""
        return self.scale * super().forward(values)


class Crop(nn.Module):
    """Crop images to a height and a width, for sides that are not a multiple of the decoder's strides."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, images: Tensor) -> Tensor:
        """Return images of shape (batch, channels, height, width), cropped at the bottom and on the right."""
        return images[..., : self.height, : self.width]


def published_mnist() -> Pair:
    """Build the networks of the authors' MNIST notebook, for 1×28×28 images and 3,200 latent dimensions.

    The final Tanh of the notebook's decoder is in `likelihood.Bounded` here. Transposed convolutions are initialised
    as in PyTorch 0.4, which the notebook ran on: uniform in ±1/√(input channels × kernel area). Later versions use the
    output channels instead, which for the last layer makes ±0.2 of ±0.04.

    Source: arXiv:1909.11124 and its MNIST notebook.
    """
    encoder = nn.Sequential(nn.Conv2d(1, 20, 5, 2), nn.ReLU(), nn.Conv2d(20, 50, 5), nn.ReLU(), nn.Flatten(), Tanh())
    first, last = nn.ConvTranspose2d(50, 20, 3, 3), nn.ConvTranspose2d(20, 1, 5)
    for layer in (first, last):
        bound = 1 / sqrt(layer.in_channels * prod(layer.kernel_size))
        for weight in layer.parameters():
            nn.init.uniform_(weight, -bound, bound)
    return encoder, nn.Sequential(nn.Unflatten(1, (50, 8, 8)), first, nn.ReLU(), last)


def published_lincs(n_features: int, latent_dim: int) -> Pair:
    """Build the networks of the authors' LINCS notebook: one linear layer each, with a Tanh after the encoder's.

    The final 10 × Tanh of the notebook's decoder is in `likelihood.Bounded` with a scale of 10 here. The notebook has
    978 features and 1,000 latent dimensions.

    Source: arXiv:1909.11124 and its LINCS notebook.
    """
    encoder = nn.Sequential(nn.Linear(n_features, latent_dim), Tanh())
    return encoder, nn.Sequential(nn.Linear(latent_dim, n_features))
