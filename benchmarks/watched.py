"""What a fit uses while it trains, for benchmarks that look on after each epoch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from svqvae.fitting import fit
from svqvae.model import module, precision
from svqvae.model.module import SVQVAEModule


@dataclass
class Watched:
    """The network of the fit that runs now, and the precision that was chosen for it, if it was to be chosen."""

    module: SVQVAEModule | None = None
    precision: str | None = None


@contextmanager
def watched() -> Iterator[Watched]:
    """Yield what fits within the block use."""
    seen = Watched()

    def build_module(*arguments: Any) -> SVQVAEModule:
        seen.module = module.build_module(*arguments)
        return seen.module

    def choose_precision(*arguments: Any) -> str:
        seen.precision = precision.choose_precision(*arguments)
        return seen.precision

    with patch.object(fit, "build_module", build_module), patch.object(fit, "choose_precision", choose_precision):
        yield seen
