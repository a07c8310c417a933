"""Batches of training data; their order is a function of the seed and the epoch alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Batch:
    """Samples as the module sees them.

    Attributes
    ----------
    inputs
        What the encoder reads, (batch, ...).
    sample_target
        What the decoded latent is held against, (batch, ...).
    class_target
        What the decoded code is held against, (batch, ...).
    size
        Total count of each sample, (batch,); used by the count likelihood only.
    y
        Class index of each sample, (batch,).
    """

    inputs: Float[Tensor, "batch *event"]
    sample_target: Float[Tensor, "batch *event"]
    class_target: Float[Tensor, "batch *event"]
    size: Float[Tensor, " batch"]
    y: Int[Tensor, " batch"]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return Batch(
            self.inputs.to(device),
            self.sample_target.to(device),
            self.class_target.to(device),
            self.size.to(device),
            self.y.to(device),
        )


@runtime_checkable
class Batches(Protocol):
    """Training data in batches, wherever they stand.

    Attributes
    ----------
    y
        Class index of each sample, (n,).
    n_batches
        Number of batches of an epoch.
    """

    y: Tensor
    n_batches: int

    def epoch(self, epoch: int, is_augmented: bool = True) -> Iterator[Batch]:
        """Yield every sample once, shuffled, and shifted where `is_augmented`."""

    def once(self) -> Iterator[Batch]:
        """Yield every sample once, in order and as it is."""

    def take(self, rows: Tensor) -> Batch:
        """Return some of the samples as they are, by positions in rising order."""


class MemoryBatches:
    """Batches of data that stand in memory.

    Parameters
    ----------
    inputs
        What the encoder reads, (n, ...).
    target
        What the decoder regenerates, (n, ...); the same tensor as `inputs` but for counts.
    y
        Class index of each sample, (n,).
    batch_size
        Largest batch; the batches of an epoch differ in size by at most one sample.
    seed
        Seed of the order and of the shifts.
    max_shift
        Images are moved by up to this many pixels each way, drawn anew each epoch, the border continued outward.

    Examples
    --------
    >>> batches = MemoryBatches(torch.zeros(5, 2), torch.zeros(5, 2), torch.arange(5), batch_size=2, seed=0)
    >>> [len(batch.y) for batch in batches.epoch(0)]
    [2, 2, 1]
    """

    def __init__(
        self,
        inputs: Float[Tensor, "n *event"],
        target: Float[Tensor, "n *event"],
        y: Int[Tensor, " n"],
        batch_size: int,
        seed: int,
        max_shift: int = 0,
    ) -> None:
        self.inputs, self.target, self.y = inputs, target, y
        self.size = target.flatten(1).sum(1) if inputs is not target else torch.ones(len(y), dtype=inputs.dtype)
        self.n_batches = -(-len(y) // batch_size)
        self.seed, self.max_shift = seed, max_shift

    def epoch(self, epoch: int, is_augmented: bool = True) -> Iterator[Batch]:
        """Yield every sample once, shuffled, and shifted where `is_augmented`."""
        generator = generator_of(self.seed, epoch)
        order = torch.randperm(len(self.y), generator=generator)
        for rows in order.tensor_split(self.n_batches):
            batch = self.take(rows)
            yield shift(batch, self.max_shift, generator) if is_augmented else batch

    def once(self) -> Iterator[Batch]:
        """Yield every sample once, in order and as it is."""
        for rows in torch.arange(len(self.y)).tensor_split(self.n_batches):
            yield self.take(rows)

    def take(self, rows: Int[Tensor, " some"]) -> Batch:
        """Return some of the samples as they are."""
        inputs = self.inputs[rows]
        target = inputs if self.target is self.inputs else self.target[rows]
        return Batch(inputs, target, target, self.size[rows], self.y[rows])


def generator_of(seed: int, epoch: int) -> torch.Generator:
    """Return the source of an epoch's order and shifts."""
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def shift(batch: Batch, max_shift: int, generator: torch.Generator) -> Batch:
    """Return a batch of moved images, whose classes are still held against images that are not moved."""
    if not max_shift:
        return batch
    shifted = random_shift(batch.inputs, max_shift, generator)
    return Batch(shifted, shifted, batch.class_target, batch.size, batch.y)


def random_shift(
    images: Float[Tensor, "batch channels height width"], max_shift: int, generator: torch.Generator
) -> Float[Tensor, "batch channels height width"]:
    """Move each image by whole pixels, uniform in [-max_shift, max_shift] each way; the border is continued."""
    n, _, height, width = images.shape
    padded = functional.pad(images, (max_shift,) * 4, mode="replicate")
    top, left = torch.randint(0, 2 * max_shift + 1, (2, n), generator=generator)
    row = (top[:, None] + torch.arange(height))[:, :, None]
    column = (left[:, None] + torch.arange(width))[:, None, :]
    # Indexing with three index arrays around a slice puts the channels last.
    return padded[torch.arange(n)[:, None, None], :, row, column].permute(0, 3, 1, 2)
