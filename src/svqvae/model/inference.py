"""Apply a trained module to many samples, in chunks and without gradients."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from svqvae.model.module import SVQVAEModule
from svqvae.model.quantizer import RelativeDistances

# Rows that go through the network at a time: a guard for memory, chosen by hand; 4 MB for 978 features.
CHUNK = 1024
# Least rows of a chunk, chosen by hand. Matrix products of one or two rows round differently from larger ones; padded,
# a sample gets the same bits alone as among others.
SMALLEST = 16


@torch.inference_mode()
def encode(module: SVQVAEModule, inputs: Float[Tensor, "n *event"]) -> Float[Tensor, "n latent"]:
    """Return the latent of each sample, (n, latent), in the precision of the codes."""
    return _in_chunks(module.encode, inputs.to(module.quantizer.codes.dtype))


@torch.inference_mode()
def decode(
    module: SVQVAEModule, latents: Float[Tensor, "n latent"], size: Float[Tensor, " n"]
) -> Float[Tensor, "n *event"]:
    """Return the expected data, (n, ...), in the model's units, for latents, (n, latent), and total counts, (n,)."""
    dtype = module.quantizer.codes.dtype
    return module.likelihood.mean(_in_chunks(module.decode, latents.to(dtype)), size.to(dtype))


def codes_of(module: SVQVAEModule) -> NDArray[np.floating]:
    """Return the codes, (n_classes, latent_dim)."""
    codes: NDArray[np.floating] = module.quantizer.codes.detach().numpy().copy()
    return codes


def decode_codes(module: SVQVAEModule, size: float) -> Float[Tensor, "classes *event"]:
    """Return the expected data of each code, (classes, ...), at the total count `size`, in double precision."""
    codes = module.quantizer.codes.detach()
    return decode_exactly(module, codes, torch.full((len(codes),), size))


def decode_exactly(
    module: SVQVAEModule, latents: Float[Tensor, "n latent"], size: Float[Tensor, " n"]
) -> Float[Tensor, "n *event"]:
    """As `decode`, in double precision: slower, for a few latents."""
    return decode(copy.deepcopy(module).double(), latents, size)


@torch.inference_mode()
def nearness(module: SVQVAEModule) -> Callable[[Float[Tensor, "n latent"]], Float[Tensor, "n classes"]]:
    """Return a function from latents, (n, latent), to their `RelativeDistances` to the codes, (n, classes)."""
    measure = RelativeDistances(module.quantizer.codes, module.geometry)

    @torch.inference_mode()
    def distances(latents: Tensor) -> Tensor:
        return _in_chunks(measure, latents)

    return distances


def _in_chunks(run: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Apply a row-wise function to chunks of at most `CHUNK` rows, padded to at least `SMALLEST`."""
    results = []
    for chunk in torch.split(rows, CHUNK):
        n_missing = max(0, SMALLEST - len(chunk))
        filled = torch.cat([chunk, chunk[-1:].expand(n_missing, *chunk.shape[1:])]) if n_missing else chunk
        results.append(run(filled)[: len(chunk)])
    return results[0] if len(results) == 1 else torch.cat(results)
