"""Which features differ between classes, with intervals and q-values, and the file formats of gene set tools."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control
from scipy.stats import t as student

from svqvae.atlas.spread import Spread

Array = NDArray[np.float64]
# Largest q-value of a feature in a gene set, by convention, and most features of a set; the latter is chosen by hand.
MAX_Q, MAX_SET = 0.05, 150


def compare(
    decoded: NDArray[np.floating],
    means: NDArray[np.floating],
    spread: Spread | None,
    counts: NDArray[np.int64],
    weights: Array,
    level: float,
) -> pd.DataFrame:
    """Test the contrast Σ_k w_k C_k of decoded codes C_k, whose weights w_k sum to 0, feature by feature.

    A decoded code stands for the mean of its class. The variance of its error is that of a mean of n_k samples, which
    is the moderated variance within the class over n_k, plus the mean square over features by which the decoder misses
    the mean. Intervals and p-values are those of Welch's t-test with Satterthwaite's degrees of freedom; q-values are
    p-values adjusted after Benjamini and Hochberg (J. R. Stat. Soc. B 57:289, 1995).

    Parameters
    ----------
    decoded, means
        Decoded codes and plain class means in the model's units, (n_classes, n_features).
    spread
        How samples spread around their class; where it is None, there are differences only.
    counts
        Samples per class, (n_classes,).
    weights
        Weight of each class, (n_classes,); they sum to 0.
    level
        Confidence level of the intervals, in (0, 1).

    Returns
    -------
    pandas.DataFrame
        One row per feature: ``difference``, its interval ``low`` to ``high``, ``t``, ``p``, ``q``, and
        ``class_means_difference``, the same contrast of the class means; NaN stands for what is not known.
        ``attrs["agreement"]`` is the Pearson correlation over features of the two differences.

    Raises
    ------
    ValueError
        `level` does not lie between 0 and 1.
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
    """Return low, high, t, p and q of each difference, (n_features, 5)."""
    parts = weights[:, None] ** 2 * (spread.mean_variances(counts) + misfit[:, None])
    variance = parts.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = variance**2 / (parts**2 / spread.degrees[:, None]).sum(0)
        statistic = np.where(variance > 0, difference / np.sqrt(variance), 0.0)
    # Moderated variances borrow from all classes, so that no sum of them has more degrees of freedom than these have.
    degrees = np.minimum(np.where(np.isfinite(degrees), degrees, 1.0), counts.sum() - len(counts))
    half = student.ppf((1 + level) / 2, degrees) * np.sqrt(variance)
    p = 2 * student.sf(np.abs(statistic), degrees)
    return np.column_stack([difference - half, difference + half, statistic, p, false_discovery_control(p)])


def ranking(table: pd.DataFrame) -> str:
    """Return the name of the column by which features are ranked: "t", or "difference" where t is not known."""
    return "t" if table["t"].notna().any() else "difference"


def to_rnk(table: pd.DataFrame) -> str:
    r"""Return a contrast as the text of a .rnk file for GSEA: features by t, or by difference where t is not known.

    Each line holds a feature and its value, separated by a tab, the highest first.

    Parameters
    ----------
    table
        What `ClassAtlas.contrast` or `ClassAtlas.profile` returns.

    Examples
    --------
    >>> to_rnk(pd.DataFrame({"t": [-1.5, 2.0]}, index=["TP53", "MYC"]))
    'MYC\t2\nTP53\t-1.5\n'
    """
    ranked = table[ranking(table)].sort_values(ascending=False, kind="stable")
    return "".join(f"{_on_one_line(name)}\t{value:.6g}\n" for name, value in ranked.items())


def to_gmt(table: pd.DataFrame, name: str) -> str:
    """Return a contrast as the text of a .gmt file for GSEA: a gene set of the features up, and one of those down.

    Each line holds the name of the set, a description and the features, separated by tabs: at most 150 features with
    q ≤ 0.05, the largest absolute t first.

    Parameters
    ----------
    table
        What `ClassAtlas.contrast` or `ClassAtlas.profile` returns.
    name
        Name of the sets, to which "up" and "down" are added.

    Raises
    ------
    ValueError
        There are no q-values, or none is at most 0.05.
    """
    if ranking(table) != "t":
        raise ValueError(
            f"`table` must have q-values to choose the features of gene sets by; got none for {name}, since the spread "
            "within classes is not known. Write .rnk or .csv instead."
        )
    lines = []
    for direction, sign in (("up", 1), ("down", -1)):
        own = table[(sign * table["t"] > 0) & (table["q"] <= MAX_Q)]
        features = own["t"].abs().sort_values(ascending=False, kind="stable").index[:MAX_SET]
        description = f"{len(features)} features {direction} at q <= {MAX_Q}"
        if len(features):
            lines.append(
                "\t".join([f"{_on_one_line(name)} {direction}", description, *map(_on_one_line, features)]) + "\n"
            )
    if not lines:
        raise ValueError(
            f"`table` must have a feature with q <= {MAX_Q} to make a gene set of; got {table['q'].min():.2g} as the "
            f"least q of {name}. Write .rnk or .csv instead."
        )
    return "".join(lines)


def _on_one_line(name: object) -> str:
    """Return a name with blanks in the place of tabs and line breaks, which separate fields and lines."""
    return " ".join(str(name).split())
