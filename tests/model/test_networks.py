"""Shapes and invariants of the encoder and decoder pairs."""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from svqvae.model.networks import convolutional, dense, published_lincs, published_mnist

IMAGES = [(1, 8, 8), (1, 28, 28), (3, 20, 17), (2, 4, 5), (1, 15, 16), (1, 33, 16)]


def shapes(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(parameter.shape) for parameter in module.parameters()]


@pytest.mark.parametrize("image_shape", IMAGES)
def test_convolutional_pair_maps_images_to_latents_and_back(image_shape: tuple[int, int, int]) -> None:
    encoder, decoder = convolutional(image_shape, 6)
    images = torch.randn(3, *image_shape)
    latents = encoder(images)
    assert latents.shape == (3, 6)
    assert decoder(latents).shape == images.shape


@pytest.mark.parametrize("image_shape", [(1, 3, 8), (3, 28, 2)])
def test_images_that_are_too_small_are_refused(image_shape: tuple[int, int, int]) -> None:
    size = f"{image_shape[1]}×{image_shape[2]}"
    with pytest.raises(ValueError, match=rf"at least 4×4 pixels .*; got {size}\. Use architecture='dense'"):
        convolutional(image_shape, 6)


@pytest.mark.parametrize("hidden", [(), (9,), (9, 7)])
def test_dense_decoder_mirrors_the_encoder(hidden: tuple[int, ...]) -> None:
    encoder, decoder = dense(5, 3, hidden, 4)
    assert encoder(torch.randn(2, 5)).shape == (2, 3)
    assert decoder(torch.randn(2, 3)).shape == (2, 4)
    widths = [layer.out_features for layer in encoder if isinstance(layer, nn.Linear)]
    mirrored = [layer.in_features for layer in decoder if isinstance(layer, nn.Linear)]
    assert widths == [*hidden, 3]
    assert mirrored == [3, *reversed(hidden)]


def test_dropout_leaves_out_inputs_in_training_only() -> None:
    torch.manual_seed(0)
    encoder, decoder = dense(5, 3, (4,), 5, dropout=0.5)
    X = torch.randn(20, 5)
    encoder.eval()
    assert torch.equal(encoder(X), encoder(X))
    encoder.train()
    assert not torch.equal(encoder(X), encoder(X))
    assert not any(isinstance(layer, nn.Dropout) for layer in decoder.modules())


def test_published_mnist_has_the_notebooks_parameters() -> None:
    encoder, decoder = published_mnist()
    assert shapes(encoder) == [(20, 1, 5, 5), (20,), (50, 20, 5, 5), (50,)]
    assert shapes(decoder) == [(50, 20, 3, 3), (20,), (20, 1, 5, 5), (1,)]


def test_published_mnist_has_3200_latents_and_gives_28_by_28_images() -> None:
    encoder, decoder = published_mnist()
    latents = encoder(torch.randn(2, 1, 28, 28))
    assert latents.shape == (2, 3200)
    assert latents.abs().max() <= 1
    assert decoder(latents).shape == (2, 1, 28, 28)


def test_published_mnist_starts_as_pytorch_0_4_did() -> None:
    _, decoder = published_mnist()
    first, last = (layer for layer in decoder.modules() if isinstance(layer, nn.ConvTranspose2d))
    for layer, inputs_times_area in ((first, 50 * 9), (last, 20 * 25)):
        largest = max(float(weight.detach().abs().max()) for weight in layer.parameters())
        assert 0.95 < largest * inputs_times_area**0.5 <= 1


def test_published_lincs_is_one_linear_layer_each_way() -> None:
    encoder, decoder = published_lincs(978, 1000)
    assert shapes(encoder) == [(1000, 978), (1000,)]
    assert shapes(decoder) == [(978, 1000), (978,)]
    latents = encoder(100 * torch.randn(2, 978))
    assert latents.abs().max() <= 1
    assert decoder(latents).shape == (2, 978)


@pytest.mark.parametrize("image_shape", [None, *IMAGES[:3]])
def test_a_latent_decodes_alike_alone_and_among_others(image_shape: tuple[int, int, int] | None) -> None:
    decoder = (dense(5, 6, (4,), 5) if image_shape is None else convolutional(image_shape, 6))[1].double().train()
    assert not any(isinstance(part, _BatchNorm) for part in decoder.modules())
    latents = torch.randn(4, 6, dtype=torch.float64)
    torch.testing.assert_close(decoder(latents)[:1], decoder(latents[:1]))
