"""Which precision to train in, by a short measurement."""

import copy
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from svqvae.model.module import SVQVAEModule
from svqvae.progress import n_started

# Mixed precision rounds more: it must be faster by this factor.
WORTH = 1.2
# Passes in each precision after the first, by turns; the fastest counts, since other work only ever makes one slower.
# Where they are slow, fewer, but three at least.
N_REPEATS, MOST_SECONDS = 20, 1.0


def choose_precision(module: SVQVAEModule, sample_shape: Sequence[int], batch_size: int, accelerator: str) -> str:
    """Return the faster precision, for a fit that is to choose.

    Parameters
    ----------
    module
        The network, which stays as it is.
    sample_shape
        Of what the encoder reads.
    batch_size
        Samples of the batches of random numbers that go forward and back.
    accelerator
        "cpu" or "cuda".

    Returns
    -------
    str
        "bf16-mixed" where single precision takes more than 1.2 times as long, else "32-true".

    Raises
    ------
    ValueError
        Under torchrun, where each process would measure for itself and may find otherwise.
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
    """Return the seconds that a pass through encoder and decoder takes, forward and back."""
    module.zero_grad()
    start = time.perf_counter()
    with torch.autocast(rows.device.type, torch.bfloat16, enabled=is_mixed):
        decoded = module.decode(module.encode(rows))
    torch.autograd.backward(decoded.square().mean())
    if rows.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start
