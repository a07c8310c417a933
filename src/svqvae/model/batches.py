"""Batches of training data and the output of the network; the order depends on the seed and the epoch alone."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Part:
    """Samples as they come from memory or a file, before they become a batch.

    Attributes
    ----------
    inputs
        Input of the encoder, (n, ...).
    target
        Target of the decoder, (n, ...); None where it equals `inputs`.
    size
        Total count of each sample, (n,); None where the likelihood does not use it.
    """

    inputs: Float[Tensor, "n *event"]
    target: Float[Tensor, "n *other"] | None = None
    size: Float[Tensor, " n"] | None = None

    @property
    def regenerated(self) -> Tensor:
        """Target of the decoder, (n, ...)."""
        return self.inputs if self.target is None else self.target

    @property
    def n_bytes(self) -> int:
        """Size of all samples in bytes."""
        return self.inputs.nbytes + (0 if self.target is None else self.target.nbytes)

    def take(self, rows: Int[Tensor, " some"]) -> "Part":
        """Return some of the samples, by position."""
        # index_select copies whole rows and is four times as fast as indexing with brackets (benchmarks/NOTES.md).
        target, size = (None if values is None else values.index_select(0, rows) for values in (self.target, self.size))
        return Part(self.inputs.index_select(0, rows), target, size)

    def batch(self, y: Int[Tensor, " n"]) -> "Batch":
        """Return the samples with their class indices, (n,), as a batch without augmentation."""
        size = torch.ones(len(y), dtype=self.inputs.dtype) if self.size is None else self.size
        return Batch(self.inputs, self.regenerated, self.regenerated, size, y)


@dataclass(frozen=True)
class Batch:
    """A batch of samples for a training or evaluation step.

    Attributes
    ----------
    inputs
        Input of the encoder, (batch, ...).
    sample_target
        Target of the decoded latent, (batch, ...).
    class_target
        Target of the decoded code, (batch, ...).
    size
        Total count of each sample, (batch,); used by the count likelihood only.
    y
        Class index of each sample, (batch,).
    share
        Fraction of the whole batch that this process has; 1 for a single process.
    """

    inputs: Float[Tensor, "batch *event"]
    sample_target: Float[Tensor, "batch *event"]
    class_target: Float[Tensor, "batch *event"]
    size: Float[Tensor, " batch"]
    y: Int[Tensor, " batch"]
    share: float = 1.0

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        inputs, sample_target, class_target = (self.inputs, self.sample_target, self.class_target)
        moved = inputs.to(device, non_blocking=True)
        regenerated = moved if sample_target is inputs else sample_target.to(device, non_blocking=True)
        typical = regenerated if class_target is sample_target else class_target.to(device, non_blocking=True)
        return replace(
            self,
            inputs=moved,
            sample_target=regenerated,
            class_target=typical,
            size=self.size.to(device, non_blocking=True),
            y=self.y.to(device, non_blocking=True),
        )


# Not frozen, because Fabric rebuilds the output of a network.
@dataclass
class ModuleOutput:
    """Output of one forward pass over a batch.

    Attributes
    ----------
    latents
        z, (batch, latent).
    codes
        E, (classes, latent).
    distances
        Squared distance of each latent to each code in the model's geometry, (batch, classes).
    decoded
        Decoder outputs. Gradient codes: of the code that represents each sample, (batch, ...). Class-mean codes: of
        each latent, followed by each decoded code, (batch + codes, ...).
    code_of_sample
        Index, among the decoded codes, of the code of each sample, (batch,); None with gradient codes.
    """

    latents: Float[Tensor, "batch latent"]
    codes: Float[Tensor, "classes latent"]
    distances: Float[Tensor, "batch classes"]
    decoded: Float[Tensor, "rows *event"]
    code_of_sample: Int[Tensor, " batch"] | None = None

    @property
    def sample_output(self) -> Float[Tensor, "batch *event"] | None:
        """Decoder output for each latent, (batch, ...); None where the objective does not decode latents."""
        return None if self.code_of_sample is None else self.decoded[: len(self.latents)]

    @property
    def class_output(self) -> Float[Tensor, "batch *event"]:
        """Decoder output for the code that represents each sample, (batch, ...)."""
        if self.code_of_sample is None:
            return self.decoded
        return self.decoded[len(self.latents) :].index_select(0, self.code_of_sample)

    @property
    def code_output(self) -> Float[Tensor, "classes *event"] | None:
        """Decoder output for each code, (classes, ...); None unless all codes were decoded."""
        rows = self.decoded[len(self.latents) :]
        return rows if len(rows) == len(self.codes) else None


@runtime_checkable
class Batches(Protocol):
    """Training data in batches, in memory or on disk.

    Attributes
    ----------
    y
        Class index of each sample, (n,).
    n_batches
        Number of batches per epoch.
    seed
        Seed of the order of the samples.
    """

    y: Tensor
    n_batches: int
    seed: int

    def divided(self, rank: int, n_ranks: int) -> "Batches":
        """Return the part of each batch for process `rank` of `n_ranks`; all parts together are the whole batch.

        There are fewer batches where some would have fewer samples than there are processes.
        """

    def epoch(self, epoch: int, is_augmented: bool = True) -> Iterator[Batch]:
        """Yield every sample once, shuffled; images are shifted if `is_augmented`."""

    def once(self) -> Iterator[Batch]:
        """Yield every sample once, in order and without augmentation."""

    def take(self, rows: Tensor) -> Batch:
        """Return samples by ascending position, (n_chosen,), without augmentation; the same in every process."""


class MemoryBatches:
    """Batches of data in memory.

    Parameters
    ----------
    part
        All samples.
    y
        Class index of each sample, (n,).
    batch_size
        Largest batch; the batches of an epoch differ in size by at most one sample.
    seed
        Seed of the order and of the shifts.
    max_shift
        Images are shifted by up to this many pixels in each direction, drawn anew each epoch, and padded by repeating
        their border.

    Examples
    --------
    >>> batches = MemoryBatches(Part(torch.zeros(5, 2)), torch.arange(5), batch_size=2, seed=0)
    >>> [len(batch.y) for batch in batches.epoch(0)]
    [2, 2, 1]
    """

    def __init__(self, part: Part, y: Int[Tensor, " n"], batch_size: int, seed: int, max_shift: int = 0) -> None:
        self.part, self.y = part, y
        self.n_batches = -(-len(y) // batch_size)
        self.seed, self.max_shift = seed, max_shift
        self.rank, self.n_ranks = 0, 1

    def divided(self, rank: int, n_ranks: int) -> "MemoryBatches":
        """As `Batches.divided`."""
        part = copy.copy(self)
        part.rank, part.n_ranks = rank, n_ranks
        part.n_batches = max(1, min(self.n_batches, len(self.y) // n_ranks))
        return part

    def with_inputs(self, inputs: Float[Tensor, "n *event"]) -> "MemoryBatches":
        """Return the same batches with other inputs of the encoder, (n, ...), and the same targets."""
        other = copy.copy(self)
        other.part = replace(self.part, inputs=inputs, target=self.part.regenerated)
        return other

    def epoch(self, epoch: int, is_augmented: bool = True) -> Iterator[Batch]:
        """Yield every sample once, shuffled; images are shifted if `is_augmented`."""
        generator = generator_of(self.seed, epoch)
        order = torch.randperm(len(self.y), generator=generator)
        for rows in order.tensor_split(self.n_batches):
            own = own_part(len(rows), self.rank, self.n_ranks)
            batch = replace(self.take(rows[own]), share=share_of(own, len(rows)))
            yield moved(batch, self.max_shift, own, len(rows), generator) if is_augmented else batch

    def once(self) -> Iterator[Batch]:
        """Yield every sample once, in order and without augmentation."""
        for rows in torch.arange(len(self.y)).tensor_split(self.n_batches):
            own = own_part(len(rows), self.rank, self.n_ranks)
            yield replace(self.take(rows[own]), share=share_of(own, len(rows)))

    def take(self, rows: Int[Tensor, " some"]) -> Batch:
        """Return samples by position, (n_chosen,), without augmentation; the same in every process."""
        return self.part.take(rows).batch(self.y.index_select(0, rows))


def generator_of(seed: int, epoch: int) -> torch.Generator:
    """Return the random number generator for the order and the shifts of an epoch."""
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def own_part(n: int, rank: int, n_ranks: int) -> slice:
    """Return the slice of a batch of n samples that belongs to process `rank` of `n_ranks`."""
    return slice(n * rank // n_ranks, n * (rank + 1) // n_ranks)


def share_of(own: slice, n: int) -> float:
    """Return the fraction of a batch of n samples that a slice covers."""
    return float(own.stop - own.start) / max(1, n)


def moved(batch: Batch, max_shift: int, own: slice, n: int, generator: torch.Generator) -> Batch:
    """Return a process's part, `own`, of a batch of n images, shifted; the targets of the classes are not shifted."""
    if not max_shift:
        return batch
    # Shifts are drawn for the whole batch, so that they do not depend on the number of processes.
    moves = torch.randint(0, 2 * max_shift + 1, (2, n), generator=generator)
    shifted = shift(batch.inputs, max_shift, moves[:, own])
    return replace(batch, inputs=shifted, sample_target=shifted)


def shift(
    images: Float[Tensor, "batch channels height width"], max_shift: int, moves: Int[Tensor, "2 batch"]
) -> Float[Tensor, "batch channels height width"]:
    """Shift images by whole pixels, padding them by repeating their border.

    Parameters
    ----------
    images
        (batch, channels, height, width).
    max_shift
        Largest shift in pixels.
    moves
        Vertical and horizontal offset of each image, (2, batch), from 0 to 2 × `max_shift`; `max_shift` is no shift,
        and larger offsets move an image up and left.
    """
    n, _, height, width = images.shape
    padded = functional.pad(images, (max_shift,) * 4, mode="replicate")
    top, left = moves
    row = (top[:, None] + torch.arange(height))[:, :, None]
    column = (left[:, None] + torch.arange(width))[:, None, :]
    # Indexing with three index arrays around a slice puts the channels last.
    return padded[torch.arange(n)[:, None, None], :, row, column].permute(0, 3, 1, 2)
