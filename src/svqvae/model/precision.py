"""Choose the precision to train in by a short measurement."""

import copy
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from svqvae.model.module import SVQVAEModule
from svqvae.progress import n_started

# Mixed precision has larger rounding errors, so it must be faster by this factor; chosen by hand.
WORTH = 1.2
# Passes in each precision after the first, by turns, and seconds after which no more than three are made; chosen by
# hand. The fastest pass counts, since other work on the machine can only slow a pass down.
N_REPEATS, MOST_SECONDS = 20, 1.0


def choose_precision(module: SVQVAEModule, sample_shape: Sequence[int], batch_size: int, accelerator: str) -> str:
    """Return the faster precision for training a network.

    Parameters
    ----------
    module
        The network, which is not changed.
    sample_shape
        Shape of one input of the encoder.
    batch_size
        Number of samples in the batch of random numbers that is timed.
    accelerator
        "cpu" or "cuda".

    Returns
    -------
    str
        "bf16-mixed" if single precision takes more than 1.2 times as long, else "32-true".

    Raises
    ------
    ValueError
        torchrun started several processes, which might choose differently.
    """
    if n_started() > 1:
        raise ValueError(
            f"`precision` must be named where torchrun starts several processes, {n_started()} here, since each would "
            "measure for itself; got 'auto'. Use '32-true' or 'bf16-mixed'."
        )
    device = torch.device(accelerator)
    measured = copy.deepcopy(module).to(device).train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        rows = torch.rand(batch_size, *sample_shape, device=device)
        times: list[tuple[float, ...]] = []
        while len(times) < 4 or (len(times) <= N_REPEATS and sum(map(sum, times)) < MOST_SECONDS):
            times.append(tuple(_seconds_of_pass(measured, rows, is_mixed) for is_mixed in (False, True)))
    single, mixed = map(min, zip(*times[1:], strict=True))
    return "bf16-mixed" if single > WORTH * mixed else "32-true"


def _seconds_of_pass(module: SVQVAEModule, rows: Tensor, is_mixed: bool) -> float:
    """Return the seconds of one forward and backward pass through encoder and decoder."""
    module.zero_grad()
    start = time.perf_counter()
    with torch.autocast(rows.device.type, torch.bfloat16, enabled=is_mixed):
        decoded = module.decode(module.encode(rows))
    torch.autograd.backward(decoded.square().mean())
    if rows.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start
