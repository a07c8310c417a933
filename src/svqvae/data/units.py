"""What the numbers of the data are: how they are checked, brought to numbers of order one, and brought back."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

# Counts are brought to this total per sample before the logarithm, as scanpy's recipes do.
TOTAL = 1e4
# Features whose standard deviations differ by no more than this factor are taken to share a unit. Chosen by hand:
# sensors and genes of one panel differ by less, columns such as age and income by more.
ONE_UNIT = 10.0
# Numbers that are scaled at a time: their double precision stays in the processor's cache.
CHUNK = 1 << 15

Rows = NDArray[np.number]
Array = NDArray[np.float64]
TheseUnits = TypeVar("TheseUnits", bound="Units")


@runtime_checkable
class Survey(Protocol):
    """Measures units on data that come part by part."""

    def add(self, rows: Rows) -> None:
        """Add rows, (n, n_features)."""

    def result(self) -> "Units":
        """Return the units of all rows added."""


@dataclass(frozen=True, eq=False)
class Units(ABC):
    """What the numbers of the data are; the classes below are its kinds, and `UNITS` has them by name.

    The model works on an affine map of each feature, (x - center) / scale.

    Attributes
    ----------
    center, scale
        (n_features,) or (1,), in the units of the data (of the logarithm for counts).
    """

    center: Array
    scale: Array

    # The name that a recipe knows it by.
    kind: ClassVar[str]
    # Whether the decoder regenerates something else than what the encoder reads.
    has_own_target: ClassVar[bool] = False
    # Whether new samples are checked as those of the fit are.
    checks_new_samples: ClassVar[bool] = False
    # Total to which the values of a sample are brought before log(1 + x), or None where they are taken as they are.
    total: ClassVar[float | None] = None

    @classmethod
    @abstractmethod
    def survey(cls) -> Survey:
        """Return what measures such units."""

    @classmethod
    def measure(cls, rows: Rows) -> "Units":
        """Measure the units of rows, (n, n_features), that are at hand all at once."""
        found = cls.survey()
        found.add(rows)
        return found.result()

    @classmethod
    def check(cls, rows: Rows, start: int = 0, limit: float = 1.0) -> None:
        """Refuse rows that a decoder cannot give.

        Parameters
        ----------
        rows
            (n, n_features).
        start
            Number of the first row, for messages.
        limit
            Largest absolute value that a bounded decoder gives.

        Raises
        ------
        ValueError
            Which row breaks which rule, and what to do.
        """
        # Most kinds take all rows.
        return

    def apply(self, rows: Rows) -> NDArray[np.float32]:
        """Return rows, (n, n_features), on the scale that the model works on."""
        # The offset goes in double precision: features such as 1,000,000 ± 1 would not survive float32.
        scaled = np.empty(rows.shape, dtype=np.float32)
        n_rows, gain = max(1, CHUNK // rows.shape[1]), 1 / self.scale
        for start in range(0, len(rows), n_rows):
            values = self._values(rows[start : start + n_rows])
            values -= self.center
            values *= gain
            scaled[start : start + n_rows] = values
        return scaled

    def _values(self, rows: Rows) -> Array:
        """Return a copy of rows as the affine map takes them."""
        return np.array(rows, dtype=np.float64)

    def invert(self, decoded: NDArray[np.floating]) -> Array:
        """Return what a likelihood expects, (n, n_features), in the units of the data."""
        return np.asarray(decoded, dtype=np.float64) * self.scale + self.center

    def as_read(self, decoded: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return what a likelihood expects, (n, n_features), on the scale that the encoder reads."""
        return decoded.astype(np.float32)

    def sizes(self, rows: Rows) -> Array:
        """Return the total of each row, (n,), where the decoder's mean depends on it, else ones."""
        return np.ones(len(rows))

    def draw_sizes(self, n: int, rng: np.random.Generator) -> Array:
        """Draw totals like those of the samples, (n,)."""
        # The generator moves as for counts, so that draws of latents and totals have one order for all kinds.
        return np.asarray(self.typical_size * np.exp(self.size_spread * rng.standard_normal(n)))

    @property
    def typical_size(self) -> float:
        """The total at which codes and latents are decoded."""
        return 1.0

    @property
    def size_spread(self) -> float:
        """Standard deviation of the logarithm of the totals."""
        return 0.0

    def averaged(self, target: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return rows as they are averaged over a class, of what the decoder regenerates, (n, n_features)."""
        return target

    def of_average(self, means: Array) -> NDArray[np.float32]:
        """Return means of `averaged` rows, (n_classes, n_features), on the scale that the encoder reads."""
        return means.astype(np.float32)

    def subset(self: TheseUnits, features: NDArray[np.int64]) -> TheseUnits:
        """Return the units of some features, by position."""
        if self.has_own_target:
            raise ValueError("`features` must be all features for counts, since shares are of the total; got some.")
        own = {name: getattr(self, name) for name in ("center", "scale")}
        return replace(self, **{name: value if len(value) == 1 else value[features] for name, value in own.items()})

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON holds of the units; center and scale go into the tensors of a run."""
        return {}


@dataclass(frozen=True, eq=False)
class Standard(Units):
    """Mean 0 per feature, and variance 1 per feature.

    Where no feature's standard deviation is more than ten times another's they share a unit, and wide features tell
    more: then the variance is 1 on average.

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
        """Return what measures center and scale."""
        return StandardSurvey()


@dataclass(frozen=True, eq=False)
class Range(Units):
    """Smallest and largest value of all features together to -1 and 1."""

    kind: ClassVar[str] = "range"

    @classmethod
    def survey(cls) -> "RangeSurvey":
        """Return what measures the extremes."""
        return RangeSurvey()


@dataclass(frozen=True, eq=False)
class _AsTheyAre(Units):
    """Numbers of order one that the model works on as they are."""

    def apply(self, rows: Rows) -> NDArray[np.float32]:
        """Return rows in single precision."""
        return np.ascontiguousarray(rows, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class ZeroOne(_AsTheyAre):
    """Values in [0, 1], such as flags or shares."""

    kind: ClassVar[str] = "zero_one"

    @classmethod
    def survey(cls) -> Survey:
        """Return what has nothing to measure."""
        return FixedSurvey(cls(np.zeros(1), np.ones(1)))

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
    def survey(cls) -> Survey:
        """Return what has nothing to measure."""
        return FixedSurvey(cls(np.zeros(1), np.ones(1)))

    @classmethod
    def check(cls, rows: Rows, start: int = 0, limit: float = 1.0) -> None:
        """Refuse values that a decoder bounded by `limit` cannot give."""
        largest = max(-float(rows.min()), float(rows.max()))
        if largest > limit:
            raise ValueError(
                f"`X` must lie in [-{limit:g}, {limit:g}], as `output_scale` says; got an absolute value of "
                f"{largest:g}. Clip `X`, as level-5 signatures are clipped to ±10, or raise `output_scale`."
            )


@dataclass(frozen=True, eq=False)
class Counts(Units):
    """Whole counts: log(1 + 10,000 × share of the sample's total), then variance 1 per feature.

    Attributes
    ----------
    median_size, log_size_spread
        Median total of a sample, and the standard deviation of its logarithm.
    """

    median_size: float = 1.0
    log_size_spread: float = 0.0
    kind: ClassVar[str] = "counts"
    has_own_target: ClassVar[bool] = True
    checks_new_samples: ClassVar[bool] = True
    total: ClassVar[float | None] = TOTAL

    @classmethod
    def survey(cls) -> "CountsSurvey":
        """Return what measures center, scale and totals."""
        return CountsSurvey()

    @classmethod
    def check(cls, rows: Rows, start: int = 0, limit: float = 1.0) -> None:
        """Refuse negative or fractional values, and samples without any."""
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
        """Return expected counts as they are."""
        return decoded.astype(np.float64)

    def as_read(self, decoded: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return expected counts on the scale that the encoder reads."""
        return self.apply(decoded)

    def sizes(self, rows: Rows) -> Array:
        """Return the total of each row."""
        return np.asarray(rows.sum(axis=1, dtype=np.float64))

    @property
    def typical_size(self) -> float:
        """The median total."""
        return self.median_size

    @property
    def size_spread(self) -> float:
        """Standard deviation of the logarithm of the totals."""
        return self.log_size_spread

    def averaged(self, target: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the share of each feature in its sample.

        The decoder gives shares too: a mean of logarithms would be another, and would depend on how deep samples were
        counted.
        """
        return np.asarray(target / np.maximum(target.sum(1, keepdims=True), 1))

    def of_average(self, means: Array) -> NDArray[np.float32]:
        """Return mean shares on the scale that the encoder reads."""
        return self.apply(means)

    def to_dict(self) -> dict[str, Any]:
        """Return what is known of the totals."""
        return {"median_size": self.median_size, "log_size_spread": self.log_size_spread}


UNITS: dict[str, type[Units]] = {kind.kind: kind for kind in (Standard, Range, ZeroOne, Bounded, Counts)}


class FixedSurvey:
    """A survey that has nothing to measure."""

    def __init__(self, units: Units) -> None:
        self.units = units

    def add(self, rows: Rows) -> None:
        """Leave rows as they are."""

    def result(self) -> Units:
        """Return the units."""
        return self.units


class RangeSurvey:
    """Measures the smallest and the largest value of all features."""

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf

    def add(self, rows: Rows) -> None:
        """Add rows, (n, n_features)."""
        if len(rows):
            self.low, self.high = min(self.low, float(rows.min())), max(self.high, float(rows.max()))

    def result(self) -> Range:
        """Return the units; constant data keep theirs."""
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
        # Means and variances are taken together by the formulas of Chan, Golub and LeVeque (Am. Stat. 37:242, 1983).
        share = len(rows) / (self.n + len(rows))
        gap = rows.mean(axis=0, dtype=np.float64) - self.center
        self.variance = (
            (1 - share) * self.variance + share * rows.var(axis=0, dtype=np.float64) + share * (1 - share) * gap**2
        )
        self.center = self.center + share * gap
        self.n += len(rows)

    @property
    def is_constant(self) -> NDArray[np.bool_]:
        """Which features are constant: rounding leaves them a tiny spread, which must not be magnified."""
        return np.asarray((self.high == self.low) | (self.variance == 0))

    @property
    def deviations(self) -> Array:
        """Standard deviation of each feature, 1 where it is constant."""
        return np.where(self.is_constant, 1.0, np.sqrt(self.variance))

    def result(self) -> Units:
        """Return the units; a constant feature keeps its own."""
        scale, spreads = self.deviations, np.sqrt(self.variance)[~self.is_constant]
        if len(spreads) and spreads.max() <= ONE_UNIT * spreads.min():
            scale = np.where(self.is_constant, 1.0, np.sqrt((spreads**2).mean()))
        return Standard(self.center, scale)


class CountsSurvey(StandardSurvey):
    """Measures the logarithms of the shares of counts, and the totals of the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.totals = [np.ones(0)]

    def add(self, rows: Rows) -> None:
        """Add rows, (n, n_features)."""
        super().add(log_shares(rows))
        self.totals.append(rows.sum(axis=1, dtype=np.float64))

    def result(self) -> Units:
        """Return the units; a constant feature keeps its own."""
        totals = np.concatenate(self.totals)
        return Counts(self.center, self.deviations, float(np.median(totals)), float(np.log(totals).std()))


def log_shares(counts: Rows) -> Array:
    """Return log(1 + 10,000 × share of the row's total) of counts, (n, n_features)."""
    totals = np.maximum(counts.sum(axis=1, keepdims=True, dtype=np.float64), 1.0)
    return np.asarray(np.log1p(counts * (TOTAL / totals)))
