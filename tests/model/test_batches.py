"""The order of batches, and what they carry."""

import numpy as np
import pytest
import torch

from svqvae.model.batches import Batch, MemoryBatches, Part, shift

N = 23


def rows(batch_size: int = 5, seed: int = 0) -> MemoryBatches:
    X = torch.arange(N * 2.0).reshape(N, 2)
    return MemoryBatches(Part(X), torch.arange(N), batch_size, seed)


def images(max_shift: int, seed: int = 0) -> MemoryBatches:
    X = torch.rand(N, 2, 6, 5, generator=torch.Generator().manual_seed(3))
    return MemoryBatches(Part(X), torch.arange(N), 5, seed, max_shift)


def order(batches: MemoryBatches, epoch: int) -> list[int]:
    return torch.cat([batch.y for batch in batches.epoch(epoch)]).tolist()


@pytest.mark.parametrize("batch_size", [1, 5, 22, 23, 100])
def test_an_epoch_holds_every_sample_once(batch_size: int) -> None:
    batches = rows(batch_size)
    epoch = list(batches.epoch(0))
    assert len(epoch) == batches.n_batches
    assert sorted(torch.cat([batch.y for batch in epoch]).tolist()) == list(range(N))
    for batch in epoch:
        assert torch.equal(batch.inputs, batches.part.inputs[batch.y])


@pytest.mark.parametrize("batch_size", [1, 2, 5, 22, 100])
def test_batches_differ_in_size_by_at_most_one(batch_size: int) -> None:
    sizes = [len(batch.y) for batch in rows(batch_size).epoch(0)]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    batches = rows()
    first = order(batches, 3)
    order(batches, 0)
    torch.rand(1)
    assert order(batches, 3) == first == order(rows(), 3)


def test_the_order_differs_between_epochs_and_between_seeds() -> None:
    orders = [order(rows(seed=seed), epoch) for seed in (0, 1, 2) for epoch in (0, 1, 2)]
    assert len({tuple(each) for each in orders}) == 9
    assert list(range(N)) not in orders


def test_once_goes_through_the_samples_in_order_and_unshifted() -> None:
    batches = images(max_shift=2)
    seen = list(batches.once())
    assert torch.cat([batch.y for batch in seen]).tolist() == list(range(N))
    assert torch.equal(torch.cat([batch.inputs for batch in seen]), batches.part.inputs)


def test_a_shift_moves_whole_images_and_continues_the_border() -> None:
    X = torch.rand(200, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    drawn = torch.randint(0, 5, (2, 200), generator=torch.Generator().manual_seed(4))
    shifted = shift(X, 2, drawn).numpy()
    moves = set()
    for image, moved in zip(X.numpy(), shifted, strict=True):
        matches = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                row = np.clip(np.arange(6) + down, 0, 5)
                column = np.clip(np.arange(5) + right, 0, 4)
                if np.array_equal(image[:, row][:, :, column], moved):
                    matches.append((down, right))
        assert len(matches) == 1
        moves.update(matches)
    assert len(moves) == 25


def test_no_shift_leaves_images_as_they_are() -> None:
    X = torch.rand(3, 1, 4, 4)
    assert torch.equal(shift(X, 0, torch.zeros(2, 3, dtype=torch.int64)), X)


def test_the_class_target_is_unshifted_and_the_sample_target_is_the_input() -> None:
    batches = images(max_shift=2)
    is_moved = []
    for batch in batches.epoch(0):
        assert torch.equal(batch.sample_target, batch.inputs)
        assert torch.equal(batch.class_target, batches.part.inputs[batch.y])
        is_moved.append((batch.inputs != batch.class_target).flatten(1).any(1))
    assert torch.cat(is_moved).float().mean() > 0.5


def test_shifts_are_drawn_anew_each_epoch_and_only_where_asked() -> None:
    batches = images(max_shift=2)

    def inputs(epoch: int, is_augmented: bool = True) -> torch.Tensor:
        seen = list(batches.epoch(epoch, is_augmented))
        return torch.cat([batch.inputs for batch in seen])[torch.cat([batch.y for batch in seen]).argsort()]

    assert torch.equal(inputs(0), inputs(0))
    assert not torch.equal(inputs(0), inputs(1))
    assert torch.equal(inputs(0, is_augmented=False), batches.part.inputs)


def test_counts_go_with_their_total() -> None:
    counts = torch.randint(9, (N, 4), generator=torch.Generator().manual_seed(0)).float()
    batches = MemoryBatches(Part(counts.log1p(), counts, counts.sum(1)), torch.arange(N), 5, seed=0)
    for batch in [*batches.epoch(0), *batches.once()]:
        assert torch.equal(batch.inputs, counts[batch.y].log1p())
        assert torch.equal(batch.sample_target, counts[batch.y])
        assert torch.equal(batch.class_target, counts[batch.y])
        assert torch.equal(batch.size, counts[batch.y].sum(1))


def test_data_without_counts_have_size_one() -> None:
    assert all((batch.size == 1).all() for batch in rows().epoch(0))


def test_a_batch_moves_to_a_device_as_a_whole() -> None:
    moved = next(rows().once()).to(torch.device("meta"))
    assert isinstance(moved, Batch)
    assert {tensor.device.type for tensor in vars(moved).values() if isinstance(tensor, torch.Tensor)} == {"meta"}
