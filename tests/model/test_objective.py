"""The objectives against independent transcriptions in numpy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from svqvae.model.batches import Batch
from svqvae.model.decoding import decode_own_codes
from svqvae.model.likelihood import Bounded, Gaussian
from svqvae.model.module import ModuleOutput, SVQVAEModule
from svqvae.model.networks import ScaledTanh, dense, published_lincs
from svqvae.model.objective import Loss, prototype, published, vqvae
from svqvae.model.quantizer import ClassMeanCodes, GradientCodes, squared_distances

N, P, D, K = 17, 6, 4, 3
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
    module = SVQVAEModule(encoder, GradientCodes(K, D), decoder, Bounded(10.0)).double()
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
    loss = Loss("published", WEIGHTS)
    terms = loss.terms(module(batch.inputs, batch.y), batch, module.likelihood)
    expected = sum(WEIGHTS[name] * value for name, value in reference_terms(X, y, **arrays).items())
    assert loss.total(terms).item() == pytest.approx(expected)


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


class Shifted(torch.nn.Sequential):
    """A sequence with a forward pass of its own."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return super().forward(latents) + 1


class Masked(torch.nn.Linear):
    """A linear layer of which every other weight counts as nothing."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        mask = torch.arange(self.weight.numel()).reshape(self.weight.shape) % 2
        return torch.nn.functional.linear(latents, self.weight * mask, self.bias)


@pytest.mark.parametrize("kind", ["dense", "conv", "layer", "own", "inplace", "subclass", "masked", "hooked"])
def test_decoding_one_row_per_class_equals_a_row_per_sample(kind: str) -> None:
    torch.manual_seed(1)
    decoder: torch.nn.Module
    if kind == "dense":
        decoder = dense(P, D, (5,), P)[1]
    elif kind == "conv":
        parts = [torch.nn.Linear(D, 8), torch.nn.ReLU(), torch.nn.Unflatten(1, (2, 2, 2))]
        parts += [torch.nn.ConvTranspose2d(2, 3, 4, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(3, 1, 3, 1, 1)]
        decoder = torch.nn.Sequential(*parts)
    elif kind == "layer":
        decoder = torch.nn.Linear(D, P)
    elif kind == "own":
        decoder = torch.nn.Sequential(torch.nn.Linear(D, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, P))
    elif kind == "inplace":
        decoder = torch.nn.Sequential(torch.nn.Linear(D, 8), torch.nn.ReLU(inplace=True), torch.nn.Linear(8, P))
    elif kind == "masked":
        decoder = torch.nn.Sequential(Masked(D, 8), torch.nn.ReLU(), Masked(8, P))
    elif kind == "hooked":
        decoder = torch.nn.Linear(D, P)
        decoder.register_forward_hook(lambda layer, inputs, output: 2 * output)
    else:
        decoder = Shifted(torch.nn.Linear(D, P))
    decoder = decoder.double()
    z = torch.randn(N, D, dtype=torch.float64, requires_grad=True)
    codes, y = torch.randn(K, D, dtype=torch.float64), torch.randint(K - 1, (N,))
    activation = ScaledTanh(3.0)
    shared = decode_own_codes(decoder, activation, z, codes, y)
    plain = activation(decoder(z + (codes[y] - z).detach()))
    torch.testing.assert_close(shared, plain)
    pull = torch.randn_like(plain)
    wanted = [z, *decoder.parameters()]
    for a, b in zip(torch.autograd.grad(shared, wanted, pull), torch.autograd.grad(plain, wanted, pull), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("activation", [torch.nn.Identity(), ScaledTanh(3.0)], ids=["gaussian", "bounded"])
def test_decoding_one_row_per_class_equals_a_row_per_sample_in_bfloat16_up_to_its_rounding(
    activation: torch.nn.Module,
) -> None:
    torch.manual_seed(1)
    decoder = dense(P, D, (5,), P)[1]
    z, codes, y = torch.randn(N, D, requires_grad=True), torch.randn(K, D), torch.randint(K, (N,))
    with torch.autocast("cpu", torch.bfloat16):
        shared = decode_own_codes(decoder, activation, z, codes, y)
    # tanh is taken in single precision.
    assert shared.dtype == (torch.float32 if isinstance(activation, ScaledTanh) else torch.bfloat16)
    plain = activation(decoder(z + (codes[y] - z).detach()))
    pull = torch.randn_like(plain)
    wanted = [z, *decoder.parameters()]
    found = torch.autograd.grad(shared.float(), wanted, pull)
    for a, b in zip([shared.float(), *found], [plain, *torch.autograd.grad(plain, wanted, pull)], strict=True):
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.05 * float(b.detach().abs().max()))


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
