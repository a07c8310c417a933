"""The whole network: what it is built of, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from svqvae.model.likelihood import Bounded, NegativeBinomial
from svqvae.model.module import SVQVAEModule, build_module
from svqvae.model.networks import Pair, Tanh
from svqvae.model.quantizer import ClassMeanCodes, GradientCodes, squared_distances
from svqvae.model.recipe import OWN_NETWORKS, Design
from svqvae.model.whitening import WhitenedEncoder

N, P, D, K = 9, 6, 4, 3
DESIGN = Design("prototype", "dense", P, K, (), D, (5,), 0.0, "gaussian", 1.0, "standard", "euclidean", 1.0)
IMAGES: dict[str, Any] = {"architecture": "conv", "image_shape": (1, 8, 8), "n_features": 64}


def build(**design: Any) -> SVQVAEModule:
    torch.manual_seed(0)
    return build_module(replace(DESIGN, **design))


def build_of(own_networks: Pair) -> SVQVAEModule:
    return build_module(replace(DESIGN, architecture=OWN_NETWORKS), own_networks)


@pytest.mark.parametrize("objective", ["prototype", "published", "vqvae"])
def test_the_objective_decides_the_codebook(objective: str) -> None:
    module = build(objective=objective)
    assert isinstance(module.quantizer, ClassMeanCodes if objective == "prototype" else GradientCodes)
    assert module.is_supervised == (objective != "vqvae")
    assert module.quantizer.codes.shape == (K, D)
    assert module.training


@pytest.mark.parametrize("design", [{}, IMAGES], ids=["dense", "conv"])
@pytest.mark.parametrize("objective", ["published", "vqvae"])
def test_latents_of_the_published_objectives_are_bounded(objective: str, design: dict[str, Any]) -> None:
    module = build(objective=objective, **design)
    assert isinstance(module.encoder[-1], Tanh)
    X = 1e6 * torch.randn(N, *(design.get("image_shape") or (P,)))
    assert module.encode(X).abs().max() <= 1
    assert not any(isinstance(part, Tanh) for part in build(**design).encoder.modules())


def test_dense_encoders_of_the_default_objective_alone_read_whitened_features() -> None:
    assert isinstance(build().encoder, WhitenedEncoder)
    others = (build(objective="published"), build(**IMAGES), build_of((nn.Linear(P, D), nn.Linear(D, P))))
    for module in others:
        assert not any(isinstance(part, WhitenedEncoder) for part in module.modules())


def test_the_same_random_state_gives_the_same_weights() -> None:
    for a, b in zip(build().parameters(), build().parameters(), strict=True):
        assert torch.equal(a, b)


def test_dense_networks_have_the_hidden_layers_and_the_dropout_of_the_design() -> None:
    module = build(hidden=(7, 5), dropout=0.25)
    widths = [layer.out_features for layer in module.encoder.modules() if isinstance(layer, nn.Linear)]
    assert widths == [7, 5, D]
    assert [layer.p for layer in module.modules() if isinstance(layer, nn.Dropout)] == [0.25]


@pytest.mark.parametrize("architecture", ["conv", "published-mnist"])
def test_rows_are_refused_by_networks_for_images(architecture: str) -> None:
    message = rf"`X` must hold images .* for architecture='{architecture}', or `image_shape` .*; got rows of 6 features"
    with pytest.raises(ValueError, match=message):
        build(architecture=architecture)


def test_a_pair_with_another_number_of_latents_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`latent_dim` must be what the encoder gives, 2, .*\(6,\); got 4"):
        build_of((nn.Linear(P, 2), nn.Linear(2, P)))


def test_a_pair_whose_decoder_gives_another_shape_is_refused() -> None:
    message = r"`architecture` must have a decoder that gives samples of shape \(6,\); it gives \(7,\)"
    with pytest.raises(ValueError, match=message):
        build_of((nn.Linear(P, D), nn.Linear(D, 7)))


def test_a_pair_whose_encoder_cannot_take_the_samples_is_refused() -> None:
    message = r"`architecture` must have an encoder for samples of shape \(6,\); it fails on them"
    with pytest.raises(ValueError, match=message):
        build_of((nn.Linear(P + 1, D), nn.Linear(D, P)))


def test_a_pair_whose_decoder_cannot_take_the_latents_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"`architecture` must have a decoder for 4 latent dimensions; it fails on them"
    ):
        build_of((nn.Linear(P, D), nn.Linear(D + 1, P)))


def test_a_pair_is_copied() -> None:
    encoder, decoder = nn.Linear(P, D), nn.Linear(D, P)
    module = build_of((encoder, decoder))
    assert torch.equal(module.encoder.get_parameter("weight"), encoder.weight)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert encoder.weight.abs().sum() > 0
    assert decoder.weight.abs().sum() > 0


@pytest.mark.parametrize(
    ("architecture", "latent_dim", "image_shape"),
    [("conv", D, (1, 8, 8)), ("published-mnist", 3200, (1, 28, 28)), ("published-lincs", D, ())],
)
def test_named_architectures_are_built_for_their_data(
    architecture: str, latent_dim: int, image_shape: tuple[int, ...]
) -> None:
    shape = image_shape or (P,)
    sizes: dict[str, Any] = {"latent_dim": latent_dim, "image_shape": image_shape}
    module = build(architecture=architecture, likelihood="bounded", output_scale=2.0, **sizes)
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
