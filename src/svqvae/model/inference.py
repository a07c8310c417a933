"""Run a trained module over many samples, in chunks and without gradients."""

import torch
from jaxtyping import Float
from torch import Tensor

from svqvae.model.module import SVQVAEModule
from svqvae.model.quantizer import squared_distances

CHUNK = 1024


@torch.inference_mode()
def encode(module: SVQVAEModule, inputs: Float[Tensor, "n *event"]) -> Float[Tensor, "n latent"]:
    """Return the latent of each sample."""
    return torch.cat([module.encode(chunk.to(module.quantizer.codes.dtype)) for chunk in torch.split(inputs, CHUNK)])


@torch.inference_mode()
def decode(
    module: SVQVAEModule, latents: Float[Tensor, "n latent"], size: Float[Tensor, " n"]
) -> Float[Tensor, "n *event"]:
    """Return the expected data, in the model's units, for latents and total counts."""
    dtype = module.quantizer.codes.dtype
    chunks = zip(torch.split(latents.to(dtype), CHUNK), torch.split(size.to(dtype), CHUNK), strict=True)
    return torch.cat([module.likelihood.mean(module.decode(chunk), counts) for chunk, counts in chunks])


@torch.inference_mode()
def distances(module: SVQVAEModule, latents: Float[Tensor, "n latent"]) -> Float[Tensor, "n classes"]:
    """Return the squared distance of each latent to each code in the module's geometry."""
    return squared_distances(latents.to(module.quantizer.codes.dtype), module.quantizer.codes, module.geometry)
