"""Decoding one row per class against decoding each sample by itself."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from svqvae.model.decoding import decode_own_codes
from svqvae.model.networks import ScaledTanh, dense

N, P, D, K = 17, 6, 4, 3


class Shifted(nn.Sequential):
    """A sequence with a forward pass of its own."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return super().forward(latents) + 1


class Masked(nn.Linear):
    """A linear layer of which every other weight counts as nothing."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        mask = torch.arange(self.weight.numel()).reshape(self.weight.shape) % 2
        return functional.linear(latents, self.weight * mask, self.bias)


@pytest.mark.parametrize("kind", ["dense", "conv", "layer", "own", "inplace", "subclass", "masked", "hooked"])
def test_decoding_one_row_per_class_equals_a_row_per_sample(kind: str) -> None:
    torch.manual_seed(1)
    decoder: nn.Module
    if kind == "dense":
        decoder = dense(P, D, (5,), P)[1]
    elif kind == "conv":
        parts = [nn.Linear(D, 8), nn.ReLU(), nn.Unflatten(1, (2, 2, 2))]
        parts += [nn.ConvTranspose2d(2, 3, 4, 2, 1), nn.ReLU(), nn.Conv2d(3, 1, 3, 1, 1)]
        decoder = nn.Sequential(*parts)
    elif kind == "layer":
        decoder = nn.Linear(D, P)
    elif kind == "own":
        decoder = nn.Sequential(nn.Linear(D, 8), nn.BatchNorm1d(8), nn.Linear(8, P))
    elif kind == "inplace":
        decoder = nn.Sequential(nn.Linear(D, 8), nn.ReLU(inplace=True), nn.Linear(8, P))
    elif kind == "masked":
        decoder = nn.Sequential(Masked(D, 8), nn.ReLU(), Masked(8, P))
    elif kind == "hooked":
        decoder = nn.Linear(D, P)
        decoder.register_forward_hook(lambda layer, inputs, output: 2 * output)
    else:
        decoder = Shifted(nn.Linear(D, P))
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


@pytest.mark.parametrize("activation", [nn.Identity(), ScaledTanh(3.0)], ids=["gaussian", "bounded"])
def test_decoding_one_row_per_class_equals_a_row_per_sample_in_bfloat16_up_to_its_rounding(
    activation: nn.Module,
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


def test_the_decoder_runs_on_one_row_per_class_that_is_present() -> None:
    rows: list[int] = []

    class Counted(nn.Linear):
        def forward(self, latents: torch.Tensor) -> torch.Tensor:
            rows.append(len(latents))
            return super().forward(latents)

    y = torch.tensor([0, 2, 2, 0, 2])
    decode_own_codes(Counted(D, P), nn.Identity(), torch.randn(5, D), torch.randn(K, D), y)
    assert rows == [2]


def test_codes_get_no_gradient_and_fixed_weights_none_either() -> None:
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(D, 5), nn.ReLU(), nn.Linear(5, P))
    decoder[0].requires_grad_(False)
    z, codes = torch.randn(N, D, requires_grad=True), torch.randn(K, D, requires_grad=True)
    decode_own_codes(decoder, nn.Identity(), z, codes, torch.arange(N) % K).sum().backward()
    assert codes.grad is None
    assert decoder[0].weight.grad is None
    assert z.grad.abs().sum() > 0
    assert decoder[2].weight.grad.abs().sum() > 0
