"""Training in this process; several processes are tested at the estimator, in `tests/test_processes.py`."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric

from svqvae.model import processes
from svqvae.model.batches import MemoryBatches, Part
from svqvae.model.checkpoint import Row
from svqvae.model.module import SVQVAEModule, build_module
from svqvae.model.objective import OBJECTIVES
from svqvae.model.processes import train_on
from svqvae.model.recipe import Design, Recipe, Schedule
from svqvae.model.training import Watch, train

N, P, K = 30, 64, 3
DESIGN = Design("prototype", "dense", P, K, (), 4, (8,), 0.2, "gaussian", 1.0, "standard", "euclidean", 1.0)
SCHEDULE = Schedule(1.0, 1.0, 1.0, 0.25, 0.1, 0.0, 4, 1, 8, 0.01, 0.0, 0, 0.0, True, 2, "cpu", 1, 1, "32-true", 0)
IMAGES: dict[str, Any] = {"architecture": "conv", "image_shape": (1, 8, 8)}


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def built(recipe: Recipe) -> SVQVAEModule:
    torch.manual_seed(0)
    return build_module(recipe.design)


def data(recipe: Recipe) -> tuple[MemoryBatches, MemoryBatches]:
    """Return samples to train on, and others."""
    X = torch.randn(2, N, *recipe.design.event_shape, generator=torch.Generator().manual_seed(0))
    y = torch.arange(N) % K
    return MemoryBatches(Part(X[0]), y, recipe.schedule.batch_size, 0), MemoryBatches(Part(X[1]), y, 8, 0)


def untimed(history: list[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_device_trains_as_the_training_loop_does(objective: str) -> None:
    recipe = Recipe(replace(DESIGN, objective=objective), SCHEDULE)
    if objective != "prototype":
        recipe = replace(recipe, schedule=replace(SCHEDULE, n_settling_epochs=0))
    weighed, schedule = OBJECTIVES[objective].of(recipe), recipe.schedule
    told: list[Row] = []
    plain, here = built(recipe), built(recipe)
    fabric = Fabric(accelerator="cpu", devices=1)
    history = train_on(here, *data(recipe), weighed, schedule, Watch(lambda *row: told.append(dict(row[2]))))
    # The number of threads changes bits.
    torch.set_num_threads(1)
    expected = train(plain, *data(recipe), weighed, schedule, fabric, Watch())
    assert untimed(history) == untimed(told) == untimed(expected)
    assert all(map(torch.equal, here.state_dict().values(), plain.state_dict().values()))


def test_training_runs_in_the_precision_of_the_schedule() -> None:
    recipe = Recipe(DESIGN, replace(SCHEDULE, precision="64-true"))
    module = built(recipe)
    train_on(module, *data(recipe), OBJECTIVES["prototype"].of(recipe), recipe.schedule, Watch())
    assert {weight.dtype for weight in module.parameters()} == {torch.float64}


@pytest.mark.parametrize(
    ("design", "n_operations", "expected"),
    [({}, processes.ONE_THREAD, 1), ({}, 1000.0, 2), (IMAGES, processes.ONE_THREAD, 2)],
    ids=["small products", "large products", "convolutions"],
)
def test_small_products_take_one_thread_and_the_others_come_back(
    design: dict[str, Any], n_operations: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(processes, "ONE_THREAD", n_operations)
    monkeypatch.setattr(processes, "train", lambda *_: seen.append(torch.get_num_threads()) or [])
    recipe = Recipe(replace(DESIGN, **design), SCHEDULE)
    train_on(built(recipe), *data(recipe), OBJECTIVES["prototype"].of(recipe), recipe.schedule, Watch())
    assert seen == [expected]
    assert torch.get_num_threads() == 2


def test_the_threads_come_back_after_a_failure() -> None:
    recipe = Recipe(DESIGN, SCHEDULE)

    def fail(*_: object) -> None:
        raise RuntimeError("the listener is gone")

    with pytest.raises(RuntimeError, match="the listener is gone"):
        train_on(built(recipe), *data(recipe), OBJECTIVES["prototype"].of(recipe), recipe.schedule, Watch(fail))
    assert torch.get_num_threads() == 2
