"""Which features tell classes apart, with intervals; tables of it in the formats of gene set tools."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control
from scipy.stats import t as student

from svqvae.atlas.spread import Spread

Array = NDArray[np.float64]
# Largest q-value that a feature may have, and most features, in each direction, of a gene set.
MAX_Q, MAX_SET = 0.05, 150


def compare(
    decoded: NDArray[np.floating],
    means: NDArray[np.floating],
    spread: Spread | None,
    counts: NDArray[np.int64],
    weights: Array,
    level: float,
) -> pd.DataFrame:
    """Compare decoded codes, feature by feature, as a weighted sum of classes whose weights add up to 0.

    A decoded code stands for the mean of its class (training ends on that), so that its error is that of a mean of n_k
    samples, the variances within the class, moderated over classes, over n_k; and by how much the decoder misses that
    mean, as the mean square over features. Intervals and p-values are those of Welch's t with Satterthwaite's degrees
    of freedom.

    Parameters
    ----------
    decoded, means
        Decoded codes and plain class means, (n_classes, n_features).
    spread
        How samples spread around their class, or None where that is not known: then there are differences only.
    counts
        Samples per class, (n_classes,).
    weights
        Weight of each class, (n_classes,).
    level
        Of the intervals, between 0 and 1.

    Returns
    -------
    pandas.DataFrame
        One row per feature: ``difference``, ``low``, ``high``, ``t``, ``p``, ``q``, ``class_means_difference``;
        `attrs["agreement"]` is the Pearson correlation of the first and the last. NaN is what is not known.
    """
    if not 0 < level < 1:
        raise ValueError(f"`level` must lie between 0 and 1; got {level!r}. Use 0.95, say.")
    difference, plain = weights @ decoded.astype(np.float64), weights @ means.astype(np.float64)
    table = pd.DataFrame({"difference": difference})
    if spread is None:
        table[["low", "high", "t", "p", "q"]] = np.nan
    else:
        misfit = ((decoded - means) ** 2).mean(1, dtype=np.float64)
        table[["low", "high", "t", "p", "q"]] = _test(difference, misfit, spread, counts, weights, level)
    table["class_means_difference"] = plain
    varies = difference.std() > 0 and plain.std() > 0
    table.attrs["agreement"] = float(np.corrcoef(difference, plain)[0, 1]) if varies else float("nan")
    return table


def _test(
    difference: Array, misfit: Array, spread: Spread, counts: NDArray[np.int64], weights: Array, level: float
) -> Array:
    """Return the interval, t, p and q of each difference, (n_features, 5)."""
    parts = weights[:, None] ** 2 * (spread.mean_variances(counts) + misfit[:, None])
    variance = parts.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = variance**2 / (parts**2 / spread.degrees[:, None]).sum(0)
        statistic = np.where(variance > 0, difference / np.sqrt(variance), 0.0)
    # Variances that classes share count once, however many classes are compared.
    degrees = np.minimum(np.where(np.isfinite(degrees), degrees, 1.0), counts.sum() - len(counts))
    half = student.ppf((1 + level) / 2, degrees) * np.sqrt(variance)
    p = 2 * student.sf(np.abs(statistic), degrees)
    return np.column_stack([difference - half, difference + half, statistic, p, false_discovery_control(p)])


def ranking(table: pd.DataFrame) -> str:
    """Return the column that ranks the features: t, or the difference where t is not known."""
    return "t" if table["t"].notna().any() else "difference"


def to_rnk(table: pd.DataFrame) -> str:
    """Return features ranked by their t statistic, as GSEA's .rnk: name and number, tab between, highest first.

    Where t is not known, by their difference.
    """
    ranked = table[ranking(table)].sort_values(ascending=False, kind="stable")
    return "".join(f"{_plain(name)}\t{value:.6g}\n" for name, value in ranked.items())


def to_gmt(table: pd.DataFrame, name: str) -> str:
    """Return the features up and down as two gene sets in GSEA's .gmt: name, description, features, tabs between.

    At most 150 features each, with q ≤ 0.05, the surest first. Where no feature differs there is no set to write, which
    is refused.
    """
    if ranking(table) != "t":
        raise ValueError(
            f"`--out` .gmt must have q-values to choose features by; there are none for {name}, as the spread within "
            "classes is not known. Write .rnk or .csv instead."
        )
    lines = []
    for direction, sign in (("up", 1), ("down", -1)):
        own = table[(sign * table["t"] > 0) & (table["q"] <= MAX_Q)]
        features = own["t"].abs().sort_values(ascending=False, kind="stable").index[:MAX_SET]
        description = f"{len(features)} features {direction} at q <= {MAX_Q}"
        if len(features):
            lines.append("\t".join([f"{_plain(name)} {direction}", description, *map(_plain, features)]) + "\n")
    if not lines:
        raise ValueError(
            f"`--out` .gmt must have a feature that differs at q <= {MAX_Q}; the least q of {name} is "
            f"{table['q'].min():.2g}. Write .rnk or .csv instead."
        )
    return "".join(lines)


def _plain(name: object) -> str:
    """Return a name without the tabs and line ends that separate fields."""
    return " ".join(str(name).split())
