"""Training that goes on from any epoch ends with the same bits as training that never stopped."""

import copy
import json
import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from svqvae.model.batches import MemoryBatches, Part
from svqvae.model.checkpoint import Checkpoint, Row
from svqvae.model.module import SVQVAEModule, build_module
from svqvae.model.objective import OBJECTIVES
from svqvae.model.recipe import Design, Recipe, Schedule
from svqvae.model.training import Watch, train

DESIGN = Design("prototype", "dense", 64, 3, (), 4, (8,), 0.0, "gaussian", 1.0, "standard", "euclidean", 1.0)
SCHEDULE = Schedule(1.0, 1.0, 1.0, 0.25, 0.1, 0.0, 6, 2, 16, 0.01, 0.1, 0, 0.2, False, 2, "cpu", 1, 1, "32-true", 3)
IMAGES: dict[str, Any] = {"architecture": "conv", "image_shape": (1, 8, 8), "likelihood": "bounded"}
CASES = {
    "dense": Recipe(DESIGN, SCHEDULE),
    "dropout": Recipe(replace(DESIGN, dropout=0.3), SCHEDULE),
    "early stopping": Recipe(DESIGN, replace(SCHEDULE, early_stopping=True)),
    "images": Recipe(replace(DESIGN, **IMAGES), replace(SCHEDULE, max_shift=1)),
    "counts": Recipe(replace(DESIGN, likelihood="negative_binomial"), SCHEDULE),
    "published": Recipe(replace(DESIGN, objective="published"), replace(SCHEDULE, n_epochs=4, n_settling_epochs=0)),
}


def build(recipe: Recipe) -> SVQVAEModule:
    torch.manual_seed(0)
    return build_module(recipe.design)


def fit(module: SVQVAEModule, recipe: Recipe, watch: Watch) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    X = torch.rand(60, 64, generator=generator).round() + y[:, None].float()
    part, schedule = Part(X.reshape(60, *recipe.design.event_shape)), recipe.schedule
    return train(
        module,
        MemoryBatches(part, y, schedule.batch_size, schedule.seed, schedule.max_shift),
        MemoryBatches(Part(part.inputs[:12]), y[:12], schedule.batch_size, schedule.seed),
        OBJECTIVES[recipe.design.objective].of(recipe),
        schedule,
        Fabric(accelerator="cpu", devices=1),
        watch,
    )


def state(module: SVQVAEModule) -> list[Tensor]:
    return list(module.state_dict().values())


def as_written(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint as it comes back from a file."""
    tensors = {name: value.clone() for name, value in checkpoint.tensors.items()}
    return Checkpoint(tensors, json.loads(json.dumps(dict(checkpoint.progress), allow_nan=False)))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_going_on_after_any_epoch_gives_the_same_bits(case: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("svqvae.model.training.KEEPING", 1)
    kept: list[Checkpoint] = []
    whole = build(case)
    history = fit(whole, case, Watch(keep=lambda checkpoint: kept.append(as_written(checkpoint))))
    assert len(kept) == len(history)
    for checkpoint in kept:
        resumed = build(case)
        again = fit(resumed, case, Watch(start=copy.deepcopy(checkpoint)))
        assert all(map(torch.equal, state(resumed), state(whole)))
        assert [row["loss"] for row in again] == [row["loss"] for row in history]


def test_writing_the_state_takes_a_small_share_of_the_time() -> None:
    # Each writing takes far longer than the ten times nine epochs that follow it.
    kept: list[Checkpoint] = []

    def keep(checkpoint: Checkpoint) -> None:
        time.sleep(0.5)
        kept.append(checkpoint)

    fit(build(CASES["dense"]), CASES["dense"], Watch(keep=keep))
    assert len(kept) == 1


def test_dropout_differs_between_epochs_and_seeds() -> None:
    def losses(dropout: float, seed: int) -> list[float]:
        still = {"learning_rate": 1e-12, "weight_decay": 0.0, "batch_size": 60, "seed": seed}
        case = Recipe(replace(DESIGN, dropout=dropout), replace(SCHEDULE, **still))
        return [row["loss"] for row in fit(build(case), case, Watch())[:2]]

    # Weights stand still and the order of one batch is of no account: what else would differ is left out.
    assert losses(0.0, seed=3) == pytest.approx([losses(0.0, seed=4)[0]] * 2)
    assert len({round(loss, 3) for seed in (3, 4) for loss in losses(0.3, seed)}) == 4


def test_training_ends_after_the_epoch_in_which_it_was_asked_to_stop() -> None:
    history = fit(build(CASES["dense"]), CASES["dense"], Watch(is_stopped=lambda: True))
    assert [row.get("interrupted") for row in history] == [1]
