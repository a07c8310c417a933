"""Decode the code of each sample's class at the cost of one decoder row per class.

The published objective decodes q = z + sg(e_y - z) for each sample: the value is the code of its class, and the
gradient goes straight through to z. Samples of a class share the value, so the forward pass and the gradients of the
decoder's weights need one row per class in the batch. Only the gradient at the latents needs a row per sample.
"""

from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from svqvae.model.networks import Crop

# Element-wise layers.
ELEMENT_WISE = (
    nn.Identity,
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Softplus,
    nn.Sigmoid,
    nn.Tanh,
)
# Deterministic layers whose output for a row depends on that row alone.
ROW_WISE = (
    *ELEMENT_WISE,
    nn.Linear,
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.Flatten,
    nn.Unflatten,
    nn.LayerNorm,
    nn.GroupNorm,
    Crop,
)


def decode_own_codes(
    decoder: nn.Module,
    activation: nn.Module,
    latents: Float[Tensor, "batch latent"],
    codes: Float[Tensor, "classes latent"],
    y: Int[Tensor, " batch"],
) -> Float[Tensor, "batch *event"]:
    """Decode the code of each sample's class with a straight-through gradient.

    Parameters
    ----------
    decoder
        (rows, latent) to (rows, ...). If it is a layer of `ROW_WISE`, or an `nn.Sequential` of these, each class is
        decoded once; otherwise each sample is decoded separately.
    activation
        Layer after the decoder.
    latents
        z, (batch, latent).
    codes
        E, (classes, latent); receives no gradient.
    y
        Class index of each sample, (batch,).

    Returns
    -------
    torch.Tensor
        activation(decoder(e_y)), (batch, ...); its gradient reaches the decoder's weights and z.
    """
    own = codes.detach()
    layers = [*(decoder if type(decoder) is nn.Sequential else [decoder]), activation]
    if not all(isinstance(layer, ROW_WISE) and not getattr(layer, "inplace", False) for layer in layers):
        output: Tensor = activation(decoder(latents + (own[y] - latents).detach()))
        return output
    present, row_of_sample = torch.unique(y, return_inverse=True)
    weights = [weight for weight in decoder.parameters() if weight.requires_grad]
    shared: Tensor = _SharedDecoding.apply(latents, own[present], row_of_sample, layers, *weights)  # type: ignore[no-untyped-call]
    return shared


class _SharedDecoding(torch.autograd.Function):
    """Forward pass and weight gradients with one row per class in the batch; latent gradients with one per sample."""

    @staticmethod
    def forward(
        ctx: Any,
        latents: Tensor,
        codes: Tensor,
        row_of_sample: Tensor,
        layers: Sequence[nn.Module],
        *weights: Tensor,
    ) -> Tensor:
        inputs: list[Tensor] = []
        weights_used: list[Tensor | None] = []
        with torch.enable_grad():
            output = codes
            for layer in layers:
                inputs.append(output.detach())
                if _is_plain(layer):
                    # Under autocast the weight is cast once for the forward and the backward pass.
                    weight = _autocast_weight(layer.weight)
                    output = functional.linear(output, weight, layer.bias)
                    weights_used.append(weight.detach())
                else:
                    output = layer(output)
                    weights_used.append(None)
        ctx.inputs, ctx.weights_used, ctx.output, ctx.layers = inputs, weights_used, output, layers
        ctx.weights, ctx.row_of_sample = weights, row_of_sample
        return _take_rows(output.detach(), row_of_sample)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight_gradients: tuple[Tensor | None, ...] = ()
        if ctx.weights:
            summed = torch.zeros_like(ctx.output).index_add_(0, ctx.row_of_sample, gradient)
            weight_gradients = torch.autograd.grad(ctx.output, ctx.weights, summed, allow_unused=True)
        rows = None
        if ctx.needs_input_grad[0]:
            rows = gradient
            for layer, weight, layer_input in zip(
                reversed(ctx.layers), reversed(ctx.weights_used), reversed(ctx.inputs), strict=True
            ):
                if weight is None:
                    rows = _input_gradient(layer, layer_input, ctx.row_of_sample, rows)
                else:
                    rows = rows.to(weight.dtype) @ weight
            rows = rows.to(ctx.inputs[0].dtype)
        return rows, None, None, None, *weight_gradients


def _is_plain(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Return whether a layer computes just x Wᵀ + b: no subclass of `nn.Linear`, and no hooks."""
    return type(layer) is nn.Linear and not (layer._forward_pre_hooks or layer._forward_hooks)


def _autocast_weight(weight: Tensor) -> Tensor:
    """Return a weight in the precision of products under autocast, or as it is without autocast."""
    kind = weight.device.type
    return weight.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else weight


def _input_gradient(layer: nn.Module, layer_input: Tensor, row_of_sample: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient at a layer's input for each sample, given the gradient at its output.

    The gradient of a transposed convolution does not depend on its input. An element-wise layer has one derivative per
    number, which the samples of a class share. Any other layer, such as a linear layer with hooks, is run again with
    one row per sample.
    """
    if isinstance(layer, nn.Identity):
        return gradient
    if isinstance(layer, nn.Flatten | nn.Unflatten):
        return gradient.reshape(len(gradient), *layer_input.shape[1:])
    if isinstance(layer, nn.ConvTranspose2d) and not any(layer.output_padding):
        return functional.conv2d(
            gradient,
            layer.weight.to(gradient.dtype),
            None,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
        )
    if isinstance(layer, ELEMENT_WISE):
        with torch.enable_grad():
            values = layer_input.to(gradient.dtype).requires_grad_()
            (derivative,) = torch.autograd.grad(layer(values).sum(), values)
        return _take_rows(derivative, row_of_sample).mul_(gradient)
    # Under mixed precision the stored inputs have a lower precision than the weights.
    weight = next(layer.parameters(), None)
    rows = _take_rows(layer_input, row_of_sample).to(gradient.dtype if weight is None else weight.dtype)
    with torch.enable_grad():
        output = layer(rows.requires_grad_())
        (result,) = torch.autograd.grad(output, rows, gradient.to(output.dtype))
    return result


def _take_rows(tensor: Tensor, index: Tensor) -> Tensor:
    """Return rows of a tensor by index, each copied as a whole; images keep a channels-last memory format."""
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)
    return tensor.index_select(0, index)
