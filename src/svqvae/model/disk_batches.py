"""Batches of training data on disk: read in small pieces from all over the file, mixed in a buffer of bounded size."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from svqvae.model.batches import Batch, Part, generator_of, moved, own_part, share_of

Found = TypeVar("Found")
# Reads samples by rising positions.
Read = Callable[[Tensor], Part]

# Bytes of the samples that are in memory at a time: those that are used and those that are read for use next.
MEMORY = 128 << 20
# Bytes that are read in a piece: the less, the better the classes of a sorted file mix.
PIECE = 1 << 16
# Share of a buffer that one piece may have, where the file is packed in large pieces.
LARGEST = 1 / 16


class DiskBatches:
    """Batches of data that are read as they are needed.

    An epoch's order is a function of its number and the seed. The data are cut into pieces of rows that stand together,
    and the pieces spread over as many buffers as it takes for two of them to have their place in memory: of as many
    neighbouring pieces as there are buffers, each buffer gets one, drawn at random. So a buffer holds rows from all
    over the file, and of a file that is sorted by class the same share of each class. Within a buffer rows are
    shuffled; while one is used, a thread reads the next.

    Parameters
    ----------
    read
        Returns samples by rising positions. It runs in a thread beside training, which PyTorch's operations in it
        would slow.
    y
        Class index of each sample, (n,).
    batch_size
        Largest batch; the batches of an epoch differ in size by at most one sample.
    seed
        Seed of the order and of the shifts.
    max_shift
        As for `svqvae.model.batches.MemoryBatches`.
    n_together
        Rows that are best read together, since the file keeps them in one packed piece.
    memory
        Bytes that samples may take in memory, twice a batch at least.

    Examples
    --------
    >>> X = torch.arange(10.0).reshape(5, 2)
    >>> batches = DiskBatches(lambda rows: Part(X[rows]), torch.arange(5), batch_size=2, seed=0)
    >>> [len(batch.y) for batch in batches.epoch(0)]
    [2, 2, 1]
    """

    def __init__(
        self,
        read: Read,
        y: Int[Tensor, " n"],
        batch_size: int,
        seed: int,
        max_shift: int = 0,
        n_together: int = 1,
        memory: int = MEMORY,
    ) -> None:
        self.read, self.y = read, y
        self.n_batches = -(-len(y) // batch_size)
        self.seed, self.max_shift = seed, max_shift
        self.n_bytes = read(torch.zeros(1, dtype=torch.long)).n_bytes
        self.n_buffer = max(batch_size, memory // (2 * self.n_bytes))
        self.n_piece = max(1, PIECE // self.n_bytes, min(n_together, int(LARGEST * self.n_buffer)))
        self.batch_size = batch_size
        self.rank, self.n_ranks = 0, 1

    def divided(self, rank: int, n_ranks: int) -> "DiskBatches":
        """As `svqvae.model.batches.Batches.divided`; a process reads its part alone."""
        part = copy.copy(self)
        part.rank, part.n_ranks = rank, n_ranks
        part.n_batches = max(1, min(self.n_batches, len(self.y) // n_ranks))
        return part

    def epoch(self, epoch: int, is_augmented: bool = True) -> Iterator[Batch]:
        """Yield every sample once, shuffled, and shifted where `is_augmented`."""
        generator = generator_of(self.seed, epoch)
        buffers = self._buffers()
        order = mixed_order([sum(sizes) for sizes in buffers], self.n_piece, generator)
        for batch, own, n in self._read_in(order, buffers):
            yield moved(batch, self.max_shift, own, n, generator) if is_augmented else batch

    def once(self) -> Iterator[Batch]:
        """Yield every sample once, in order and as it is."""
        for batch, _, _ in self._read_in(torch.arange(len(self.y)), self._buffers()):
            yield batch

    def take(self, rows: Int[Tensor, " some"]) -> Batch:
        """Return some of the samples as they are, by rising positions."""
        return self.read(rows).batch(self.y[rows])

    def _buffers(self) -> list[list[int]]:
        """Return the size of each batch of each buffer."""
        sizes = [len(rows) for rows in torch.arange(len(self.y)).tensor_split(self.n_batches)]
        n_buffers = -(-self.n_batches // max(1, self.n_buffer // self.batch_size))
        bounds = [k * self.n_batches // n_buffers for k in range(n_buffers + 1)]
        return [sizes[start:stop] for start, stop in pairwise(bounds)]

    def _read_in(self, order: Tensor, buffers: list[list[int]]) -> Iterator[tuple[Batch, slice, int]]:
        """Yield batches in an order, which part of the whole each is, and the size of the whole.

        While those of one buffer are used, the next is read.
        """
        batches = iter(torch.split(order, [n for sizes in buffers for n in sizes]))
        owns = [[own_part(n, self.rank, self.n_ranks) for n in sizes] for sizes in buffers]
        parts = (torch.cat([next(batches)[own] for own in own_parts]) for own_parts in owns)
        loads = (partial(self._load, rows) for rows in parts)
        for sizes, own_parts, (rising, found, places) in zip(buffers, owns, read_ahead(loads), strict=True):
            y = self.y[rising]
            n_own = [own.stop - own.start for own in own_parts]
            for n, own, chosen in zip(sizes, own_parts, torch.split(places, n_own), strict=True):
                yield replace(found.take(chosen).batch(y[chosen]), share=share_of(own, n)), own, n

    def _load(self, rows: Tensor) -> tuple[Tensor, Part, Tensor]:
        """Read rows in the order of the file; return that order, what was read, and the place of each row in it.

        Without PyTorch's operations: they would bring this thread a team of OpenMP threads of its own, beside which
        training takes nearly twice as long.
        """
        order = np.argsort(rows.numpy())
        rising = torch.from_numpy(rows.numpy()[order])
        return rising, self.read(rising), torch.from_numpy(np.argsort(order))


def mixed_order(sizes: Sequence[int], n_piece: int, generator: torch.Generator) -> Int[Tensor, " n"]:
    """Return a random order of rows that follow in buffers of given sizes, each with rows from everywhere.

    Parameters
    ----------
    sizes
        Rows of each buffer, about the same.
    n_piece
        Rows that come into one buffer with their neighbours.
    generator
        Source of random numbers.

    Examples
    --------
    >>> order = mixed_order([4, 4], 2, torch.Generator().manual_seed(0))
    >>> sorted(order.tolist()), len(set((order[:4] // 4).tolist()))
    ([0, 1, 2, 3, 4, 5, 6, 7], 2)
    """
    n, n_buffers = sum(sizes), len(sizes)
    if n_buffers == 1:
        # The order of data in memory.
        return torch.randperm(n, generator=generator)
    n_pieces = -(-n // n_piece)
    # Neighbouring pieces, as many as buffers, go to different buffers: places are drawn without replacement.
    keys = torch.rand(-(-n_pieces // n_buffers), n_buffers, generator=generator)
    buffers = keys.argsort(1).flatten()[:n_pieces]
    # In random order within a buffer, since those at its ends may come to the buffer before or after.
    pieces = (buffers + torch.rand(n_pieces, generator=generator)).argsort()
    rows = (pieces[:, None] * n_piece + torch.arange(n_piece)).flatten()
    parts = torch.split(rows[rows < n], list(sizes))
    return torch.cat([part[torch.randperm(len(part), generator=generator)] for part in parts])


def read_ahead(jobs: Iterable[Callable[[], Found]]) -> Iterator[Found]:
    """Yield what jobs return, in order; while one result is used, a thread does the next job.

    What a job raises is raised here. To close the iterator waits for the job that is under way and starts no other.
    """
    with ThreadPoolExecutor(1, "svqvae-read-ahead") as thread:
        waiting: Future[Found] | None = None
        for job in jobs:
            following = thread.submit(job)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
