"""Which precision to train in, by a short measurement."""

import time

import torch
from torch import Tensor, nn

# Mixed precision converts weights and activations at each step: products must be faster by this factor to pay for it.
WORTH = 1.5
# Repetitions of each product; the fastest counts. Other work only ever makes one slower.
N_REPEATS = 5


def choose_precision(module: nn.Module, batch_size: int, accelerator: str, asked: str) -> str:
    """Return the precision asked for, or where that is "auto", the faster one.

    Parameters
    ----------
    module
        The network; its largest weight gives the shape of the product that is measured.
    batch_size
        Rows of that product.
    accelerator
        "cpu" or "cuda".
    asked
        "auto", or a precision that comes back as it is.

    Returns
    -------
    str
        "bf16-mixed" where products in bfloat16 take at most two thirds of the time, else "32-true".

    Examples
    --------
    >>> choose_precision(nn.Linear(2, 3), 16, "cpu", "64-true")
    '64-true'
    """
    if asked != "auto":
        return asked
    shapes = [weight.flatten(1).shape for weight in module.parameters() if weight.ndim > 1]
    if not shapes:
        return "32-true"
    n_outputs, n_inputs = max(shapes, key=lambda shape: shape.numel())
    seconds = [
        _seconds_of_product(batch_size, n_inputs, n_outputs, kind, torch.device(accelerator))
        for kind in (torch.float32, torch.bfloat16)
    ]
    return "bf16-mixed" if seconds[0] > WORTH * seconds[1] else "32-true"


def _seconds_of_product(n: int, n_inputs: int, n_outputs: int, kind: torch.dtype, device: torch.device) -> float:
    """Return the seconds that the fastest of a few products of rows and weights takes."""
    rows, weights = (
        torch.ones(n, n_inputs, dtype=kind, device=device),
        torch.ones(n_outputs, n_inputs, dtype=kind, device=device),
    )
    times = []
    for _ in range(N_REPEATS):
        start = time.perf_counter()
        _wait(nn.functional.linear(rows, weights))
        times.append(time.perf_counter() - start)
    return min(times)


def _wait(product: Tensor) -> None:
    if product.is_cuda:
        torch.cuda.synchronize()
