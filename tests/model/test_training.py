"""The training loop on tiny dense networks."""

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from svqvae.model.batches import MemoryBatches, Part
from svqvae.model.checkpoint import Row
from svqvae.model.inference import decode, encode, nearness
from svqvae.model.module import SVQVAEModule, build_module
from svqvae.model.networks import Pair
from svqvae.model.objective import OBJECTIVES
from svqvae.model.recipe import OWN_NETWORKS, Design, Recipe, Schedule
from svqvae.model.training import Phase, Watch, phases_of, train

N, P, D, K = 60, 6, 4, 3
DESIGN = Design("prototype", "dense", P, K, (), D, (8,), 0.0, "gaussian", 1.0, "standard", "euclidean", 1.0)
SCHEDULE = Schedule(1.0, 1.0, 1.0, 0.25, 0.1, 0.0, 7, 2, 16, 0.01, 0.0, 0, 0.0, False, 10, "cpu", 1, 1, "32-true", 0)


def recipe(objective: str = "prototype", **schedule: Any) -> Recipe:
    """Return seven epochs, of which two settle with the objective that settles."""
    n_settling_epochs = 2 if objective == "prototype" else 0
    changes = {"n_settling_epochs": n_settling_epochs, **schedule}
    return Recipe(replace(DESIGN, objective=objective), replace(SCHEDULE, **changes))


