"""Map of samples and codes: principal components of the latents, and UMAP if umap-learn is installed."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from svqvae.evaluation.beside import Sets
from svqvae.fitting.fitted import Fitted

# Most samples on the map, a guard for the size of the page, and least number of each class among them; chosen by hand.
MAX_SHOWN, MIN_EACH = 1500, 5
# Neighbours in UMAP, umap-learn's default; least number of samples for UMAP, chosen by hand as a few times that; and
# epochs, a guard for time, chosen by hand.
N_NEIGHBORS, MIN_UMAP, N_EPOCHS = 15, 100, 200


def summarise_map(fitted: Fitted, sets: Sets, seed: int) -> dict[str, Any]:
    """Place samples and codes by the first two principal components of the latents, and by UMAP.

    If there are more than 1,500 samples, a random subset with at least 5 of each class is shown. UMAP is fitted to
    samples and codes together.

    Parameters
    ----------
    fitted
        The fitted model.
    sets
        Samples by kind.
    seed
        Seed of the subset and of UMAP.

    Returns
    -------
    dict
        ``explained``: share of variance of each component; ``n_shown``, ``n_samples``; ``class``, ``set``, ``x`` and
        ``y`` of each sample shown; ``codes``: x and y of the code of each class; ``umap``: ``x``, ``y`` and ``codes``
        by UMAP, or None if umap-learn is not installed or there are fewer than 100 samples.
    """
    kinds = list(sets)
    own = np.concatenate([part.y for part in sets.values()])
    kind = np.repeat(np.arange(len(kinds)), [len(part.y) for part in sets.values()])
    chosen = _choose(own, np.random.default_rng(seed))
    latents = _latents(fitted, sets, chosen)
    center = latents.mean(0)
    _, strengths, directions = np.linalg.svd(latents - center, full_matrices=False)
    return {
        "explained": strengths[:2] ** 2 / max(float((strengths**2).sum()), 1e-300),
        "n_shown": len(chosen),
        "n_samples": len(own),
        "class": own[chosen],
        "set": [kinds[k] for k in kind[chosen]],
        **_places((latents - center) @ directions[:2].T, (fitted.codebook - center) @ directions[:2].T),
        "umap": _lay_out(latents, fitted.codebook, seed),
    }


def _places(samples: NDArray[np.float64], codes: NDArray[np.float64]) -> dict[str, Any]:
    return {"x": np.round(samples[:, 0], 4), "y": np.round(samples[:, 1], 4), "codes": np.round(codes, 4)}


def _latents(fitted: Fitted, sets: Sets, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the latents, (n_chosen, latent_dim), of samples by ascending position in the concatenation of all sets."""
    found, start = [], 0
    for part in sets.values():
        own = chosen[(chosen >= start) & (chosen < start + len(part.y))] - start
        if len(own):
            found.append(fitted.encode(part.rows[own]).numpy())
        start += len(part.y)
    return np.concatenate(found).astype(np.float64)


def _lay_out(latents: NDArray[np.float64], codes: NDArray[np.floating], seed: int) -> dict[str, Any] | None:
    if len(latents) < MIN_UMAP:
        return None
    with warnings.catch_warnings():
        # umap-learn and numba warn about threads and deprecated names.
        warnings.simplefilter("ignore")
        try:
            from umap import UMAP
        except ImportError:
            return None
        both = np.concatenate([latents, codes]).astype(np.float32)
        layout = UMAP(n_neighbors=N_NEIGHBORS, n_epochs=N_EPOCHS, random_state=seed)
        places = np.asarray(layout.fit_transform(both), dtype=np.float64)
    return _places(places[: len(latents)], places[len(latents) :])


def _choose(own: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return positions of samples to show, ascending: all, or a random subset, stratified with at least 5 per class."""
    if len(own) <= MAX_SHOWN:
        return np.arange(len(own))
    counts = np.bincount(own)
    order = rng.permutation(len(own))
    quota = np.maximum(MIN_EACH, np.floor(MAX_SHOWN * counts / len(own))).astype(int)
    kept = [order[own[order] == k][:n] for k, n in enumerate(quota)]
    return np.sort(np.concatenate(kept))
