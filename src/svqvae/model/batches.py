"""Batches of training data, and what the network makes of one; their order is a function of seed and epoch alone."""

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
    """Samples as they are read.

    Attributes
    ----------
    inputs
        What the encoder reads, (n, ...).
    target
        What the decoder regenerates, (n, ...); None where that is what the encoder reads.
    size
        Total count of each sample, (n,); None where no likelihood asks for it.
    """

    inputs: Float[Tensor, "n *event"]
    target: Float[Tensor, "n *other"] | None = None
    size: Float[Tensor, " n"] | None = None

    @property
    def regenerated(self) -> Tensor:
        """What the decoder regenerates, (n, ...)."""
        return self.inputs if self.target is None else self.target

    @property
    def n_bytes(self) -> int:
        """Bytes of all samples."""
        return self.inputs.nbytes + (0 if self.target is None else self.target.nbytes)

    def take(self, rows: Int[Tensor, " some"]) -> "Part":
        """Return some of the samples, by position."""
        # index_select copies whole rows, which indexing with brackets does not.
        target, size = (None if values is None else values.index_select(0, rows) for values in (self.target, self.size))
        return Part(self.inputs.index_select(0, rows), target, size)

    def batch(self, y: Int[Tensor, " n"]) -> "Batch":
        """Return the samples with their classes as a batch that is not augmented."""
        size = torch.ones(len(y), dtype=self.inputs.dtype) if self.size is None else self.size
        return Batch(self.inputs, self.regenerated, self.regenerated, size, y)


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
    share
        What part of a batch that several processes divide among them this is; 1 where one has it all.
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


# Not frozen: Fabric rebuilds what a network returns.
@dataclass
class ModuleOutput:
    """What one pass over a batch gives.

    Attributes
    ----------
    latents
        z, (batch, latent).
    codes
        E, (classes, latent).
    distances
        Squared distance of each latent to each code in the model's geometry, (batch, classes).
    decoded
        Decoder outputs: with gradient codes one for the code that stands for each sample, (batch, ...); with class-mean
        codes one for each latent and then one for each code that is decoded, (batch + codes, ...).
    code_of_sample
        With class-mean codes, which of the decoded codes is that of each sample, (batch,); else None.
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
        """Decoder output for the code that stands for each sample, (batch, ...)."""
        if self.code_of_sample is None:
            return self.decoded
        return self.decoded[len(self.latents) :].index_select(0, self.code_of_sample)

    @property
    def code_output(self) -> Float[Tensor, "classes *event"] | None:
        """Decoder output for each code, (classes, ...); None where they are not all decoded."""
        rows = self.decoded[len(self.latents) :]
        return rows if len(rows) == len(self.codes) else None


@runtime_checkable
class Batches(Protocol):
    """Training data in batches, wherever they stand.

    Attributes
    ----------
    y
        Class index of each sample, (n,).
    n_batches
        Number of batches of an epoch.
    seed
        Seed of the order.
    """

    y: Tensor
    n_batches: int
    seed: int

    def divided(self, rank: int, n_ranks: int) -> "Batches":
        """Return what process `rank` of `n_ranks` takes of each batch, so that together they take what one would.

        Where the last batches would hold fewer samples than there are processes, there are fewer batches.
        """

    def epoch(self, epoch: int, is_augmented: bool = True) -> Iterator[Batch]:
        """Yield every sample once, shuffled, and shifted where `is_augmented`."""

    def once(self) -> Iterator[Batch]:
        """Yield every sample once, in order and as it is."""

    def take(self, rows: Tensor) -> Batch:
        """Return some of the samples as they are, by positions in rising order, whichever process asks."""


class MemoryBatches:
    """Batches of data that stand in memory.

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
        Images are moved by up to this many pixels each way, drawn anew each epoch, the border continued outward.

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
        """Return the same batches of samples of which the encoder reads something else."""
        other = copy.copy(self)
        other.part = replace(self.part, inputs=inputs, target=self.part.regenerated)
        return other

    def epoch(self, epoch: int, is_augmented: bool = True) -> Iterator[Batch]:
        """Yield every sample once, shuffled, and shifted where `is_augmented`."""
        generator = generator_of(self.seed, epoch)
        order = torch.randperm(len(self.y), generator=generator)
        for rows in order.tensor_split(self.n_batches):
            own = own_part(len(rows), self.rank, self.n_ranks)
            batch = replace(self.take(rows[own]), share=share_of(own, len(rows)))
            yield moved(batch, self.max_shift, own, len(rows), generator) if is_augmented else batch

    def once(self) -> Iterator[Batch]:
        """Yield every sample once, in order and as it is."""
        for rows in torch.arange(len(self.y)).tensor_split(self.n_batches):
            own = own_part(len(rows), self.rank, self.n_ranks)
            yield replace(self.take(rows[own]), share=share_of(own, len(rows)))

    def take(self, rows: Int[Tensor, " some"]) -> Batch:
        """Return some of the samples as they are, whichever process asks."""
        return self.part.take(rows).batch(self.y.index_select(0, rows))


def generator_of(seed: int, epoch: int) -> torch.Generator:
    """Return the source of an epoch's order and shifts."""
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def own_part(n: int, rank: int, n_ranks: int) -> slice:
    """Return which of the n samples of a batch process `rank` of `n_ranks` takes."""
    return slice(n * rank // n_ranks, n * (rank + 1) // n_ranks)


def share_of(own: slice, n: int) -> float:
    """Return what part of a batch of n samples a process takes."""
    return float(own.stop - own.start) / max(1, n)


def moved(batch: Batch, max_shift: int, own: slice, n: int, generator: torch.Generator) -> Batch:
    """Return a process's part of a batch of n images, moved; classes are still held against images that are not."""
    if not max_shift:
        return batch
    # Moves are drawn for the whole batch, so that they do not depend on how many processes share it.
    moves = torch.randint(0, 2 * max_shift + 1, (2, n), generator=generator)
    shifted = shift(batch.inputs, max_shift, moves[:, own])
    return replace(batch, inputs=shifted, sample_target=shifted)


def shift(
    images: Float[Tensor, "batch channels height width"], max_shift: int, moves: Int[Tensor, "2 batch"]
) -> Float[Tensor, "batch channels height width"]:
    """Move each image by whole pixels, up and left by `max_shift` less what `moves` says; the border is continued."""
    n, _, height, width = images.shape
    padded = functional.pad(images, (max_shift,) * 4, mode="replicate")
    top, left = moves
    row = (top[:, None] + torch.arange(height))[:, :, None]
    column = (left[:, None] + torch.arange(width))[:, None, :]
    # Indexing with three index arrays around a slice puts the channels last.
    return padded[torch.arange(n)[:, None, None], :, row, column].permute(0, 3, 1, 2)
