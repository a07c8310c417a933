"""The whole network: what it is built of, and what is refused."""

from typing import Any

import pytest
import torch
from torch import nn

from svqvae.model.likelihood import Bounded, NegativeBinomial
from svqvae.model.module import SVQVAEModule, build_module
from svqvae.model.quantizer import ClassMeanCodes, GradientCodes, squared_distances

N, P, D, K = 9, 6, 4, 3
SETTINGS: dict[str, Any] = {
    "n_features": P,
    "image_shape": None,
    "n_classes": K,
    "latent_dim": D,
    "hidden": (5,),
    "dropout": 0.0,
    "likelihood": "gaussian",
    "output_scale": 1.0,
    "geometry": "euclidean",
}


def build(architecture: Any = "dense", objective: str = "prototype", **settings: Any) -> SVQVAEModule:
    torch.manual_seed(0)
    return build_module(architecture, objective, **(SETTINGS | settings))


@pytest.mark.parametrize("objective", ["prototype", "published", "vqvae"])
def test_the_objective_decides_the_codebook(objective: str) -> None:
    module = build(objective=objective)
    assert isinstance(module.quantizer, ClassMeanCodes if objective == "prototype" else GradientCodes)
    assert module.is_supervised == (objective != "vqvae")
    assert module.quantizer.codes.shape == (K, D)
    assert module.training


@pytest.mark.parametrize("architecture", ["conv", "published-mnist"])
def test_rows_are_refused_by_networks_for_images(architecture: str) -> None:
    message = rf"`X` must hold images .* for architecture='{architecture}', or `image_shape` .*; got rows of 6 features"
    with pytest.raises(ValueError, match=message):
        build(architecture)


def test_a_pair_with_another_number_of_latents_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`latent_dim` must be what the encoder gives, 2, .*\(6,\); got 4"):
        build((nn.Linear(P, 2), nn.Linear(2, P)))


def test_a_pair_whose_decoder_gives_another_shape_is_refused() -> None:
    message = r"`architecture` must have a decoder that gives samples of shape \(6,\); it gives \(7,\)"
    with pytest.raises(ValueError, match=message):
        build((nn.Linear(P, D), nn.Linear(D, 7)))


def test_a_pair_whose_encoder_cannot_take_the_samples_is_refused() -> None:
    message = r"`architecture` must have an encoder for samples of shape \(6,\); it fails on them"
    with pytest.raises(ValueError, match=message):
        build((nn.Linear(P + 1, D), nn.Linear(D, P)))


def test_a_pair_whose_decoder_cannot_take_the_latents_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`architecture` must have a decoder"):
        build((nn.Linear(P, D), nn.Linear(D + 1, P)))


def test_a_pair_is_copied() -> None:
    encoder, decoder = nn.Linear(P, D), nn.Linear(D, P)
    module = build((encoder, decoder))
    assert torch.equal(module.encoder.get_parameter("weight"), encoder.weight)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert encoder.weight.abs().sum() > 0
    assert decoder.weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("architecture", "latent_dim", "image_shape"),
    [("conv", D, (1, 8, 8)), ("published-mnist", 3200, (1, 28, 28)), ("published-lincs", D, None)],
)
def test_named_architectures_are_built_for_their_data(architecture: str, latent_dim: int, image_shape) -> None:
    shape = image_shape or (P,)
    module = build(architecture, latent_dim=latent_dim, image_shape=image_shape, likelihood="bounded", output_scale=2.0)
    output = module(torch.randn(N, *shape), torch.arange(N) % K)
    assert output.latents.shape == (N, latent_dim)
    assert output.sample_output.shape == output.class_output.shape == (N, *shape)
    assert isinstance(module.likelihood, Bounded)
    assert module.likelihood.activation.scale == 2.0


def test_counts_get_a_dispersion_per_feature() -> None:
    likelihood = build(likelihood="negative_binomial").likelihood
    assert isinstance(likelihood, NegativeBinomial)
    assert likelihood.log_dispersion.shape == (P,)


def test_latents_have_unit_length_in_the_cosine_geometry_only() -> None:
    X = 5 * torch.randn(N, P)
    torch.testing.assert_close(build(geometry="cosine").encode(X).norm(dim=1), torch.ones(N))
    assert not torch.allclose(build().encode(X).norm(dim=1), torch.ones(N))


@pytest.mark.parametrize("objective", ["prototype", "published"])
def test_a_class_output_is_the_decoded_code_of_the_class(objective: str) -> None:
    module = build(objective=objective)
    y = torch.arange(N) % K
    with torch.no_grad():
        module.quantizer.codes.normal_()
    output = module(torch.randn(N, P), y)
    torch.testing.assert_close(output.class_output, module.decode(module.quantizer.codes)[y])
    torch.testing.assert_close(output.distances, squared_distances(output.latents, module.quantizer.codes))
    if objective == "prototype":
        torch.testing.assert_close(output.sample_output, module.decode(output.latents))
    else:
        assert output.sample_output is None


def test_more_codes_than_samples_are_decoded_only_where_all_are_needed() -> None:
    module = build(objective="prototype")
    module.quantizer.codes.normal_()
    X, y = torch.randn(K - 1, P), torch.arange(K - 1)
    whole, spared = module(X, y), module(X, y, needs_all_codes=False)
    assert len(whole.code_output) == K
    assert spared.code_output is None
    torch.testing.assert_close(spared.class_output, whole.class_output)
    torch.testing.assert_close(spared.sample_output, whole.sample_output)
    assert module(torch.randn(K, P), torch.arange(K), needs_all_codes=False).code_output is not None


def test_the_vqvae_never_looks_at_the_labels() -> None:
    module = build(objective="vqvae")
    X = torch.randn(N, P)
    first, second = module(X, torch.zeros(N, dtype=torch.int64)), module(X, torch.arange(N) % K)
    torch.testing.assert_close(first.class_output, second.class_output)


def test_permuting_the_codes_permutes_distances_and_nothing_else() -> None:
    module, X, y = build(), torch.randn(N, P), torch.arange(N) % K
    module.quantizer.codes.normal_()
    plain = module(X, y)
    order = torch.tensor([2, 0, 1])
    module.quantizer.codes.copy_(module.quantizer.codes[order.argsort()].clone())
    permuted = module(X, order[y])
    torch.testing.assert_close(permuted.class_output, plain.class_output)
    torch.testing.assert_close(permuted.distances[:, order], plain.distances)
