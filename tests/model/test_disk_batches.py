"""Batches from disk: every row once, mixed as if drawn at random, and a thread that ends."""

import threading
import time

import numpy as np
import pytest
import torch
from torch import Tensor

from svqvae.model.batches import MemoryBatches, Part
from svqvae.model.disk_batches import DiskBatches, mixed_order, read_ahead

N = 5000
X = torch.arange(N, dtype=torch.float32)[:, None].repeat(1, 4)


def read(rows: Tensor) -> Part:
    return Part(X[rows])


def disk(n: int = N, batch_size: int = 64, seed: int = 0, memory: int = 1 << 14, **changes: object) -> DiskBatches:
    """Batches of rows of 16 bytes, in buffers of 512 rows unless told otherwise."""
    batches = DiskBatches(read, torch.arange(n), batch_size, seed, memory=memory, **changes)
    batches.n_piece = 4
    return batches


def order(batches: DiskBatches, epoch: int = 0) -> Tensor:
    return torch.cat([batch.y for batch in batches.epoch(epoch)])


@pytest.mark.parametrize("n,batch_size", [(1, 5), (23, 5), (23, 100), (N, 64), (N - 1, 63), (N, 1024)])
def test_an_epoch_holds_every_row_once_with_its_class(n: int, batch_size: int) -> None:
    batches = disk(n, batch_size)
    epoch = list(batches.epoch(3))
    assert len(epoch) == batches.n_batches == -(-n // batch_size)
    assert torch.equal(torch.cat([batch.y for batch in epoch]).sort().values, torch.arange(n))
    sizes = [len(batch.y) for batch in epoch]
    assert max(sizes) - min(sizes) <= 1
    for batch in epoch:
        assert torch.equal(batch.inputs[:, 0].long(), batch.y)


def test_once_goes_through_the_rows_in_order() -> None:
    assert torch.equal(torch.cat([batch.y for batch in disk().once()]), torch.arange(N))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    orders = [tuple(order(disk(seed=seed), epoch).tolist()) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4
    assert tuple(order(disk(seed=1), 1).tolist()) == orders[-1]


def test_data_that_fit_one_buffer_come_in_the_order_of_data_in_memory() -> None:
    memory = MemoryBatches(Part(X), torch.arange(N), 64, seed=5)
    expected = torch.cat([batch.y for batch in memory.epoch(2)])
    assert torch.equal(order(disk(seed=5, memory=1 << 20), 2), expected)


def test_memory_holds_no_more_rows_than_told() -> None:
    n_read = []

    def counted(rows: Tensor) -> Part:
        n_read.append(len(rows))
        return read(rows)

    for _ in DiskBatches(counted, torch.arange(N), 64, 0, memory=1 << 14).epoch(0):
        pass
    assert max(n_read) <= (1 << 14) / 16 / 2


def test_counts_come_with_their_totals() -> None:
    batches = DiskBatches(
        lambda rows: Part(X[rows], 2 * X[rows], 2 * X[rows].sum(1)), torch.arange(N), 64, 0, memory=1 << 15
    )
    for batch in batches.epoch(0):
        torch.testing.assert_close(batch.size, 8 * batch.y.float())
        torch.testing.assert_close(batch.class_target, 2 * batch.inputs)


def test_a_row_may_come_at_any_time_of_an_epoch() -> None:
    places = torch.stack([order(disk(seed=seed)).argsort() for seed in range(200)]).double() / (N - 1)
    # Of a uniform variable on [0, 1]: mean 1/2, variance 1/12, no correlation with where the row stands.
    assert (places.mean(0) - 0.5).abs().max() < 5 * (1 / 12 / 200) ** 0.5
    assert (places.var(0) - 1 / 12).abs().mean() < 0.01
    correlations = [np.corrcoef(run, np.arange(N))[0, 1] for run in places.numpy()]
    assert abs(np.mean(correlations)) < 0.01
    assert np.abs(correlations).max() < 5 / N**0.5


def test_batches_of_a_sorted_file_hold_its_classes_as_if_drawn_at_random() -> None:
    n_classes, n, batch_size = 20, 40_000, 100
    y = np.arange(n) * n_classes // n
    found = mixed_order([1000] * 40, 4, torch.Generator().manual_seed(0)).numpy()
    counts = np.stack([np.bincount(part, minlength=n_classes) for part in y[found].reshape(-1, batch_size)])
    expected = batch_size / n_classes
    chi_squared = ((counts - expected) ** 2 / expected).sum(1)
    # As of batches drawn without replacement from a thousand rows.
    assert chi_squared.mean() == pytest.approx((n_classes - 1) * (1 - batch_size / 1000), rel=0.1)
    # What one of ten batches has of a class the other nine lack, and no class comes in runs.
    assert np.corrcoef(counts[:-1].ravel(), counts[1:].ravel())[0, 1] == pytest.approx(-1 / 9, abs=0.05)
    assert (np.diff(y[found]) == 0).mean() == pytest.approx(1 / n_classes, abs=0.005)


def test_neighbours_are_parted() -> None:
    found = order(disk())
    assert (found.diff().abs() <= 4).float().mean() < 0.05


@pytest.mark.parametrize("n_ranks", [2, 3])
def test_processes_together_take_the_batches_of_one(n_ranks: int) -> None:
    whole = list(disk().epoch(1))
    parts = [list(disk().divided(rank, n_ranks).epoch(1)) for rank in range(n_ranks)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat([part.y for part in shares]), batch.y)
        assert sum(part.share for part in shares) == pytest.approx(1)
    assert torch.equal(
        torch.cat([part.y for rank in range(n_ranks) for part in disk().divided(rank, n_ranks).once()]).sort().values,
        torch.arange(N),
    )


def test_images_are_moved_as_in_memory() -> None:
    images = torch.rand(50, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    memory = MemoryBatches(Part(images), torch.arange(50), 8, 0, max_shift=2)
    stored = DiskBatches(lambda rows: Part(images[rows]), torch.arange(50), 8, 0, max_shift=2)
    for a, b in zip(memory.epoch(4), stored.epoch(4), strict=True):
        assert torch.equal(a.inputs, b.inputs)
        assert torch.equal(a.class_target, b.class_target)


def test_what_reading_raises_is_raised_to_the_caller() -> None:
    def broken(rows: Tensor) -> Part:
        if len(rows) > 1:
            raise OSError("the disk is gone")
        return read(rows)

    with pytest.raises(OSError, match="the disk is gone"):
        next(DiskBatches(broken, torch.arange(N), 64, 0).epoch(0))


def test_closing_early_ends_the_thread_and_reads_no_more() -> None:
    started = []

    def job(number: int) -> int:
        started.append(number)
        return number

    results = read_ahead((lambda k=k: job(k)) for k in range(100))
    assert [next(results), next(results)] == [0, 1]
    results.close()
    assert len(started) <= 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("svqvae-read-ahead")]


def test_the_next_is_read_while_the_last_is_used() -> None:
    started = threading.Event()
    jobs = [lambda: 0, lambda: started.set() or 1]
    results = read_ahead(jobs)
    assert next(results) == 0
    assert started.wait(timeout=30)
    time.sleep(0)
    assert list(results) == [1]
