"""The samples of a cross-validation, in memory or on disk, as models and plain classifiers take them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from svqvae.atlas.moments import ClassMoments
from svqvae.data.inputs import CHUNK, AnyRows
from svqvae.data.rows import StoredRows
from svqvae.data.scaling import log_shares

Index = NDArray[np.int64]
Labels = NDArray[np.generic]
Values = NDArray[np.float64]

# Numbers that a plain classifier is fitted on at most where samples are on disk: half a gibibyte.
MAX_NUMBERS = 1 << 26


@dataclass(frozen=True)
class FoldedData:
    """Samples of which some are trained on and the others held out.

    Attributes
    ----------
    rows
        (n, n_features).
    sample_shape
        Shape of one sample as it came.
    y
        (n,).
    groups
        Index of the group of each sample, (n,), or None.
    is_counts
        Whether plain classifiers get log(1 + 10,000 × share of the sample's total).
    has_one_unit
        Whether features are of one unit, so that plain classifiers need no scaling.
    """

    rows: AnyRows
    sample_shape: tuple[int, ...]
    y: Labels
    groups: Index | None
    is_counts: bool
    has_one_unit: bool

    @property
    def n_most(self) -> int:
        """Samples that a plain classifier is fitted on at most."""
        return max(1, MAX_NUMBERS // self.rows.shape[1]) if isinstance(self.rows, StoredRows) else len(self.rows)

    def for_models(self, chosen: Index) -> Any:
        """Return samples as `SVQVAE` takes them, by rising positions; those on disk stay there."""
        if isinstance(self.rows, StoredRows):
            return self.rows.subset(chosen)
        return self.rows[chosen].reshape(len(chosen), *self.sample_shape)

    def plain(self, chosen: Index) -> Values:
        """Return samples as plain classifiers take them, (n_chosen, n_features), by rising positions."""
        found = self.rows[chosen]
        return log_shares(found) if self.is_counts else found.astype(np.float64)

    def plain_parts(self, chosen: Index) -> Iterator[tuple[Index, Values]]:
        """Yield positions, (n_part,), and what `plain` gives for them, part by part."""
        for start in range(0, len(chosen), CHUNK):
            part = chosen[start : start + CHUNK]
            yield part, self.plain(part)

    def drawn(self, chosen: Index, seed: int) -> Index:
        """Return the samples that a plain classifier is fitted on, in their order: all, or of too many some.

        Those are drawn at random, but two of each class come first.
        """
        if len(chosen) <= self.n_most:
            return chosen
        mixed = np.random.default_rng(seed).permutation(chosen)
        is_later = pd.Series(self.y[mixed]).groupby(self.y[mixed]).cumcount().to_numpy() >= 2
        return np.sort(mixed[np.argsort(is_later, kind="stable")][: self.n_most])

    def class_means(self, chosen: Index, y: Labels) -> pd.DataFrame:
        """Return the mean of each class among the chosen samples, in the units of `plain`.

        Of counts it is the mean of shares, as in the model, since that of logarithms would depend on how deep samples
        were counted.
        """
        names, index = np.unique(y, return_inverse=True)
        moments, start = ClassMoments(len(names), self.rows.shape[1]), 0
        for _, values in self.plain_parts(chosen):
            stop = start + len(values)
            moments.add(np.expm1(values) if self.is_counts else values, index[start:stop])
            start = stop
        return pd.DataFrame(np.log1p(moments.means) if self.is_counts else moments.means, index=names)
