"""How much arithmetic a training step needs, and how fast this machine multiplies matrices of those shapes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from speed_process import Lap, Pause
from torch import nn

DTYPES = {"32-true": torch.float32, "64-true": torch.float64, "bf16-mixed": torch.bfloat16}


@dataclass(frozen=True)
class Product:
    """A layer as a matrix product: each sample brings `n_rows` rows of `n_in` numbers, which become `n_out`."""

    n_rows: int
    n_in: int
    n_out: int

    @property
    def flop(self) -> float:
        """Operations per sample, a multiplication and an addition each."""
        return 2.0 * self.n_rows * self.n_in * self.n_out


def products(network: nn.Module, sample: torch.Tensor) -> list[Product]:
    """Return the matrix products of a network, first layer first, for inputs like `sample`, (1, ...)."""
    found: list[Product] = []

    def note(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        if isinstance(layer, nn.Linear):
            found.append(Product(1, layer.in_features, layer.out_features))
        elif isinstance(layer, nn.Conv2d):
            found.append(Product(output[0, 0].numel(), layer.weight[0].numel(), layer.out_channels))
        elif isinstance(layer, nn.ConvTranspose2d):
            found.append(Product(inputs[0][0, 0].numel(), layer.in_channels, layer.weight[0].numel()))

    handles = [layer.register_forward_hook(note) for layer in network.modules()]
    with torch.no_grad():
        network.eval()(sample)
    for handle in handles:
        handle.remove()
    return found


def step_flop(
    encoder: Sequence[Product],
    decoder: Sequence[Product],
    objective: str,
    batch_size: int,
    n_classes: int,
    n_present: float,
    latent_dim: int,
) -> float:
    """Return the operations that a training step needs, per sample.

    Forward and two products backward (weights, inputs) for each layer, but none for the inputs of the first. The
    published objective needs the decoder's forward pass and weights for one row per class present, and the inputs'
    gradient per sample; the prototype objective all three for samples and codes.
    """
    encoding, decoding = sum(layer.flop for layer in encoder), sum(layer.flop for layer in decoder)
    flop = 3 * encoding - encoder[0].flop
    distances = 2.0 * n_classes * latent_dim
    if objective == "published":
        return flop + distances + decoding * (1 + 2 * n_present / batch_size)
    return flop + 2 * distances + 3 * decoding * (1 + n_present / batch_size)


def present_classes(counts: Sequence[int], batch_size: int) -> float:
    """Return how many classes a batch has on average."""
    n = sum(counts)
    return sum(1 - (1 - count / n) ** batch_size for count in counts)


def matrix_rates(
    pause: Pause, layers: Sequence[Product], batch_sizes: Sequence[int], precisions: Sequence[str]
) -> None:
    """Multiply matrices of the shapes of a training step; a lap notes the best GFLOP/s by (precision, batch).

    Of each layer the product forward and the two backward are tried. bfloat16 is tried at the smallest batch first, and
    at others only where it is not slower there.
    """
    while True:
        start = time.perf_counter()
        rates: dict[tuple[str, int], float] = {}
        first = min(batch_sizes)
        for precision in precisions:
            rates[precision, first] = max(_rate(layer, first, precision) for layer in layers)
        for batch_size in batch_sizes:
            for precision in precisions:
                if rates[precision, first] >= rates[precisions[0], first] and batch_size != first:
                    rates[precision, batch_size] = max(_rate(layer, batch_size, precision) for layer in layers)
        pause(Lap(time.perf_counter() - start, 0, {"rates": rates}))


def _rate(layer: Product, batch_size: int, precision: str) -> float:
    """Return the best GFLOP/s of the three products of a layer."""
    rows = torch.randn(batch_size * layer.n_rows, layer.n_in).to(DTYPES[precision])
    weight = torch.randn(layer.n_out, layer.n_in).to(DTYPES[precision])
    gradient = torch.randn(len(rows), layer.n_out).to(DTYPES[precision])
    flop = batch_size * layer.flop
    return max(
        _best(flop, rows, weight.T),
        _best(flop, gradient.T, rows),
        _best(flop, gradient, weight),
    )


def _best(flop: float, left: torch.Tensor, right: torch.Tensor) -> float:
    """Return the best GFLOP/s of a product, of three trials of 30 ms."""
    torch.mm(left, right)
    rates = []
    for _ in range(3):
        start, n = time.perf_counter(), 0
        while time.perf_counter() - start < 0.03:
            torch.mm(left, right)
            n += 1
        rates.append(n * flop / (time.perf_counter() - start) / 1e9)
    return max(rates)
