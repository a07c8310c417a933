"""What a fit was made with: every choice as a plain value, so that a run can be rebuilt from its file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

Part = TypeVar("Part", "Design", "Schedule")

# The name of networks that a user passed, which no file holds.
OWN_NETWORKS = "own"


@dataclass(frozen=True)
class Design:
    """The network and what its numbers mean.

    Attributes
    ----------
    objective
        Name of a class in `svqvae.model.objective.OBJECTIVES`.
    architecture
        "dense", "conv", "published-mnist", "published-lincs", or "own" where the networks were passed.
    n_features, n_classes
        Features of a row, and codes.
    image_shape
        (channels, height, width), or () for tables.
    latent_dim
        Latent dimensions.
    hidden, dropout
        Widths of the hidden layers of dense networks, and the share of input features that training leaves out.
    likelihood
        Name of a class in `svqvae.model.likelihood.LIKELIHOODS`.
    output_scale
        Largest absolute value of what a bounded decoder gives, in the model's units.
    units
        Name of a class in `svqvae.data.units.UNITS`.
    geometry
        "euclidean" or "cosine".
    temperature
        Divides squared distances in class probabilities.
    """

    objective: str
    architecture: str
    n_features: int
    n_classes: int
    image_shape: tuple[int, ...]
    latent_dim: int
    hidden: tuple[int, ...]
    dropout: float
    likelihood: str
    output_scale: float
    units: str
    geometry: str
    temperature: float

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of what the encoder reads of one sample: that of an image, or (n_features,)."""
        return self.image_shape or (self.n_features,)


@dataclass(frozen=True)
class Schedule:
    """How the network is trained.

    Attributes
    ----------
    w_sample, w_class, w_label, commitment_cost, divergence_cost
        Weights of loss terms; an objective takes those that it has.
    label_smoothing
        Share of each label that the label term spreads evenly over all classes.
    n_epochs, n_settling_epochs
        Passes over the data in all, and how many of them train the decoder alone, at the end.
    batch_size
        Most samples of a step.
    learning_rate, weight_decay
        Of the optimiser.
    max_shift
        Pixels by which training images are moved at most.
    validation_fraction, early_stopping, patience
        Share of the samples held out, whether training stops where they no longer improve, and after how many epochs.
    accelerator, devices, num_nodes, precision
        Where training runs, in how many processes, and in which precision.
    seed
        Seed of everything that is drawn.
    """

    w_sample: float
    w_class: float
    w_label: float
    commitment_cost: float
    divergence_cost: float
    label_smoothing: float
    n_epochs: int
    n_settling_epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    max_shift: int
    validation_fraction: float
    early_stopping: bool
    patience: int
    accelerator: str
    devices: int
    num_nodes: int
    precision: str
    seed: int


@dataclass(frozen=True)
class Recipe:
    """All that a fit was made with, besides the samples themselves.

    Examples
    --------
    >>> design = Design("prototype", "dense", 4, 3, (), 8, (16,), 0.0, "gaussian", 1.0, "standard", "euclidean", 1.0)
    >>> schedule = Schedule(
    ...     4.0, 1.0, 1.0, 2.0, 0.1, 0.2, 25, 3, 16, 3e-3, 1.0, 0, 0.0, False, 10, "cpu", 1, 1, "32-true", 0
    ... )
    >>> Recipe.from_dict(Recipe(design, schedule).to_dict()) == Recipe(design, schedule)
    True
    """

    design: Design
    schedule: Schedule

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return all values as JSON can hold them; none of them is null."""
        return {name: _listed(asdict(part)) for name, part in (("design", self.design), ("schedule", self.schedule))}

    @classmethod
    def from_dict(cls, values: Mapping[str, Mapping[str, Any]]) -> "Recipe":
        """Return the recipe that `to_dict` wrote.

        Raises
        ------
        ValueError
            Where an entry is missing, unknown or null.
        """
        parts = dict(values) if isinstance(values, Mapping) else {}
        return cls(_filled(Design, parts.get("design")), _filled(Schedule, parts.get("schedule")))


def _listed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _filled(kind: type[Part], values: Mapping[str, Any] | None) -> Part:
    given: dict[str, Any] = dict(values) if isinstance(values, Mapping) else {}
    given |= {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    known = {field.name: field.type for field in fields(kind)}
    wrong = sorted(set(known).symmetric_difference(given)) + [
        name for name in known if not _is(given.get(name), known[name])
    ]
    if wrong:
        raise ValueError(
            f"`recipe` must have a value for each entry of {kind.__name__.lower()}; got {given.get(wrong[0])!r} for "
            f"{wrong[0]!r}."
        )
    return kind(**given)


def _is(value: Any, kind: Any) -> bool:
    """Return whether a value read from JSON is of the kind that an entry has."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind in (int, bool, str):
        return type(value) is kind
    return isinstance(value, tuple) and all(type(part) is int for part in value)
