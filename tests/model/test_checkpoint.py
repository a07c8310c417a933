"""Training that goes on from any epoch ends with the same bits as training that never stopped."""

import copy
import json
import time
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from svqvae.model.batches import MemoryBatches
from svqvae.model.checkpoint import Checkpoint
from svqvae.model.module import SVQVAEModule, build_module
from svqvae.model.objective import Loss
from svqvae.model.training import Row, train

PROTOTYPE = {"sample_reconstruction": 1.0, "class_reconstruction": 1.0, "label": 1.0, "commitment": 0.25}
PUBLISHED = {"reconstruction": 1.0, "codebook": 1.0, "commitment": 0.25, "codebook_divergence": -1.0}
PUBLISHED |= {"divergence": -0.1}
CASES: dict[str, dict[str, Any]] = {
    "dense": {},
    "dropout": {"dropout": 0.3},
    "early stopping": {"patience": 2},
    "images": {"architecture": "conv", "image_shape": (1, 8, 8), "likelihood": "bounded"},
    "counts": {"likelihood": "negative_binomial"},
    "published": {"objective": "published"},
}


def build(case: dict[str, Any]) -> SVQVAEModule:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"architecture": "dense", "objective": "prototype", "image_shape": None, "dropout": 0.0}
    settings |= {"n_features": 64, "n_classes": 3, "latent_dim": 4, "hidden": (8,), "likelihood": "gaussian"}
    settings |= {"output_scale": 1.0, "geometry": "euclidean"} | {k: v for k, v in case.items() if k != "patience"}
    return build_module(settings.pop("architecture"), settings.pop("objective"), **settings)


def fit(module: SVQVAEModule, case: dict[str, Any], **options: Any) -> list[Row]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    X = torch.rand(60, 64, generator=generator).round() + y[:, None].float()
    is_image = "image_shape" in case
    batches = MemoryBatches(*[X.reshape(60, 1, 8, 8) if is_image else X] * 2, y, 16, seed=3, max_shift=int(is_image))
    published = case.get("objective") == "published"
    return train(
        module,
        batches,
        MemoryBatches(batches.inputs[:12], batches.inputs[:12], y[:12], 16, seed=3),
        loss=Loss("published" if published else "prototype", PUBLISHED if published else PROTOTYPE),
        n_epochs=4,
        n_settling_epochs=2,
        learning_rate=0.01,
        weight_decay=0.1,
        patience=case.get("patience"),
        fabric=Fabric(accelerator="cpu", devices=1),
        on_epoch=lambda *_: None,
        **options,
    )


def state(module: SVQVAEModule) -> list[Tensor]:
    return list(module.state_dict().values())


def as_written(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint as it comes back from a file."""
    tensors = {name: value.clone() for name, value in checkpoint.tensors.items()}
    return Checkpoint(tensors, json.loads(json.dumps(dict(checkpoint.progress), allow_nan=False)))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_going_on_after_any_epoch_gives_the_same_bits(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("svqvae.model.training.KEEPING", 1)
    kept: list[Checkpoint] = []
    whole = build(case)
    history = fit(whole, case, keep=lambda checkpoint: kept.append(as_written(checkpoint)))
    assert len(kept) == len(history)
    for checkpoint in kept:
        resumed = build(case)
        again = fit(resumed, case, start=copy.deepcopy(checkpoint))
        assert all(map(torch.equal, state(resumed), state(whole)))
        assert [row["loss"] for row in again] == [row["loss"] for row in history]


def test_writing_the_state_takes_a_small_share_of_the_time() -> None:
    # Each writing takes far longer than the ten times nine epochs that follow it.
    kept: list[Checkpoint] = []
    fit(build({}), {}, keep=lambda checkpoint: (time.sleep(0.5), kept.append(checkpoint)))
    assert len(kept) == 1


def test_dropout_differs_between_epochs_and_seeds() -> None:
    first, second = (fit(build(CASES["dropout"]), CASES["dropout"])[n]["loss"] for n in (0, 1))
    assert first != second


def test_training_ends_after_the_epoch_in_which_it_was_asked_to_stop() -> None:
    history = fit(build({}), {}, is_stopped=lambda: True)
    assert [row.get("interrupted") for row in history] == [1]
