"""Compare simulated with real samples of each class, as plain numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from svqvae.evaluation.beside import EVIDENCE, Sets
from svqvae.evaluation.quality import scaled_rows
from svqvae.fitting.fitted import Fitted

# Least number of real samples of a class that are compared with simulated ones, and largest number of both; chosen by
# hand.
MIN_COMPARED, MAX_COMPARED = 5, 300


def summarise_simulation(fitted: Fitted, sets: Sets, seed: int) -> list[dict[str, Any] | None]:
    """Compare simulated with real samples of each class, of the first kind in `EVIDENCE` that has at least 5.

    Parameters
    ----------
    fitted
        The fitted model.
    sets
        Samples by kind.
    seed
        Seed of the simulated samples.

    Returns
    -------
    list of dict or None
        For each class: ``set``, the kind of samples; ``n_real``, ``n_simulated``; ``mean_error`` and
        ``deviation_error``: root mean square difference of the means and of the standard deviations of features, in
        units of the standard deviation within classes; ``chance``: expected `mean_error` of two samples from the same
        distribution. None if there are too few real samples or the model cannot simulate.
    """
    atlas = fitted.atlas
    spread = atlas.profile_spread
    if atlas.density is None or spread is None:
        return [None] * len(atlas.classes)
    pooled = spread.pooled.astype(np.float64)
    unit = np.maximum(pooled, 0.1 * np.sqrt((pooled**2).mean()))
    found: list[dict[str, Any] | None] = []
    kinds = [kind for kind in EVIDENCE if kind in sets]
    for k, name in enumerate(fitted.classes):
        own = {kind: np.flatnonzero(sets[kind].y == k)[:MAX_COMPARED] for kind in kinds}
        kind = next((kind for kind, rows in own.items() if len(rows) >= MIN_COMPARED), None)
        if kind is None:
            found.append(None)
            continue
        real = fitted.read(sets[kind].rows[own[kind]]) / unit
        drawn = scaled_rows(fitted, fitted.sample(name, len(real), np.random.default_rng(seed + k))) / unit
        chances = (real.var(0, ddof=1) + drawn.var(0, ddof=1)) / len(real)
        found.append(
            {
                "set": kind,
                "n_real": len(real),
                "n_simulated": len(drawn),
                "mean_error": _rms(real.mean(0) - drawn.mean(0)),
                "deviation_error": _rms(real.std(0, ddof=1) - drawn.std(0, ddof=1)),
                "chance": float(np.sqrt(chances.mean())),
            }
        )
    return found


def _rms(values: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))
