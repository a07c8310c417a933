"""The samples of a cross-validation, in memory or on disk, as models and plain classifiers take them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from svqvae.atlas.moments import ClassMoments
from svqvae.data.samples import CHUNK, Samples
from svqvae.data.units import Standard, Survey, Units, log_shares

Index = NDArray[np.int64]
Labels = NDArray[np.generic]
Values = NDArray[np.float64]

# Numbers that a plain classifier is fitted on at most where samples are on disk: half a gibibyte.
MAX_NUMBERS = 1 << 26


@dataclass(frozen=True)
class Folded:
    """Labelled samples of which some are trained on and the others held out.

    Attributes
    ----------
    samples
        All of them.
    units
        What their numbers are: plain classifiers get log(1 + 10,000 × share of the sample's total) of counts.
    are_images
        Whether features are of one unit, so that plain classifiers need no scaling.
    """

    samples: Samples
    units: type[Units]
    are_images: bool

    @property
    def y(self) -> Labels:
        """The class of each sample, (n,)."""
        return self.samples.labels

    @property
    def n_most(self) -> int:
        """Samples that a plain classifier is fitted on at most."""
        return max(1, MAX_NUMBERS // self.samples.n_features) if self.samples.stay_on_disk else len(self.samples)

    @property
    def has_one_unit(self) -> bool:
        """Whether features need no scaling: pixels, and logarithms of shares."""
        return self.are_images or self.units.total is not None

    def survey(self) -> Survey | None:
        """Return what measures the scale of the features, by the model's own rule, or None where they have one unit."""
        return None if self.has_one_unit else Standard.survey()

    def for_models(self, chosen: Index) -> Samples:
        """Return samples as `SVQVAE` takes them, by rising positions; those on disk stay there."""
        return self.samples.subset(chosen).renumbered()

    def plain(self, chosen: Index) -> Values:
        """Return samples as plain classifiers take them, (n_chosen, n_features), by rising positions."""
        found = self.samples.rows[chosen]
        return log_shares(found) if self.units.total is not None else found.astype(np.float64)

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
        moments, start = ClassMoments(len(names), self.samples.n_features), 0
        for _, values in self.plain_parts(chosen):
            stop = start + len(values)
            moments.add(np.expm1(values) if self.units.total is not None else values, index[start:stop])
            start = stop
        return pd.DataFrame(np.log1p(moments.means) if self.units.total is not None else moments.means, index=names)
