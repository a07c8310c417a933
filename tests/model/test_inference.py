"""A trained module over many samples: chunks do not show."""

import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn

from svqvae.model import inference
from svqvae.model.likelihood import Bounded, Gaussian, Likelihood, NegativeBinomial
from svqvae.model.module import SVQVAEModule
from svqvae.model.networks import convolutional, dense
from svqvae.model.quantizer import ClassMeanCodes, Geometry

N, P, D, K = 23, 6, 4, 3


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "CHUNK", 5)


def build(
    likelihood: Likelihood, geometry: Geometry = "euclidean", pair: tuple[nn.Module, nn.Module] | None = None
) -> SVQVAEModule:
    torch.manual_seed(0)
    encoder, decoder = pair or dense(P, D, (5,), P)
    module = SVQVAEModule(encoder, ClassMeanCodes(K, D), decoder, likelihood, geometry).double().eval()
    module.quantizer.codes.normal_()
    return module


@pytest.mark.parametrize("geometry", ["euclidean", "cosine"])
def test_encoding_in_chunks_equals_encoding_at_once(geometry: Geometry) -> None:
    module, X = build(Gaussian(), geometry), torch.randn(N, P, dtype=torch.float64)
    latents = inference.encode(module, X)
    torch.testing.assert_close(latents, module.encode(X))
    assert not latents.requires_grad


def test_images_are_encoded_and_decoded_in_chunks() -> None:
    module = build(Bounded(scale=2.0), pair=convolutional((1, 8, 8), D))
    images = torch.randn(N, 1, 8, 8, dtype=torch.float64)
    latents = inference.encode(module, images)
    torch.testing.assert_close(latents, module.encode(images))
    decoded = inference.decode(module, latents, torch.ones(N))
    torch.testing.assert_close(decoded, 2 * torch.tanh(module.decoder(latents.clone())))


def test_decoding_gives_each_sample_the_mean_for_its_own_size() -> None:
    module = build(NegativeBinomial(P))
    latents, size = torch.randn(N, D, dtype=torch.float64), torch.arange(1.0, N + 1).double()
    decoded = inference.decode(module, latents, size)
    torch.testing.assert_close(decoded, module.likelihood.mean(module.decode(latents), size))
    torch.testing.assert_close(decoded.sum(1), size)


def test_distances_are_those_of_scipy_less_that_to_the_mean_code() -> None:
    module, latents = build(Gaussian()), torch.randn(N, D, dtype=torch.float64)
    codes = module.quantizer.codes
    expected = cdist(latents, torch.cat([codes, codes.mean(0, keepdim=True)]), "sqeuclidean")
    torch.testing.assert_close(
        inference.nearness(module)(latents), torch.as_tensor(expected[:, :-1] - expected[:, -1:])
    )


def test_cosine_distances_ignore_the_length_of_latents() -> None:
    module, latents = build(Gaussian(), "cosine"), torch.randn(N, D, dtype=torch.float64)
    distances = inference.nearness(module)
    torch.testing.assert_close(distances(latents), distances(7 * latents))


def test_inputs_of_another_precision_are_taken_in_that_of_the_codes() -> None:
    module, X = build(Gaussian()), torch.randn(N, P)
    latents = inference.encode(module, X)
    assert latents.dtype == torch.float64
    assert inference.decode(module, latents.float(), torch.ones(N)).dtype == torch.float64
    assert inference.nearness(module)(latents.float()).dtype == torch.float64
    torch.testing.assert_close(latents, inference.encode(module, X.double()))


def test_permuting_the_samples_permutes_the_latents() -> None:
    module, X, order = build(Gaussian()), torch.randn(N, P, dtype=torch.float64), torch.randperm(N)
    torch.testing.assert_close(inference.encode(module, X[order]), inference.encode(module, X)[order])
