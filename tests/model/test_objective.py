"""The objectives against independent transcriptions in numpy."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.optim import Adam, AdamW

from svqvae.model.batches import Batch, ModuleOutput
from svqvae.model.likelihood import Bounded, Gaussian
from svqvae.model.module import SVQVAEModule, build_module
from svqvae.model.networks import dense, published_lincs
from svqvae.model.objective import (
    OBJECTIVES,
    VQVAE,
    Prototype,
    Published,
    code_error,
    one_cycle,
    optimize_decoder,
    prototype,
    published,
    vqvae,
)
from svqvae.model.quantizer import ClassMeanCodes, GradientCodes, squared_distances
from svqvae.model.recipe import Design, Recipe, Schedule

N, P, D, K = 17, 6, 4, 3
DESIGN = Design("prototype", "dense", P, K, (), D, (5,), 0.0, "gaussian", 1.0, "standard", "euclidean", 0.7)
SCHEDULE = Schedule(4.0, 3.0, 2.0, 0.25, 0.1, 0.3, 8, 1, 16, 0.01, 0.5, 0, 0.0, False, 10, "cpu", 1, 1, "32-true", 0)
RECIPE = Recipe(DESIGN, SCHEDULE)
WEIGHTS = {
    "reconstruction": 1.0,
    "codebook": 1.0,
    "commitment": 0.25,
    "codebook_divergence": -1.0,
    "divergence": -0.1,
}


def reference_terms(
    X: NDArray[np.float64],
    y: NDArray[np.int64],
    W: NDArray[np.float64],
    b: NDArray[np.float64],
    E: NDArray[np.float64],
    V: NDArray[np.float64],
    c: NDArray[np.float64],
    stopped: dict[str, NDArray[np.float64]] | None = None,
) -> dict[str, float]:
    """Compute the five published terms for one linear layer and a tanh each way.

    `stopped` holds the values behind a stop of the gradient; None takes the current ones.
    """
    z = np.tanh(X @ W.T + b)
    squared = ((z[:, None] - E[None]) ** 2).sum(2)
    nearest = squared.argmin(1)
    held = stopped or {"z": z, "E": E, "nearest": nearest}
    nearest = held["nearest"].astype(int)
    is_foreign = (nearest != y)[:, None]
    q = z + (held["E"][y] - held["z"])
    x_hat = 10 * np.tanh(q @ V.T + c)
    return {
        "reconstruction": ((x_hat - X) ** 2).mean(),
        "codebook": ((E[y] - held["z"]) ** 2).mean(),
        "commitment": ((held["E"][y] - z) ** 2).mean(),
        "codebook_divergence": (is_foreign * (E[nearest] - held["z"]) ** 2).mean(),
        "divergence": (is_foreign * (held["E"][nearest] - z) ** 2).mean(),
    }


@pytest.fixture
def problem() -> tuple[dict[str, NDArray[np.float64]], NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(3)
    arrays = {
        "W": rng.normal(size=(D, P)) / 2,
        "b": rng.normal(size=D) / 2,
        "E": rng.uniform(-1 / K, 1 / K, (K, D)),
        "V": rng.normal(size=(P, D)) / 3,
        "c": rng.normal(size=P) / 3,
    }
    return arrays, rng.normal(size=(N, P)) * 3, rng.integers(K, size=N)


def build(arrays: dict[str, NDArray[np.float64]]) -> SVQVAEModule:
    encoder, decoder = published_lincs(P, D)
    module = SVQVAEModule(encoder, GradientCodes(K, D), decoder, Bounded(scale=10.0)).double()
    values = zip(module.parameters(), (arrays[name] for name in ("W", "b", "E", "V", "c")), strict=True)
    with torch.no_grad():
        for parameter, value in values:
            parameter.copy_(torch.as_tensor(value))
    return module


def batch_of(X: torch.Tensor, y: torch.Tensor) -> Batch:
    return Batch(X, X, X, torch.ones(len(X), dtype=X.dtype), y)


def test_published_terms_equal_a_numpy_transcription(problem) -> None:
    arrays, X, y = problem
    module = build(arrays)
    batch = batch_of(torch.as_tensor(X), torch.as_tensor(y))
    output = module(batch.inputs, batch.y)
    terms = published(output, module.likelihood, batch)
    expected = reference_terms(X, y, **arrays)
    n_wrong = int((output.distances.argmin(1) != batch.y).sum())
    assert 0 < n_wrong < N
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize("term", WEIGHTS)
def test_published_gradients_equal_finite_differences(problem, term: str) -> None:
    arrays, X, y = problem
    module = build(arrays)
    batch = batch_of(torch.as_tensor(X), torch.as_tensor(y))
    published(module(batch.inputs, batch.y), module.likelihood, batch)[term].backward()
    z = np.tanh(X @ arrays["W"].T + arrays["b"])
    nearest = ((z[:, None] - arrays["E"][None]) ** 2).sum(2).argmin(1)
    stopped = {"z": z, "E": arrays["E"].copy(), "nearest": nearest}
    for name, parameter in zip(("W", "b", "E", "V", "c"), module.parameters(), strict=True):
        expected = np.zeros_like(arrays[name])
        for at in np.ndindex(*expected.shape):
            values = []
            for step in (1e-5, -1e-5):
                moved = arrays[name].copy()
                moved[at] += step
                values.append(reference_terms(X, y, **(arrays | {name: moved}), stopped=stopped)[term])
            expected[at] = (values[0] - values[1]) / 2e-5
        seen = np.zeros_like(expected) if parameter.grad is None else parameter.grad.numpy()
        np.testing.assert_allclose(seen, expected, atol=1e-6, err_msg=f"{term} by {name}")


def test_total_is_the_weighted_sum(problem) -> None:
    arrays, X, y = problem
    module = build(arrays)
    batch = batch_of(torch.as_tensor(X), torch.as_tensor(y))
    objective = Published(WEIGHTS)
    terms = objective.terms(module(batch.inputs, batch.y), batch, module.likelihood)
    expected = sum(WEIGHTS[name] * value for name, value in reference_terms(X, y, **arrays).items())
    assert objective.total(terms).item() == pytest.approx(expected)


def test_commitment_gradient_reaches_only_the_encoder(problem) -> None:
    arrays, X, y = problem
    module = build(arrays)
    batch = batch_of(torch.as_tensor(X), torch.as_tensor(y))
    published(module(batch.inputs, batch.y), module.likelihood, batch)["commitment"].backward()
    reached = {name for name, parameter in module.named_parameters() if parameter.grad is not None}
    assert reached == {"encoder.0.weight", "encoder.0.bias"}


def test_vqvae_represents_a_sample_by_its_nearest_code(problem) -> None:
    arrays, X, y = problem
    module = build(arrays)
    module.is_supervised = False
    batch = batch_of(torch.as_tensor(X), torch.as_tensor(y))
    output = module(batch.inputs, batch.y)
    terms = vqvae(output, module.likelihood, batch)
    nearest = output.distances.argmin(1).numpy()
    expected = reference_terms(X, nearest, **arrays)
    for name in ("reconstruction", "codebook", "commitment"):
        assert terms[name].item() == pytest.approx(expected[name])


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_prototype_terms_equal_a_numpy_transcription(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    z, E, y = rng.normal(size=(N, D)), rng.normal(size=(K, D)), rng.integers(K, size=N)
    X, of_samples, of_codes = (rng.normal(size=(n, P)) for n in (N, N, K))
    latents, codes, decoded = (torch.as_tensor(array) for array in (z, E, np.concatenate([of_samples, of_codes])))
    batch = batch_of(torch.as_tensor(X), torch.as_tensor(y))
    output = ModuleOutput(latents, codes, squared_distances(latents, codes), decoded, batch.y)
    terms = prototype(output, Gaussian(), batch, temperature=2.0, label_smoothing=smoothing)
    logits = -((z[:, None] - E[None]) ** 2).sum(2) / 2.0
    log_shares = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = {
        "sample_reconstruction": ((of_samples - X) ** 2).mean(),
        "class_reconstruction": ((of_codes[y] - X) ** 2).mean(),
        "label": -(1 - smoothing) * log_shares[np.arange(N), y].mean() - smoothing * log_shares.mean(),
        "commitment": ((z - E[y]) ** 2).mean(),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected)


def test_one_decoder_run_on_latents_and_codes_equals_a_row_per_sample() -> None:
    torch.manual_seed(0)
    encoder, decoder = dense(P, D, (5,), P)
    module = SVQVAEModule(encoder, ClassMeanCodes(K, D), decoder, Gaussian()).double()
    module.quantizer.codes.normal_()
    X, y = torch.randn(N, P, dtype=torch.float64), torch.randint(K, (N,))
    batch = batch_of(X, y)

    def gradients(total: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(total, list(module.parameters()))

    z = module.encode(X)
    codes = module.quantizer.codes
    plain = [functional.mse_loss(decoder(z), X), functional.mse_loss(decoder(codes[y]), X)]
    plain += [functional.cross_entropy(-torch.cdist(z, codes).square(), y), functional.mse_loss(z, codes[y])]
    shared = prototype(module(X, y), module.likelihood, batch, 1.0)
    for found, expected in zip(gradients(sum(shared.values())), gradients(sum(plain)), strict=True):
        torch.testing.assert_close(found, expected)


def test_classes_far_beyond_all_likelihood_pull_at_a_latent_by_nothing_and_not_by_subnormal_numbers() -> None:
    z = torch.zeros(1, 1, requires_grad=True)
    codes = torch.tensor([[0.0], [1.0], [9.4], [30.0]])
    distances = squared_distances(z, codes)
    distances.retain_grad()
    batch = batch_of(torch.zeros(1, 1), torch.tensor([0]))
    output = ModuleOutput(z, codes, distances, torch.zeros(5, 1), batch.y)
    prototype(output, Gaussian(), batch, 1.0)["label"].backward()
    slopes = distances.grad.abs().squeeze()
    # exp(-9.4²) is 4·10⁻³⁹, which single precision holds as a subnormal number.
    assert (slopes[:2] > 0.1).all()
    assert (slopes[2:] == 0).all()


def test_weights_are_those_of_the_recipe() -> None:
    rates = {"sample_reconstruction": 4.0, "class_reconstruction": 3.0, "label": 2.0, "commitment": 0.25}
    assert Prototype.of(RECIPE) == Prototype(rates, temperature=0.7, label_smoothing=0.3)
    assert Published.of(RECIPE) == Published(WEIGHTS)
    assert VQVAE.of(RECIPE) == VQVAE({"reconstruction": 1.0, "codebook": 1.0, "commitment": 0.25})


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_term_has_a_weight_and_every_weight_a_term(name: str) -> None:
    objective, module = OBJECTIVES[name].of(RECIPE), build_module(replace(DESIGN, objective=name))
    batch = batch_of(torch.randn(N, P), torch.arange(N) % K)
    terms = objective.terms(module(batch.inputs, batch.y), batch, module.likelihood)
    assert set(terms) == set(objective.weights)
    expected = sum(objective.weights[term] * value for term, value in terms.items())
    torch.testing.assert_close(objective.total(terms), expected)


def test_the_label_term_takes_temperature_and_smoothing_of_the_recipe() -> None:
    module = build_module(DESIGN)
    batch = batch_of(torch.randn(N, P), torch.arange(N) % K)
    output = module(batch.inputs, batch.y)
    found = Prototype.of(RECIPE).terms(output, batch, module.likelihood)
    expected = prototype(output, module.likelihood, batch, temperature=0.7, label_smoothing=0.3)
    assert {name: value.item() for name, value in found.items()} == {n: value.item() for n, value in expected.items()}


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (Prototype, {"codebook": ClassMeanCodes, "decodes_latents": True, "bounds_latents": False, "whitens": True}),
        (Published, {"codebook": GradientCodes, "decodes_latents": False, "bounds_latents": True, "whitens": False}),
        (VQVAE, {"codebook": GradientCodes, "decodes_latents": False, "bounds_latents": True, "whitens": False}),
    ],
)
def test_each_objective_says_what_network_it_wants(objective: type, expected: dict[str, Any]) -> None:
    assert {name: getattr(objective, name) for name in expected} == expected
    assert objective.is_supervised == (objective is not VQVAE)


@pytest.mark.parametrize(("n_classes", "expected"), [(2, 10), (10, 10), (23, 23), (40, 40), (1000, 40)])
def test_the_decoded_codes_of_the_default_objective_weigh_as_many_classes_within_bounds(
    n_classes: int, expected: int
) -> None:
    assert Prototype.of(RECIPE).settling_weight(n_classes) == expected * SCHEDULE.w_class


@pytest.mark.parametrize("objective", [Published, VQVAE])
def test_the_published_objectives_do_not_settle(objective: type) -> None:
    assert objective.of(RECIPE).settling_weight(K) is None


def test_the_default_objective_decays_weights_at_a_rate_that_rises_and_falls() -> None:
    network = nn.Linear(P, P)
    optimizer, scheduler = Prototype.of(RECIPE).optimize(network, 0.01, 0.5, n_steps=99)
    assert isinstance(optimizer, AdamW)
    assert optimizer.param_groups[0]["weight_decay"] == 0.5
    assert {id(weight) for weight in optimizer.param_groups[0]["params"]} == {id(w) for w in network.parameters()}
    rates = []
    for _ in range(99):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    top = int(np.argmax(rates))
    # The 20th of 99 steps is a fifth of the way.
    assert top == 19
    assert max(rates) == pytest.approx(0.01)
    assert rates == sorted(rates[: top + 1]) + sorted(rates[top + 1 :], reverse=True)
    assert 0 < rates[0] < 1e-4
    assert 0 < rates[-1] < 1e-4


@pytest.mark.parametrize("objective", [Published, VQVAE])
def test_the_published_optimiser_is_amsgrad_at_a_constant_rate_without_decay(objective: type) -> None:
    network = nn.Linear(P, P)
    optimizer, scheduler = objective.of(RECIPE).optimize(network, 0.01, 0.5, n_steps=9)
    assert type(optimizer) is Adam
    assert optimizer.param_groups[0]["amsgrad"]
    assert optimizer.param_groups[0]["weight_decay"] == 0
    for _ in range(9):
        assert optimizer.param_groups[0]["lr"] == 0.01
        optimizer.step()
        scheduler.step()


def test_one_cycle_is_half_a_cosine_up_and_one_down() -> None:
    assert [one_cycle(progress) for progress in (0.0, 0.1, 0.2, 0.6, 1.0)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_settling_trains_decoder_and_dispersions_at_a_third_of_the_rate_that_falls_to_nothing() -> None:
    module = build_module(replace(DESIGN, likelihood="negative_binomial"))
    optimizer, scheduler = optimize_decoder(module, 0.03, n_steps=10)
    trained = {id(weight) for weight in optimizer.param_groups[0]["params"]}
    assert trained == {id(weight) for part in (module.decoder, module.likelihood) for weight in part.parameters()}
    assert not any(weight.requires_grad for weight in module.encoder.parameters())
    rates = []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(rates, np.linspace(0.01, 0, 11), atol=1e-12)


def test_the_error_of_the_codes_counts_each_class_once() -> None:
    module = build_module(DESIGN)
    module.quantizer.codes.normal_()
    y, means = torch.tensor([0] * 9 + [1]), torch.randn(K, P)
    output = module(torch.randn(10, P), y)
    expected = functional.mse_loss(module.decode(module.quantizer.codes), means)
    torch.testing.assert_close(code_error(output, module.likelihood, means), expected)


def test_what_was_not_decoded_has_no_error() -> None:
    X, y, means = torch.randn(2, P), torch.arange(2), torch.randn(K, P)
    spared = build_module(DESIGN)(X, y, needs_all_codes=False)
    with pytest.raises(ValueError, match="`output` must hold all codes decoded; got none"):
        code_error(spared, Gaussian(), means)
    codes_only = build_module(replace(DESIGN, objective="published"))(X, y)
    with pytest.raises(ValueError, match="`output` must hold decoded latents for the prototype objective; got none"):
        prototype(codes_only, Gaussian(), batch_of(X, y), 1.0)
