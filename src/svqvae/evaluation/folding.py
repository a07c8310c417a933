"""The samples of a cross-validation, in memory or on disk, in the forms for models and for plain classifiers."""

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

# Numbers to which a plain classifier is fitted at most if samples are on disk: a guard for memory, 512 MiB in double
# precision.
MAX_NUMBERS = 1 << 26


@dataclass(frozen=True)
class Folded:
    """Labelled samples, from which training and held-out samples are taken by position.

    Attributes
    ----------
    samples
        All samples.
    units
        Units of the models; for counts, plain classifiers get log(1 + 10,000 × share of the sample's total).
    are_images
        Whether the features are pixels, which plain classifiers take without scaling.
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
        """Largest number of samples to which a plain classifier is fitted."""
        return max(1, MAX_NUMBERS // self.samples.n_features) if self.samples.stay_on_disk else len(self.samples)

    @property
    def has_one_unit(self) -> bool:
        """Whether features need no scaling, as pixels and logarithms of shares."""
        return self.are_images or self.units.total is not None

    def survey(self) -> Survey | None:
        """Return a survey of the scale of the features, as for models, or None if they need no scaling."""
        return None if self.has_one_unit else Standard.survey()

    def for_models(self, chosen: Index) -> Samples:
        """Return samples for `SVQVAE` by ascending position, (n_chosen,); rows on disk are not read."""
        return self.samples.subset(chosen).renumbered()

    def plain(self, chosen: Index) -> Values:
        """Return samples for plain classifiers, (n_chosen, n_features), by ascending position."""
        found = self.samples.rows[chosen]
        return log_shares(found) if self.units.total is not None else found.astype(np.float64)

    def plain_parts(self, chosen: Index) -> Iterator[tuple[Index, Values]]:
        """Yield positions, (n_part,), and the result of `plain` for them, (n_part, n_features), part by part."""
        for start in range(0, len(chosen), CHUNK):
            part = chosen[start : start + CHUNK]
            yield part, self.plain(part)

    def drawn(self, chosen: Index, seed: int) -> Index:
        """Return the positions, ascending, of the samples to which a plain classifier is fitted.

        These are all chosen samples or, if they are more than `n_most`, a random subset with at least two of each class
        as far as possible.
        """
        if len(chosen) <= self.n_most:
            return chosen
        mixed = np.random.default_rng(seed).permutation(chosen)
        is_later = pd.Series(self.y[mixed]).groupby(self.y[mixed]).cumcount().to_numpy() >= 2
        return np.sort(mixed[np.argsort(is_later, kind="stable")][: self.n_most])

    def class_means(self, chosen: Index, y: Labels) -> pd.DataFrame:
        """Return the mean of each class among the chosen samples, classes × features, in the units of `plain`.

        For counts, shares are averaged, as in the model; a mean of logarithms would depend on the sequencing depth.

        Parameters
        ----------
        chosen
            Positions of samples, ascending, (n_chosen,).
        y
            Their labels, (n_chosen,).
        """
        names, index = np.unique(y, return_inverse=True)
        moments, start = ClassMoments(len(names), self.samples.n_features), 0
        for _, values in self.plain_parts(chosen):
            stop = start + len(values)
            moments.add(np.expm1(values) if self.units.total is not None else values, index[start:stop])
            start = stop
        return pd.DataFrame(np.log1p(moments.means) if self.units.total is not None else moments.means, index=names)
