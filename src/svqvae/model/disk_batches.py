"""Batches of training data on disk: small pieces from all over the file are shuffled in a buffer of bounded size."""

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
# Reads samples by ascending position.
Read = Callable[[Tensor], Part]

# Bytes of samples in memory, a guard chosen by hand: the buffer in use and the next one, 64 MiB each.
MEMORY = 128 << 20
# Bytes of a piece, 64 KiB, chosen by hand: smaller pieces mix the classes of a sorted file better.
PIECE = 1 << 16
# Largest share of a buffer for one piece where the file has large compressed chunks; chosen by hand.
LARGEST = 1 / 16


class DiskBatches:
    """Batches of data that are read when they are needed.

    The order of an epoch depends on its number and the seed alone. The file is cut into pieces of adjacent rows. There
    are as many buffers as it takes for two of them to fit into memory. Of each run of as many adjacent pieces as there
    are buffers, every buffer gets one, at random. A buffer thus holds rows from all over the file, and about the same
    share of each class even if the file is sorted by class. Rows are shuffled within a buffer, and while one buffer is
    used, a thread reads the next.

    Parameters
    ----------
    read
        Returns samples by ascending position. It runs in a thread beside training and should not use operations of
        PyTorch, which would slow training down.
    y
        Class index of each sample, (n,).
    batch_size
        Largest batch; the batches of an epoch differ in size by at most one sample.
    seed
        Seed of the order and of the shifts.
    max_shift
        As in `svqvae.model.batches.MemoryBatches`.
    n_together
        Number of rows in a compressed chunk of the file, which are best read together.
    memory
        Bytes of samples in memory; two batches are held in any case.

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
        """As `svqvae.model.batches.Batches.divided`; each process reads only its own part."""
        part = copy.copy(self)
        part.rank, part.n_ranks = rank, n_ranks
        part.n_batches = max(1, min(self.n_batches, len(self.y) // n_ranks))
        return part

    def epoch(self, epoch: int, is_augmented: bool = True) -> Iterator[Batch]:
        """Yield every sample once, shuffled; images are shifted if `is_augmented`."""
        generator = generator_of(self.seed, epoch)
        buffers = self._buffers()
        order = mixed_order([sum(sizes) for sizes in buffers], self.n_piece, generator)
        for batch, own, n in self._read_in(order, buffers):
            yield moved(batch, self.max_shift, own, n, generator) if is_augmented else batch

    def once(self) -> Iterator[Batch]:
        """Yield every sample once, in order and without augmentation."""
        for batch, _, _ in self._read_in(torch.arange(len(self.y)), self._buffers()):
            yield batch

    def take(self, rows: Int[Tensor, " some"]) -> Batch:
        """Return samples by ascending position, (n_chosen,), without augmentation."""
        return self.read(rows).batch(self.y[rows])

    def _buffers(self) -> list[list[int]]:
        """Return the size of each batch of each buffer."""
        sizes = [len(rows) for rows in torch.arange(len(self.y)).tensor_split(self.n_batches)]
        n_buffers = -(-self.n_batches // max(1, self.n_buffer // self.batch_size))
        bounds = [k * self.n_batches // n_buffers for k in range(n_buffers + 1)]
        return [sizes[start:stop] for start, stop in pairwise(bounds)]

    def _read_in(self, order: Tensor, buffers: list[list[int]]) -> Iterator[tuple[Batch, slice, int]]:
        """Yield, in the given order, this process's part of each batch, its slice of the batch, and the batch's size.

        While one buffer is used, the next is read.
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
        """Read rows in the order of the file; return the sorted positions, the samples, and each row's place in them.

        Sorting is left to numpy: operations of PyTorch would start a second team of OpenMP threads for this thread,
        which makes training take nearly twice as long (benchmarks/NOTES.md).
        """
        order = np.argsort(rows.numpy())
        rising = torch.from_numpy(rows.numpy()[order])
        return rising, self.read(rising), torch.from_numpy(np.argsort(order))


def mixed_order(sizes: Sequence[int], n_piece: int, generator: torch.Generator) -> Int[Tensor, " n"]:
    """Return a random order of rows, (n,), in consecutive buffers that each hold rows from all over the file.

    Parameters
    ----------
    sizes
        Number of rows in each buffer, about the same for all.
    n_piece
        Number of adjacent rows in a piece, which goes into one buffer as a whole.
    generator
        Random number generator.

    Examples
    --------
    >>> order = mixed_order([4, 4], 2, torch.Generator().manual_seed(0))
    >>> sorted(order.tolist()), len(set((order[:4] // 4).tolist()))
    ([0, 1, 2, 3, 4, 5, 6, 7], 2)
    """
    n, n_buffers = sum(sizes), len(sizes)
    if n_buffers == 1:
        # The same order as that of data in memory.
        return torch.randperm(n, generator=generator)
    n_pieces = -(-n // n_piece)
    # Each run of as many adjacent pieces as there are buffers is dealt out one piece to a buffer.
    keys = torch.rand(-(-n_pieces // n_buffers), n_buffers, generator=generator)
    buffers = keys.argsort(1).flatten()[:n_pieces]
    # Random within a buffer, since pieces at its ends may slip into the buffer before or after it.
    pieces = (buffers + torch.rand(n_pieces, generator=generator)).argsort()
    rows = (pieces[:, None] * n_piece + torch.arange(n_piece)).flatten()
    parts = torch.split(rows[rows < n], list(sizes))
    return torch.cat([part[torch.randperm(len(part), generator=generator)] for part in parts])


def read_ahead(jobs: Iterable[Callable[[], Found]]) -> Iterator[Found]:
    """Yield the results of jobs in order; while one result is used, a thread runs the next job.

    Exceptions of a job are raised here. Closing the iterator waits for the running job and starts no other.
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
