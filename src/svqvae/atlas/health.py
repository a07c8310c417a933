"""Whether each code stands for its class: silent, merged, displaced and outnumbered codes are found and named."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from svqvae.atlas.moments import ClassMoments
from svqvae.wording import list_some

# Two codes are merged if they are closer than this share of the root mean square distance of samples to their class
# mean; chosen by hand.
MERGED = 0.1
# A code is displaced if it is farther from its class mean than this many root mean square distances of the samples of
# its class; chosen by hand: from 1 on, a typical sample stands for the class better than the code does.
DISPLACED = 1.0


class CodeHealthWarning(UserWarning):
    """Some codes do not stand for their class."""


def code_health(
    latents: NDArray[np.float32],
    y: NDArray[np.int64],
    codes: NDArray[np.float32],
    nearest: NDArray[np.int64],
    classes: NDArray[np.generic],
) -> pd.DataFrame:
    """Measure for each class whether its code stands for its samples.

    Parameters
    ----------
    latents
        Training latents, (n, latent_dim).
    y
        Class index of each latent, (n,).
    codes
        (n_classes, latent_dim).
    nearest
        Index of the code nearest to each latent, (n,).
    classes
        Names of the classes, (n_classes,).

    Returns
    -------
    pandas.DataFrame
        One row per class, in the order of `classes`:

        - ``n_own``: its samples, n_k of the published objective;
        - ``n_foreign``: samples of other classes to which its code is nearest, m_k;
        - ``is_silent``: its code is nearest to no sample;
        - ``merged_with``: the class with almost the same code, or None;
        - ``displacement``: distance of its code to the mean of its latents, over the root mean square distance of its
          latents to that mean;
        - ``is_displaced``: the displacement is above 1;
        - ``is_outnumbered``: m_k ≥ n_k, where the published objective has no minimum.
    """
    moments = ClassMoments(len(codes), latents.shape[1])
    moments.add(latents, y)
    return health_of(moments, y, codes, nearest, classes)


def health_of(
    moments: ClassMoments,
    y: NDArray[np.int64],
    codes: NDArray[np.float32],
    nearest: NDArray[np.int64],
    classes: NDArray[np.generic],
) -> pd.DataFrame:
    """Measure as `code_health` does, from the moments of the training latents instead of the latents."""
    n_classes = len(codes)
    n_own = np.bincount(y, minlength=n_classes)
    n_foreign = np.bincount(nearest[nearest != y], minlength=n_classes)
    n_nearest = np.bincount(nearest, minlength=n_classes)
    to_mean, radius = _distances_and_radii(moments, codes)
    between = cdist(codes, codes)
    np.fill_diagonal(between, np.inf)
    partner = between.argmin(1)
    is_merged = between.min(1) <= MERGED * np.sqrt((n_own * radius**2).sum() / len(y))
    # The radius of a class of one sample is 0: its code is displaced unless it lies on that sample.
    displacement = to_mean / np.maximum(radius, 1e-6 * (1 + np.linalg.norm(codes, axis=1)))
    return pd.DataFrame(
        {
            "n_own": n_own,
            "n_foreign": n_foreign,
            "is_silent": n_nearest == 0,
            "merged_with": pd.Series(
                [classes[j] if merged else None for j, merged in zip(partner, is_merged, strict=True)],
                index=pd.Index(classes),
                dtype=object,
            ),
            "displacement": displacement,
            "is_displaced": displacement > DISPLACED,
            "is_outnumbered": n_foreign >= n_own,
        },
        index=pd.Index(classes, name="class"),
    )


def unknown_health(classes: NDArray[np.generic]) -> pd.DataFrame:
    """Return the table of `code_health` for a model without known samples: counts of 0, and None everywhere else."""
    unknown = ("is_silent", "merged_with", "displacement", "is_displaced", "is_outnumbered")
    index = pd.Index(classes, name="class")
    counts = pd.DataFrame(0, index=index, columns=["n_own", "n_foreign"])
    return counts.join(pd.DataFrame({name: [None] * len(classes) for name in unknown}, index=index, dtype=object))


def _distances_and_radii(
    moments: ClassMoments, codes: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return per class the distance of its code to its mean, and the root mean square distance of its samples to it."""
    n = np.maximum(1, moments.counts)
    distances = np.linalg.norm(codes - moments.means, axis=1) * (moments.counts > 0)
    return distances, np.sqrt(moments.squares.sum(1) / n)


def describe_health(health: pd.DataFrame) -> str:
    """Name the codes that do not stand for their class in one sentence, or return "" where all do.

    Parameters
    ----------
    health
        What `code_health` returns.
    """
    # Compared with True, since None stands for what is not known.
    is_silent, is_displaced, is_outnumbered = (
        health[column].eq(True) for column in ("is_silent", "is_displaced", "is_outnumbered")
    )
    problems = {
        "never the nearest code": health.index[is_silent],
        "almost the same code as another class": health.index[health["merged_with"].notna()],
        "code far from the class mean": health.index[is_displaced],
        "at least as many foreign as own samples": health.index[is_outnumbered & ~is_silent],
    }
    parts = [f"{problem}: {list_some(names)}" for problem, names in problems.items() if len(names)]
    if not parts:
        return ""
    return "Some codes do not stand for their class (" + "; ".join(parts) + "). See `model.health_`."
