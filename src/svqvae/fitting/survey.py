"""What must be known of the data before there is a network: one pass over them, wherever they stand."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from svqvae import parameters
from svqvae.data import inputs
from svqvae.data.scaling import Scaling, ScalingFit

if TYPE_CHECKING:
    from svqvae.estimator import SVQVAE


@dataclass(frozen=True)
class Survey:
    """Measured on the samples to train on.

    Attributes
    ----------
    scaling
        How the data are scaled.
    median_size, log_size_spread
        Of counts, the median total of a sample and the standard deviation of its logarithm; else 1 and 0.
    """

    scaling: Scaling
    median_size: float
    log_size_spread: float


def survey(model: "SVQVAE", rows: inputs.AnyRows, kept: NDArray[np.int64]) -> Survey:
    """Measure how to scale the data, and refuse values that the likelihood cannot give.

    Parameters
    ----------
    model
        Knows its features.
    rows
        (n, n_features).
    kept
        Positions of the samples to train on, in rising order.
    """
    found = ScalingFit(parameters.resolve_scaling(model))
    likelihood, sizes, start = parameters.resolve_likelihood(model), [np.ones(0)], 0
    for block in inputs.blocks(model, rows):
        inputs.check_units(block, likelihood, model.output_scale, start)
        first, last = np.searchsorted(kept, [start, start + len(block)])
        # A copy of all rows is spared where none is held out.
        own = block if last - first == len(block) else block[kept[first:last] - start]
        found.add(own)
        if found.kind == "counts":
            sizes.append(own.sum(axis=1, dtype=np.float64))
        start += len(block)
    totals = np.concatenate(sizes) if found.kind == "counts" else np.ones(1)
    return Survey(found.result(), float(np.median(totals)), float(np.log(totals).std()))
