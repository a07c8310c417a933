"""The recipe of a fit: every choice as a plain value, so that a network can be rebuilt from its file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

Part = TypeVar("Part", "Design", "Schedule")

# Architecture of networks that the user passed, whose code is not stored.
OWN_NETWORKS = "own"


@dataclass(frozen=True)
class Design:
    """The network, its likelihood, and how data are scaled for it.

    Attributes
    ----------
    objective
        Name of a class in `svqvae.model.objective.OBJECTIVES`.
    architecture
        "dense", "conv", "published-mnist", "published-lincs", or "own" where the networks were passed.
    n_features, n_classes
        Number of features, and of classes, each with a code.
    image_shape
        (channels, height, width), or () for tables.
    latent_dim
        Number of latent dimensions.
    hidden, dropout
        Widths of the hidden layers of dense networks, and probability with which an input feature is set to 0 in
        training.
    likelihood
        Name of a class in `svqvae.model.likelihood.LIKELIHOODS`.
    output_scale
        Largest absolute value of a bounded decoder's output in the model's units.
    units
        Name of a class in `svqvae.data.units.UNITS`.
    geometry
        "euclidean" or "cosine".
    temperature
        Divisor of the squared distances in class probabilities.
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
        """Shape of one input of the encoder: (channels, height, width), or (n_features,)."""
        return self.image_shape or (self.n_features,)


@dataclass(frozen=True)
class Schedule:
    """How the network is trained.

    Attributes
    ----------
    w_sample, w_class, w_label, commitment_cost, divergence_cost
        Weights of loss terms; an objective uses those of its own terms.
    label_smoothing
        Share of each label that is spread evenly over all classes.
    n_epochs, n_settling_epochs
        Number of epochs, and how many of them, at the end, train the decoder alone.
    batch_size
        Largest number of samples in a step, over all processes.
    learning_rate, weight_decay
        Settings of the optimiser.
    max_shift
        Largest shift of training images in pixels.
    validation_fraction, early_stopping, patience
        Share of the samples held out, whether training stops when their loss no longer improves, and number of epochs
        without improvement after which it stops.
    accelerator, devices, num_nodes, precision
        "cpu" or "cuda", processes per machine, number of machines, and precision of training.
    seed
        Seed of all random numbers.
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
    """All settings of a fit, with every default resolved.

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
        """Return all values as JSON can hold them, none of them null, by "design" and "schedule"."""
        return {name: _listed(asdict(part)) for name, part in (("design", self.design), ("schedule", self.schedule))}

    @classmethod
    def from_dict(cls, values: Mapping[str, Mapping[str, Any]]) -> "Recipe":
        """Return the recipe that `to_dict` wrote.

        Raises
        ------
        ValueError
            An entry is missing, unknown, null or of the wrong type.
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
    """Return whether a value read from JSON has the type of an entry."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind in (int, bool, str):
        return type(value) is kind
    return isinstance(value, tuple) and all(type(part) is int for part in value)
