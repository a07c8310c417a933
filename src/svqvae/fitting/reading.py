"""Which samples are trained on, what their numbers are, and what the network reads of them, wherever they stand."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from svqvae.data.rows import StoredRows
from svqvae.data.samples import Index, Rows, Samples
from svqvae.data.units import UNITS, Units
from svqvae.model.batches import Batches, MemoryBatches, Part
from svqvae.model.disk_batches import DiskBatches
from svqvae.model.recipe import Design

# Rows that are scaled at a time.
CHUNK = 1024


@dataclass(frozen=True)
class Reader:
    """Reads rows by their positions; sent to another process, it opens the file there.

    Attributes
    ----------
    rows
        (n, n_features).
    units
        What the numbers are.
    event_shape
        Shape of what the encoder reads of one sample.
    """

    rows: Rows | StoredRows
    units: Units
    event_shape: tuple[int, ...]

    def __call__(self, positions: Tensor) -> Part:
        """Return samples by position; positions of rows on disk must not fall."""
        n, n_features = len(positions), self.rows.shape[1]
        inputs = torch.empty(n, *self.event_shape)
        # One tensor for both where the decoder regenerates what the encoder reads.
        target = torch.empty(n, n_features) if self.units.has_own_target else None
        size = torch.ones(n)
        for start in range(0, n, CHUNK):
            part = slice(start, start + CHUNK)
            block = self.rows[positions[part].numpy()]
            # By numpy, so that this may run beside training: see `DiskBatches._load`.
            inputs.numpy()[part] = self.units.apply(block).reshape(-1, *self.event_shape)
            if target is not None:
                target.numpy()[part] = block
                size.numpy()[part] = self.units.sizes(block)
        return Part(inputs, target, size)


def batches_of(
    samples: Samples,
    chosen: Index,
    units: Units,
    event_shape: tuple[int, ...],
    batch_size: int,
    seed: int,
    max_shift: int,
) -> Batches:
    """Return batches of some samples, by rising positions; those on disk are read as they are needed.

    Parameters
    ----------
    samples
        Labelled.
    chosen
        Positions, in rising order.
    units, event_shape
        As in `Reader`.
    batch_size, seed, max_shift
        As in `svqvae.model.batches.MemoryBatches`.
    """
    y = torch.as_tensor(samples.y[chosen])
    if samples.stay_on_disk:
        own = samples.subset(chosen)
        read = Reader(own.rows, units, event_shape)
        return DiskBatches(read, y, batch_size, seed, max_shift, own.n_together)
    part = Reader(samples.rows, units, event_shape)(torch.as_tensor(chosen))
    return MemoryBatches(part, y, batch_size, seed, max_shift)


def survey(samples: Samples, kept: Index, design: Design) -> Units:
    """Measure how to scale the data, and refuse values that the likelihood cannot give.

    Parameters
    ----------
    samples
        All of them; each is checked.
    kept
        Positions of the samples to train on, in rising order: these alone are measured.
    design
        Says which units the data have.
    """
    kind = UNITS[design.units]
    found, start = kind.survey(), 0
    for block in samples.blocks():
        kind.check(block, start, design.output_scale)
        first, last = np.searchsorted(kept, [start, start + len(block)])
        # A copy of all rows is spared where none is held out.
        found.add(block if last - first == len(block) else block[kept[first:last] - start])
        start += len(block)
    return found.result()


def split_validation(y: Index, groups: Index | None, fraction: float, seed: int) -> tuple[Index, Index]:
    """Return the rows to train on and the rows to validate on, both in rising order.

    Without groups each class gives the asked share of its samples, rounded, and keeps at least one. With groups,
    whole groups are drawn until the share is reached; the groups of a class that would lose all of its samples come
    back.

    Parameters
    ----------
    y
        Class index of each sample, (n,).
    groups
        Group index of each sample, (n,), or None.
    fraction
        Share of the samples to hold out, in [0, 1).
    seed
        Seed of the draw.

    Examples
    --------
    >>> train, validation = split_validation(np.array([0, 0, 0, 0, 1, 1, 1, 1]), None, 0.25, seed=0)
    >>> len(train), len(validation)
    (6, 2)
    """
    rng = np.random.default_rng(seed)
    is_held_out = np.zeros(len(y), dtype=bool)
    if groups is None:
        for k in np.unique(y):
            own = rng.permutation(np.flatnonzero(y == k))
            n_held_out = min(round(fraction * len(own)), len(own) - 1)
            is_held_out[own[:n_held_out]] = True
    else:
        sizes = np.bincount(groups)
        order = rng.permutation(len(sizes))
        before = np.concatenate([[0], np.cumsum(sizes[order])[:-1]])
        is_held_out = np.isin(groups, order[before + sizes[order] / 2 <= fraction * len(y)])
        lost = np.setdiff1d(y, y[~is_held_out])
        is_held_out &= ~np.isin(groups, groups[np.isin(y, lost)])
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