def blobs(seed: int = 0, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    """Draw samples of three classes that lie apart."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(N) % K
    return 2 * torch.eye(K, P)[y] + noise * torch.randn(N, P, generator=generator), y


def build(objective: str = "prototype", own_networks: Pair | None = None, **design: Any) -> SVQVAEModule:
    torch.manual_seed(0)
    return build_module(replace(DESIGN, objective=objective, **design), own_networks)


def fit(
    module: SVQVAEModule,
    objective: str = "prototype",
    X: Tensor | None = None,
    y: Tensor | None = None,
    validation: MemoryBatches | None = None,
    watch: Watch | None = None,
    **schedule: Any,
) -> list[Row]:
    samples, labels = blobs()
    made = recipe(objective, **schedule)
    part, y = Part(samples if X is None else X), labels if y is None else y
    return train(
        module,
        MemoryBatches(part, y, made.schedule.batch_size, seed=0),
        validation,
        OBJECTIVES[objective].of(made),
        made.schedule,
        Fabric(accelerator="cpu", devices=1),
        watch or Watch(),
    )


def held_out(is_shuffled: bool = False) -> MemoryBatches:
    X, y = blobs(seed=1)
    return MemoryBatches(Part(X), y.flip(0).roll(1) if is_shuffled else y, 16, seed=0)


def class_means(module: SVQVAEModule) -> np.ndarray:
    X, y = blobs()
    latents = encode(module, X).double().numpy()
    return np.stack([latents[y.numpy() == k].mean(0) for k in range(K)])


def weights(part: nn.Module) -> list[Tensor]:
    return [value.clone() for value in part.state_dict().values()]


@pytest.mark.parametrize(
    ("objective", "n_settling_epochs", "expected"),
    [
        ("prototype", 2, (Phase(5, trains_all=True), Phase(2, trains_all=False))),
        ("prototype", 0, (Phase(7, trains_all=True),)),
        ("published", 0, (Phase(7, trains_all=True),)),
        ("vqvae", 0, (Phase(7, trains_all=True),)),
    ],
)
def test_the_decoder_settles_after_the_whole_network_where_the_objective_wants_it(
    objective: str, n_settling_epochs: int, expected: tuple[Phase, ...]
) -> None:
    made = recipe(objective, n_settling_epochs=n_settling_epochs)
    assert phases_of(OBJECTIVES[objective].of(made), made.schedule) == expected


def test_a_class_weight_of_zero_leaves_the_settling_in_place() -> None:
    made = recipe(w_class=0.0)
    assert len(phases_of(OBJECTIVES["prototype"].of(made), made.schedule)) == 2
    assert len(fit(build(), w_class=0.0)) == 7


@pytest.mark.parametrize("geometry", ["euclidean", "cosine"])
def test_class_mean_codes_end_as_the_exact_class_means(geometry: str) -> None:
    module = build(geometry=geometry)
    fit(module)
    np.testing.assert_allclose(module.quantizer.codes.numpy(), class_means(module), rtol=0, atol=1e-6)


@pytest.mark.parametrize("likelihood", ["gaussian", "negative_binomial"])
def test_settling_leaves_encoder_and_codes_and_moves_the_decoder(likelihood: str) -> None:
    states: list[tuple[list[Tensor], ...]] = []
    module = build(likelihood=likelihood)

    def note(*_: object) -> None:
        parts = (module.encoder, module.decoder, module.likelihood)
        states.append((*(weights(part) for part in parts), [module.quantizer.codes.clone()]))

    X = blobs()[0].abs().round() + 1
    fit(module, X=X, n_epochs=6, n_settling_epochs=3, watch=Watch(note))
    trained, first, last = states[2], states[3], states[-1]
    assert all(map(torch.equal, trained[0], last[0]))
    assert all(map(torch.equal, first[3], last[3]))
    assert not any(map(torch.equal, trained[1], last[1]))
    assert not any(map(torch.equal, trained[2], last[2]))


def test_settling_improves_what_the_decoder_makes_of_the_codes() -> None:
    without, settled = build(), build()
    row = fit(without, n_epochs=6, n_settling_epochs=1)[-1]
    assert fit(settled, n_epochs=25, n_settling_epochs=20)[-1]["class_reconstruction"] < row["class_reconstruction"]


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_the_code_of_a_rare_class_decodes_to_the_mean_of_its_samples(likelihood: str) -> None:
    X = (blobs()[0] > 1).float() if likelihood == "bernoulli" else blobs()[0]
    y = torch.zeros(N, dtype=torch.int64)
    y[:10], y[10:12] = 1, 2
    module = build(likelihood=likelihood)
    fit(module, X=X, y=y, n_epochs=120, n_settling_epochs=100)
    profiles = decode(module, module.quantizer.codes, torch.ones(K))
    means = torch.stack([X[y == k].mean(0) for k in range(K)])
    assert (profiles - means).square().mean() < 0.05 * X.var()


def test_training_without_settling_ends_after_its_epochs() -> None:
    module = build()
    assert len(fit(module, n_epochs=5, n_settling_epochs=0)) == 5
    np.testing.assert_allclose(module.quantizer.codes.numpy(), class_means(module), rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 4, 5, 6, 10])
def test_any_number_of_steps_can_be_trained(n_steps: int) -> None:
    history = fit(build(), batch_size=N, n_epochs=n_steps + 1, n_settling_epochs=1)
    assert len(history) == n_steps + 1


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_history_has_a_row_per_epoch_with_each_named_term(objective: str) -> None:
    history = fit(build(objective), objective, validation=held_out())
    assert [row["epoch"] for row in history] == list(range(7))
    weight_of = OBJECTIVES[objective].of(recipe(objective)).weights
    figures = {*weight_of, "loss"}
    expected = figures | {f"validation_{name}" for name in {*figures, "accuracy"}}
    for row in history:
        assert set(row) == expected | {"epoch", "learning_rate", "seconds"}
        total = sum(weight * row[name] for name, weight in weight_of.items())
        assert row["loss"] == pytest.approx(total, rel=1e-5)


def test_without_validation_data_the_history_has_no_validation() -> None:
    assert not [name for name in fit(build())[0] if name.startswith("validation")]


def test_the_rate_rises_and_falls_and_the_published_rate_is_constant() -> None:
    rates = [row["learning_rate"] for row in fit(build(), n_epochs=22)]
    top = int(np.argmax(rates[:20]))
    assert 2 <= top <= 5
    assert rates[:20] == sorted(rates[: top + 1]) + sorted(rates[top + 1 : 20], reverse=True)
    assert {row["learning_rate"] for row in fit(build("published"), "published")} == {0.01}


@pytest.mark.parametrize("objective", ["prototype", "published"])
def test_on_epoch_is_told_each_row_in_order(objective: str) -> None:
    calls: list[tuple[int, int, Mapping[str, float]]] = []
    history = fit(build(objective), objective, watch=Watch(lambda *told: calls.append(told)))
    assert calls == [(epoch, 7, row) for epoch, row in enumerate(history)]


def test_on_epoch_hears_of_fewer_epochs_once_training_has_ended_early() -> None:
    told: list[int] = []
    watch = Watch(lambda epoch, n_epochs, row: told.append(n_epochs))
    history = fit(build(), validation=held_out(is_shuffled=True), n_epochs=200, early_stopping=True, watch=watch)
    assert told == [200] * (len(history) - 2) + [len(history)] * 2


@pytest.mark.parametrize("objective", ["published", "prototype"])
def test_early_stopping_ends_soon_and_gives_the_best_weights_back(objective: str) -> None:
    module, states = build(objective), []
    validation = held_out(is_shuffled=True)
    history = fit(
        module,
        objective,
        validation=validation,
        n_epochs=200,
        early_stopping=True,
        patience=4,
        learning_rate=0.02,
        watch=Watch(lambda *_: states.append(weights(module.encoder))),
    )
    n_trained = len(history) - (2 if objective == "prototype" else 0)
    losses = [row["validation_loss"] for row in history[:n_trained]]
    best = int(np.argmin(losses))
    assert n_trained == best + 5 < 200
    assert all(map(torch.equal, weights(module.encoder), states[best]))
    assert not all(map(torch.equal, weights(module.encoder), states[n_trained - 1]))


@pytest.mark.parametrize("case", ["not asked for", "nothing held out"])
def test_patience_counts_only_with_early_stopping_and_samples_held_out(case: str) -> None:
    module, states = build(), []
    is_asked = case == "nothing held out"
    validation = None if is_asked else held_out(is_shuffled=True)
    watch = Watch(lambda *_: states.append(weights(module.encoder)))
    history = fit(module, validation=validation, n_epochs=40, early_stopping=is_asked, patience=1, watch=watch)
    assert len(history) == 40
    # The last weights stay, whatever the validation loss said.
    assert all(map(torch.equal, weights(module.encoder), states[37]))


@pytest.mark.parametrize("epoch_of_interrupt", [1, 5])
def test_ctrl_c_ends_training_cleanly_with_exact_codes(epoch_of_interrupt: int) -> None:
    def interrupt(epoch: int, *_: object) -> None:
        if epoch == epoch_of_interrupt:
            raise KeyboardInterrupt

    module = build()
    history = fit(module, watch=Watch(interrupt))
    assert [row.get("interrupted") for row in history] == [None] * epoch_of_interrupt + [1.0]
    assert not module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    np.testing.assert_allclose(module.quantizer.codes.numpy(), class_means(module), rtol=0, atol=1e-6)


def test_ctrl_c_before_the_first_epoch_is_over_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MemoryBatches, "epoch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(build())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_loss_that_is_not_finite_is_an_error(objective: str) -> None:
    X = blobs()[0]
    X[7, 2] = math.inf
    with pytest.raises(FloatingPointError, match=r"broke down in epoch 1: .* Use a `learning_rate` below 0\.01, or"):
        fit(build(objective), objective, X=X)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_same_seed_gives_the_same_bits(objective: str) -> None:
    first, second = build(objective, dropout=0.2), build(objective, dropout=0.2)
    rows = []
    for module in (first, second):
        torch.manual_seed(1)
        history = fit(module, objective, validation=held_out())
        rows.append([{name: value for name, value in row.items() if name != "seconds"} for row in history])
    assert rows[0] == rows[1]
    assert all(map(torch.equal, weights(first), weights(second)))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loss_goes_down_on_classes_that_lie_apart(objective: str) -> None:
    history = fit(build(objective), objective, n_epochs=22)
    # The published divergence is unbounded below, so its own terms are followed.
    name = "reconstruction" if objective == "published" else "loss"
    assert history[-1][name] < 0.7 * history[0][name]


def test_held_out_samples_are_nearest_to_the_code_of_their_class() -> None:
    module = build()
    history = fit(module, validation=held_out(), n_epochs=22)
    X, y = blobs(seed=1)
    is_right = nearness(module)(encode(module, X)).argmin(1) == y
    assert is_right.all()
    assert history[-1]["validation_accuracy"] == 1


def test_decoded_codes_are_near_the_class_means_of_the_data() -> None:
    module = build()
    fit(module, n_epochs=60, n_settling_epochs=20)
    X, y = blobs()
    means = torch.stack([X[y == k].mean(0) for k in range(K)])
    profiles = decode(module, module.quantizer.codes, torch.ones(K))
    assert (profiles - means).square().mean() < 0.05 * (X - X.mean(0)).square().mean()


def test_permuting_the_classes_permutes_the_codes() -> None:
    plain, permuted = build(), build()
    order = torch.tensor([2, 0, 1])
    y = blobs()[1]
    for module, labels in ((plain, y), (permuted, order[y])):
        fit(module, y=labels, n_epochs=4, n_settling_epochs=1)
    torch.testing.assert_close(permuted.quantizer.codes[order], plain.quantizer.codes, rtol=1e-4, atol=1e-5)


def test_codes_follow_the_latents_where_a_users_first_layer_is_fixed() -> None:
    encoder = nn.Sequential(nn.Linear(P, D), nn.Linear(D, D))
    encoder[0].requires_grad_(False)
    module, seen = build(own_networks=(encoder, nn.Linear(D, P)), architecture=OWN_NETWORKS), []
    fixed, start = copy.deepcopy(module.encoder[0].weight), copy.deepcopy(module.encoder[1].weight)
    fit(module, n_epochs=5, watch=Watch(lambda *_: seen.append(module.quantizer.codes.clone())))
    assert torch.equal(module.encoder[0].weight, fixed)
    assert not torch.equal(module.encoder[1].weight, start)
    assert not torch.equal(seen[0], seen[1])


def test_an_encoder_without_parameters_can_be_trained() -> None:
    module = build(own_networks=(nn.Identity(), nn.Linear(P, P)), architecture=OWN_NETWORKS, latent_dim=P)
    assert len(fit(module)) == 7
