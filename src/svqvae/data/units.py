"""Units of the data: how values are checked, scaled to order one for the model, and scaled back."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

# Total to which the counts of a sample are scaled before the logarithm, as in scanpy's tutorials.
TOTAL = 1e4
# Largest ratio of the standard deviations of features that are taken to share a unit. Chosen by hand: sensors or genes
# of one panel differ by less, columns such as age and income by more.
ONE_UNIT = 10.0
# Numbers that are scaled at a time, 256 KiB in double precision, so that they stay in the processor's cache
# (benchmarks/NOTES.md).
CHUNK = 1 << 15

Rows = NDArray[np.number]
Array = NDArray[np.float64]
TheseUnits = TypeVar("TheseUnits", bound="Units")


@runtime_checkable
class Survey(Protocol):
    """Measures units on data that are added in parts."""

    def add(self, rows: Rows) -> None:
        """Add rows, (n, n_features)."""

    def result(self) -> "Units":
        """Return the units of all rows added."""


@dataclass(frozen=True, eq=False)
class Units(ABC):
    """Units of the data; the subclasses below are in `UNITS` by name.

    The model works on (x - center) / scale of each feature.

    Attributes
    ----------
    center, scale
        (n_features,) or (1,), in the units of the data (of the logarithm for counts).
    """

    center: Array
    scale: Array

    # Name in a recipe.
    kind: ClassVar[str]
    # Whether the target of the decoder differs from the input of the encoder.
    has_own_target: ClassVar[bool] = False
    # Whether new samples are checked like those of the fit.
    checks_new_samples: ClassVar[bool] = False
    # Total to which the values of a sample are scaled before log(1 + x), or None without logarithm.
    total: ClassVar[float | None] = None

    @classmethod
    @abstractmethod
    def survey(cls) -> Survey:
        """Return a new survey that measures such units."""

    @classmethod
    def measure(cls, rows: Rows) -> "Units":
        """Return the units of rows in memory, (n, n_features)."""
        found = cls.survey()
        found.add(rows)
        return found.result()

    @classmethod
    def check(cls, rows: Rows, start: int = 0, limit: float = 1.0) -> None:
        """Refuse rows that a decoder cannot output.

        Parameters
        ----------
        rows
            (n, n_features).
        start
            Number of the first row, for messages.
        limit
            Largest absolute value of a bounded decoder's output.

        Raises
        ------
        ValueError
            A row breaks a rule; the message says which, and what to do.
        """
        # Most units allow all values.
        return

    def apply(self, rows: Rows) -> NDArray[np.float32]:
        """Return rows, (n, n_features), in the model's units."""
        # Centred in double precision: float32 would lose the variation of features such as 1,000,000 ± 1.
        scaled = np.empty(rows.shape, dtype=np.float32)
        n_rows, gain = max(1, CHUNK // rows.shape[1]), 1 / self.scale
        for start in range(0, len(rows), n_rows):
            values = self._values(rows[start : start + n_rows])
            values -= self.center
            values *= gain
            scaled[start : start + n_rows] = values
        return scaled

    def _values(self, rows: Rows) -> Array:
        """Return a copy of rows, (n, n_features), to be centred and scaled."""
        return np.array(rows, dtype=np.float64)

    def invert(self, decoded: NDArray[np.floating]) -> Array:
        """Return the mean of a likelihood, (n, n_features), in the units of the data."""
        return np.asarray(decoded, dtype=np.float64) * self.scale + self.center

    def as_read(self, decoded: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the mean of a likelihood, (n, n_features), on the scale of the encoder's input."""
        return decoded.astype(np.float32)

    def sizes(self, rows: Rows) -> Array:
        """Return the total of each row, (n,), if the decoder's mean depends on it, otherwise ones."""
        return np.ones(len(rows))

    def draw_sizes(self, n: int, rng: np.random.Generator) -> Array:
        """Draw totals from a log-normal distribution fitted to those of the samples, (n,)."""
        # Drawn for all units, so that the random numbers that follow are the same.
        return np.asarray(self.typical_size * np.exp(self.size_spread * rng.standard_normal(n)))

    @property
    def typical_size(self) -> float:
        """Total count at which codes and latents are decoded."""
        return 1.0

    @property
    def size_spread(self) -> float:
        """Standard deviation of the logarithm of the total counts."""
        return 0.0

    def averaged(self, target: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return targets of the decoder, (n, n_features), in the form in which they are averaged over a class."""
        return target

    def of_average(self, means: Array) -> NDArray[np.float32]:
        """Return class means of `averaged` rows, (n_classes, n_features), on the scale of the encoder's input."""
        return means.astype(np.float32)

    def subset(self: TheseUnits, features: NDArray[np.int64]) -> TheseUnits:
        """Return the units of some features, by position, (n_chosen,).

        Raises
        ------
        ValueError
            The data are counts, whose shares are of the total of all features.
        """
        if self.has_own_target:
            raise ValueError("`features` must be all features for counts, since shares are of the total; got some.")
        own = {name: getattr(self, name) for name in ("center", "scale")}
        return replace(self, **{name: value if len(value) == 1 else value[features] for name, value in own.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return the values of the units that go into JSON; center and scale are stored as tensors."""
        return {}


@dataclass(frozen=True, eq=False)
class Standard(Units):
    """Mean 0 and variance 1 of each feature, or on average over features that share a unit.

    Features share a unit if no standard deviation is more than ten times another. They then share a scale, so that
    features that vary more keep more weight.

    Examples
    --------
    >>> X = np.array([[0.0, 100.0], [2.0, 300.0]])
    >>> units = Standard.measure(X)
    >>> units.apply(X)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> units.invert(units.apply(X))
    array([[  0., 100.],
           [  2., 300.]])
    """

    kind: ClassVar[str] = "standard"

    @classmethod
    def survey(cls) -> "StandardSurvey":
        """Return a survey of means and standard deviations."""
        return StandardSurvey()


@dataclass(frozen=True, eq=False)
class Range(Units):
    """The smallest and the largest value over all features become -1 and 1."""

    kind: ClassVar[str] = "range"

    @classmethod
    def survey(cls) -> "RangeSurvey":
        """Return a survey of the smallest and the largest value."""
        return RangeSurvey()


@dataclass(frozen=True, eq=False)
class _AsTheyAre(Units):
    """Values of order one, which the model takes unchanged."""

    @classmethod
    def survey(cls) -> Survey:
        """Return a survey that measures nothing."""
        return FixedSurvey(cls(np.zeros(1), np.ones(1)))

    def apply(self, rows: Rows) -> NDArray[np.float32]:
        """Return rows, (n, n_features), in single precision."""
        return np.ascontiguousarray(rows, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class ZeroOne(_AsTheyAre):
    """Values in [0, 1], such as flags or shares."""

    kind: ClassVar[str] = "zero_one"

    @classmethod
    def check(cls, rows: Rows, start: int = 0, limit: float = 1.0) -> None:
        """Refuse values outside [0, 1]."""
        if rows.min() < 0 or rows.max() > 1:
            raise ValueError(
                f"`X` must lie in [0, 1] for likelihood='bernoulli'; got values from {rows.min():g} to "
                f"{rows.max():g}. Divide by the largest possible value, or use likelihood='bounded'."
            )


@dataclass(frozen=True, eq=False)
class Bounded(_AsTheyAre):
    """Values in [-limit, limit], such as z-scores clipped to ±10."""

    kind: ClassVar[str] = "bounded"

    @classmethod
    def check(cls, rows: Rows, start: int = 0, limit: float = 1.0) -> None:
        """Refuse values outside [-limit, limit]."""
        largest = max(-float(rows.min()), float(rows.max()))
        if largest > limit:
            raise ValueError(
                f"`X` must lie in [-{limit:g}, {limit:g}], as `output_scale` says; got an absolute value of "
                f"{largest:g}. Clip `X`, as level-5 signatures are clipped to ±10, or raise `output_scale`."
            )


@dataclass(frozen=True, eq=False)
class Counts(Units):
    """Counts: log(1 + 10,000 × share of the sample's total), with mean 0 and variance 1 of each feature.

    Attributes
    ----------
    median_size, log_size_spread
        Median of the total counts of the samples, and the standard deviation of their logarithms.
    """

    median_size: float = 1.0
    log_size_spread: float = 0.0
    kind: ClassVar[str] = "counts"
    has_own_target: ClassVar[bool] = True
    checks_new_samples: ClassVar[bool] = True
    total: ClassVar[float | None] = TOTAL

    @classmethod
    def survey(cls) -> "CountsSurvey":
        """Return a survey of means, standard deviations and total counts."""
        return CountsSurvey()

    @classmethod
    def check(cls, rows: Rows, start: int = 0, limit: float = 1.0) -> None:
        """Refuse negative or fractional values, and samples without counts."""
        if rows.min() < 0:
            raise ValueError(
                f"`X` must hold counts for likelihood='negative_binomial'; got {rows.min():g}. "
                "Pass raw counts, or use likelihood='gaussian'."
            )
        if np.issubdtype(rows.dtype, np.floating) and (rows != np.round(rows)).any():
            fraction = rows[rows != np.round(rows)][0]
            raise ValueError(
                f"`X` must hold whole counts for likelihood='negative_binomial'; got {fraction:g}. "
                "Pass raw counts, not normalised ones, or use likelihood='gaussian'."
            )
        empty = np.flatnonzero(rows.sum(axis=1) == 0)
        if len(empty):
            raise ValueError(
                f"`X` must have at least one count in each sample; {len(empty)} have none, the first in row "
                f"{start + empty[0]}. Drop these samples."
            )

    def _values(self, rows: Rows) -> Array:
        return log_shares(rows)

    def invert(self, decoded: NDArray[np.floating]) -> Array:
        """Return expected counts unchanged, (n, n_features)."""
        return decoded.astype(np.float64)

    def as_read(self, decoded: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return expected counts, (n, n_features), on the scale of the encoder's input."""
        return self.apply(decoded)

    def sizes(self, rows: Rows) -> Array:
        """Return the total count of each row, (n,)."""
        return np.asarray(rows.sum(axis=1, dtype=np.float64))

    @property
    def typical_size(self) -> float:
        """Median of the total counts."""
        return self.median_size

    @property
    def size_spread(self) -> float:
        """Standard deviation of the logarithm of the total counts."""
        return self.log_size_spread

    def averaged(self, target: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the share of each feature in its sample's total, (n, n_features).

        The decoder's mean is a share too. The mean of logarithms is not its logarithm, and depends on the sequencing
        depth.
        """
        return np.asarray(target / np.maximum(target.sum(1, keepdims=True), 1))

    def of_average(self, means: Array) -> NDArray[np.float32]:
        """Return mean shares, (n_classes, n_features), on the scale of the encoder's input."""
        return self.apply(means)

    def to_dict(self) -> dict[str, Any]:
        """Return the median and the spread of the total counts."""
        return {"median_size": self.median_size, "log_size_spread": self.log_size_spread}


UNITS: dict[str, type[Units]] = {kind.kind: kind for kind in (Standard, Range, ZeroOne, Bounded, Counts)}


class FixedSurvey:
    """A survey that measures nothing and returns given units."""

    def __init__(self, units: Units) -> None:
        self.units = units

    def add(self, rows: Rows) -> None:
        """Ignore rows, (n, n_features)."""

    def result(self) -> Units:
        """Return the given units."""
        return self.units


class RangeSurvey:
    """Measures the smallest and the largest value over all features."""

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf

    def add(self, rows: Rows) -> None:
        """Add rows, (n, n_features)."""
        if len(rows):
            self.low, self.high = min(self.low, float(rows.min())), max(self.high, float(rows.max()))

    def result(self) -> Range:
        """Return the units; constant data are centred and not scaled."""
        return Range(np.array([(self.low + self.high) / 2]), np.array([(self.high - self.low) / 2 or 1.0]))


class StandardSurvey:
    """Measures mean, variance and extremes of each feature.

    Examples
    --------
    >>> found = StandardSurvey()
    >>> for part in ([[0.0, 100.0]], [[2.0, 300.0]]):
    ...     found.add(np.array(part))
    >>> found.result().scale
    array([  1., 100.])
    """

    def __init__(self) -> None:
        self.n = 0
        self.center = self.variance = np.zeros(1)
        self.low, self.high = np.array(np.inf), np.array(-np.inf)

    def add(self, rows: Rows) -> None:
        """Add rows, (n, n_features)."""
        if not len(rows):
            return
        self.low, self.high = np.minimum(self.low, rows.min(axis=0)), np.maximum(self.high, rows.max(axis=0))
        # Combined by the formulas of Chan, Golub and LeVeque (Am. Stat. 37:242, 1983).
        share = len(rows) / (self.n + len(rows))
        gap = rows.mean(axis=0, dtype=np.float64) - self.center
        self.variance = (
            (1 - share) * self.variance + share * rows.var(axis=0, dtype=np.float64) + share * (1 - share) * gap**2
        )
        self.center = self.center + share * gap
        self.n += len(rows)

    @property
    def is_constant(self) -> NDArray[np.bool_]:
        """Whether each feature is constant, (n_features,): rounding errors of its variance must not be magnified."""
        return np.asarray((self.high == self.low) | (self.variance == 0))

    @property
    def deviations(self) -> Array:
        """Standard deviation of each feature, (n_features,); 1 for constant features."""
        return np.where(self.is_constant, 1.0, np.sqrt(self.variance))

    def result(self) -> Units:
        """Return the units; constant features are centred and not scaled."""
        scale, spreads = self.deviations, np.sqrt(self.variance)[~self.is_constant]
        if len(spreads) and spreads.max() <= ONE_UNIT * spreads.min():
            scale = np.where(self.is_constant, 1.0, np.sqrt((spreads**2).mean()))
        return Standard(self.center, scale)


class CountsSurvey(StandardSurvey):
    """Measures mean and variance of `log_shares` of counts, and the total counts of the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.totals = [np.ones(0)]

    def add(self, rows: Rows) -> None:
        """Add rows, (n, n_features)."""
        super().add(log_shares(rows))
        self.totals.append(rows.sum(axis=1, dtype=np.float64))

    def result(self) -> Units:
        """Return the units; constant features are centred and not scaled."""
        totals = np.concatenate(self.totals)
        return Counts(self.center, self.deviations, float(np.median(totals)), float(np.log(totals).std()))


def log_shares(counts: Rows) -> Array:
    """Return log(1 + 10,000 × share of the row's total) of counts, (n, n_features).

    Examples
    --------
    >>> log_shares(np.array([[1, 3]])).round(3)
    array([[7.824, 8.923]])
    """
    totals = np.maximum(counts.sum(axis=1, keepdims=True, dtype=np.float64), 1.0)
    return np.asarray(np.log1p(counts * (TOTAL / totals)))
