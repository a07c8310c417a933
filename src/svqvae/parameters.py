"""What may be set, the rules for it, and the recipe that comes of it: every default is resolved here, once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from numbers import Integral, Real
from typing import Any

from svqvae.model.recipe import OWN_NETWORKS, Design, Recipe, Schedule
from svqvae.progress import n_started

# What the rules take is imported by the command line for its help: neither numpy nor torch may be loaded here.

ARCHITECTURES = ("dense", "conv", "published-mnist", "published-lincs")
ACCELERATORS = ("auto", "cpu", "cuda", "gpu")
PRECISIONS = ("auto", "32-true", "64-true", "bf16-mixed", "16-mixed")
EUCLIDEAN, COSINE = "euclidean", "cosine"


@dataclass(frozen=True)
class ObjectiveRules:
    """What an objective allows, and what it takes where nothing is said.

    Attributes
    ----------
    hidden, commitment_cost, learning_rate
        Defaults.
    geometries
        Ways to compare latents and codes that it knows.
    has_labels
        Whether it has a label term, and with it label smoothing and a temperature of its own.
    has_decay
        Whether its optimiser decays weights.
    has_divergence
        Whether `divergence_cost` counts, which must then be below `commitment_cost`.
    settling_share
        Share of the epochs that train the decoder alone.
    shifts_images
        Whether training images are moved unless asked otherwise.
    """

    hidden: tuple[int, ...]
    commitment_cost: float
    learning_rate: float
    geometries: tuple[str, ...] = (EUCLIDEAN,)
    has_labels: bool = False
    has_decay: bool = False
    has_divergence: bool = False
    settling_share: float = 0.0
    shifts_images: bool = False


OBJECTIVES = {
    # Width, rates and cost were chosen on validation folds (benchmarks/defaults.py, "What was chosen on validation").
    "prototype": ObjectiveRules(
        (512,),
        2.0,
        0.003,
        geometries=(EUCLIDEAN, COSINE),
        has_labels=True,
        has_decay=True,
        settling_share=1 / 8,
        shifts_images=True,
    ),
    # The values of the two notebooks; the learning rate is that of the MNIST one.
    "published": ObjectiveRules((), 0.25, 0.001, has_divergence=True),
    "vqvae": ObjectiveRules((), 0.25, 0.001),
}
# How data are brought to numbers of order one, by what the decoder can give: classes of `svqvae.data.units`.
LIKELIHOODS = {"gaussian": "standard", "bounded": "range", "bernoulli": "zero_one", "negative_binomial": "counts"}
# Those whose decoders are dense: one dispersion per feature.
DENSE_ONLY = ("negative_binomial",)


@dataclass(frozen=True)
class Parameter:
    """One hyper-parameter of the estimator.

    Attributes
    ----------
    name
        As in `SVQVAE`.
    default
        None where the rules choose the value.
    help
        What it is, in a few words.
    choices
        Values allowed, or none named.
    least, is_least_allowed, is_whole
        Smallest value of a number, whether it is allowed itself, and whether only whole numbers are; None is no number.
    below
        Numbers must be below it.
    automatic
        What None takes, in a few words; empty where None is not allowed.
    """

    name: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    is_least_allowed: bool = True
    is_whole: bool = False
    below: float | None = None
    automatic: str = ""

    @property
    def rule(self) -> str:
        """What a number must be."""
        if self.below is not None:
            return f"at least {self.least:g} and below {self.below:g}"
        bound = "of at least" if self.is_least_allowed else "above"
        return f"a {'whole ' if self.is_whole else ''}number {bound} {self.least:g}"

    def check(self, value: Any) -> None:
        """Refuse a value that breaks the rule by itself; rules between parameters stand in `check`."""
        if value is None and self.automatic:
            return
        if self.choices and value not in self.choices:
            raise ValueError(f"`{self.name}` must be one of {', '.join(map(repr, self.choices))}; got {value!r}.")
        if self.least is None:
            return
        is_number = isinstance(value, Integral if self.is_whole else Real) and not isinstance(value, bool)
        is_right = (
            is_number and isfinite(value) and value >= self.least and (self.is_least_allowed or value > self.least)
        )
        if not is_right or (self.below is not None and value >= self.below):
            none = " or None" if self.automatic else ""
            raise ValueError(f"`{self.name}` must be {self.rule}{none}; got {value!r}.")


PARAMETERS = (
    Parameter(
        "objective", "prototype", "what training minimises: prototype, published or vqvae", choices=tuple(OBJECTIVES)
    ),
    Parameter(
        "architecture", "dense", "networks: dense for tables, conv for images, published-mnist or published-lincs"
    ),
    Parameter("latent_dim", 256, "number of latent dimensions", least=1, is_whole=True),
    Parameter("hidden", None, "width of a hidden layer of dense networks", automatic="512; published: none"),
    Parameter("dropout", 0.0, "share of input features left out at each training step", least=0, below=1),
    Parameter(
        "likelihood",
        "auto",
        "what the decoder gives: gaussian, bounded, bernoulli for values in [0, 1], negative_binomial for raw counts",
        choices=("auto", *LIKELIHOODS),
    ),
    Parameter(
        "output_scale",
        None,
        "largest absolute value of the data with likelihood bounded",
        least=0,
        is_least_allowed=False,
        automatic="data are scaled to [-1, 1]",
    ),
    Parameter(
        "geometry", EUCLIDEAN, "how latents and codes are compared: euclidean or cosine", choices=(EUCLIDEAN, COSINE)
    ),
    Parameter("w_sample", 4.0, "weight of sample reconstruction (prototype)", least=0),
    Parameter("w_class", 1.0, "weight of class reconstruction (prototype)", least=0),
    Parameter("w_label", 1.0, "weight of the label cross-entropy (prototype)", least=0),
    Parameter(
        "commitment_cost",
        None,
        "weight of the squared distance between latents and codes",
        least=0,
        automatic="2; published: 0.25",
    ),
    Parameter("divergence_cost", 0.1, "weight of the push away from a wrong nearest code (published)", least=0),
    Parameter(
        "label_smoothing",
        None,
        "share of each label spread over all classes (prototype)",
        least=0,
        below=1,
        automatic="0.2 for tables, 0 for images",
    ),
    Parameter(
        "temperature",
        None,
        "divides squared distances in class probabilities",
        least=0,
        is_least_allowed=False,
        automatic="1; cosine: 0.1",
    ),
    Parameter(
        "n_epochs",
        None,
        "passes over the data",
        least=1,
        is_whole=True,
        automatic="25 to 100, for about 2,000 steps",
    ),
    Parameter(
        "batch_size",
        None,
        "most samples of a training step",
        least=1,
        is_whole=True,
        automatic="a twentieth of the data, 16 to 256",
    ),
    Parameter(
        "learning_rate",
        None,
        "learning rate of the optimiser",
        least=0,
        is_least_allowed=False,
        automatic="0.003; published: 0.001",
    ),
    Parameter(
        "weight_decay",
        None,
        "weight decay of the optimiser (prototype)",
        least=0,
        automatic="1 for tables, 0.05 for images",
    ),
    Parameter(
        "max_shift",
        None,
        "pixels by which training images are moved at most",
        least=0,
        is_whole=True,
        automatic="1 in 14; published: 0",
    ),
    Parameter("validation_fraction", 0.05, "share of the samples held out with early stopping", least=0, below=1),
    Parameter("early_stopping", "auto", "whether to stop training where held-out samples no longer improve"),
    Parameter("patience", 10, "epochs to wait for held-out samples to improve", least=1, is_whole=True),
    Parameter("image_shape", None, "sides of the images that flat rows hold", automatic="that of the data"),
    Parameter("accelerator", "auto", "where training runs: auto, cpu or cuda", choices=ACCELERATORS),
    Parameter("devices", 1, "processes that train together", least=1, is_whole=True),
    Parameter("num_nodes", 1, "machines that train together, under torchrun", least=1, is_whole=True),
    Parameter(
        "precision",
        "32-true",
        "of training: 32-true, 64-true, bf16-mixed, 16-mixed, or auto for what is measured to be faster",
        choices=PRECISIONS,
    ),
)
# Those that the rules choose by other parameters alone, whatever the data.
BY_RULE = ("hidden", "commitment_cost", "label_smoothing", "temperature", "learning_rate", "weight_decay")


@dataclass(frozen=True)
class Facts:
    """What the rules must know of the data and the machine.

    Attributes
    ----------
    n_samples, n_trained
        Samples in all, and those that train.
    n_features, n_classes
        Features of a row, and classes.
    image_shape
        (channels, height, width), or () for tables.
    has_cuda
        Whether the machine has a graphics card that torch can use.
    """

    n_samples: int
    n_trained: int
    n_features: int
    n_classes: int
    image_shape: tuple[int, ...] = ()
    has_cuda: bool = False


def check(given: Mapping[str, Any]) -> None:
    """Refuse hyper-parameters that are out of range or contradict each other.

    Parameters
    ----------
    given
        All parameters of `SVQVAE` by name.
    """
    _check_architecture(given["architecture"])
    for parameter in PARAMETERS:
        parameter.check(given[parameter.name])
    for name, example in (
        ("hidden", "a sequence of widths, such as (256,)"),
        ("image_shape", "(height, width) or with channels first"),
    ):
        if given[name] is not None and not isinstance(given[name], Iterable):
            raise ValueError(f"`{name}` must be {example}; got {given[name]!r}.")
    hidden = tuple(_or(given["hidden"], ()))
    if any(not isinstance(width, Integral) or width < 1 for width in hidden):
        raise ValueError(f"`hidden` must hold whole numbers of at least 1; got {hidden!r}.")
    if given["early_stopping"] not in (True, False, "auto"):
        raise ValueError(f"`early_stopping` must be True, False or 'auto'; got {given['early_stopping']!r}.")
    _check_processes(given)
    _check_objective(given)
    _check_likelihood(given)
    if given["early_stopping"] is True and given["validation_fraction"] == 0:
        raise ValueError("`validation_fraction` must be above 0 where early_stopping=True; got 0. Use 0.1, say.")


def _check_architecture(architecture: Any) -> None:
    is_name = isinstance(architecture, str) and architecture in ARCHITECTURES
    is_pair = isinstance(architecture, tuple) and len(architecture) == 2 and all(map(callable, architecture))
    if not (is_name or is_pair):
        seen = repr(architecture) if isinstance(architecture, str) else f"a {type(architecture).__name__}"
        raise ValueError(
            f"`architecture` must be one of {', '.join(map(repr, ARCHITECTURES))}, or a tuple of two modules, encoder "
            f"and decoder; got {seen}."
        )


def _check_processes(given: Mapping[str, Any]) -> None:
    if given["num_nodes"] > 1 and n_started() == 1:
        raise ValueError(
            f"`num_nodes` must be 1 unless torchrun starts the processes on all machines; got {given['num_nodes']}. "
            "Use `torchrun --nnodes`."
        )
    if n_started() > 1 and not isinstance(given["random_state"], Integral):
        raise ValueError(
            f"`random_state` must be a whole number where several processes train together, so that all start from the "
            f"same weights; got {given['random_state']!r}."
        )


def _check_objective(given: Mapping[str, Any]) -> None:
    rules = OBJECTIVES[given["objective"]]
    if given["geometry"] not in rules.geometries:
        raise ValueError(
            f"`geometry` must be {rules.geometries[0]!r} with objective={given['objective']!r}; got "
            f"{given['geometry']!r}. Use objective='prototype' for the cosine geometry."
        )
    commitment_cost, divergence_cost = _or(given["commitment_cost"], rules.commitment_cost), given["divergence_cost"]
    if rules.has_divergence and divergence_cost >= commitment_cost:
        raise ValueError(
            f"`divergence_cost` must be below `commitment_cost`, or latents are driven off without bound; got "
            f"{divergence_cost:g} and {commitment_cost:g}. The published values are 0.1 and 0.25."
        )


def _check_likelihood(given: Mapping[str, Any]) -> None:
    likelihood, architecture = given["likelihood"], given["architecture"]
    if likelihood in DENSE_ONLY and architecture != "dense":
        raise ValueError(f"`likelihood` {likelihood!r} must go with architecture='dense'; got {architecture!r}.")
    if given["output_scale"] is not None and resolve_likelihood(given) != "bounded":
        raise ValueError(
            f"`output_scale` must be None unless likelihood='bounded'; got {given['output_scale']!r} with "
            f"likelihood={likelihood!r}."
        )


def resolve(given: Mapping[str, Any], facts: Facts, seed: int) -> Recipe:
    """Return the recipe of a fit: what was given, and the rules below for what was left to them.

    Parameters
    ----------
    given
        All parameters of `SVQVAE` by name; sound, see `check`.
    facts
        Of the data and the machine.
    seed
        As `resolve_seed` returned it.
    """
    return Recipe(_resolve_design(given, facts), _resolve_schedule(given, facts, seed))


def _resolve_design(given: Mapping[str, Any], facts: Facts) -> Design:
    rules, architecture = OBJECTIVES[given["objective"]], given["architecture"]
    return Design(
        objective=given["objective"],
        architecture=architecture if isinstance(architecture, str) else OWN_NETWORKS,
        n_features=facts.n_features,
        n_classes=facts.n_classes,
        image_shape=facts.image_shape,
        latent_dim=int(given["latent_dim"]),
        hidden=tuple(int(width) for width in _or(given["hidden"], rules.hidden)),
        dropout=float(given["dropout"]),
        likelihood=resolve_likelihood(given),
        output_scale=float(given["output_scale"] or 1.0),
        units=resolve_units(given),
        geometry=given["geometry"],
        # Squared distances between unit vectors are at most 4, others are not.
        temperature=float(_or(given["temperature"], 0.1 if given["geometry"] == COSINE else 1.0)),
    )


def _resolve_schedule(given: Mapping[str, Any], facts: Facts, seed: int) -> Schedule:
    rules, is_dense = OBJECTIVES[given["objective"]], given["architecture"] == "dense"
    batch_size = int(given["batch_size"] or min(max(facts.n_trained // 20, 16), 256))
    n_epochs = resolve_n_epochs(given, -(-facts.n_trained // batch_size))
    fraction = resolve_validation_fraction(given, facts.n_samples)
    # An eighth, at least 1, none of a single epoch.
    n_settling = max(1, int(n_epochs * rules.settling_share)) if rules.settling_share and n_epochs > 1 else 0
    return Schedule(
        w_sample=float(given["w_sample"]),
        w_class=float(given["w_class"]),
        w_label=float(given["w_label"]),
        commitment_cost=float(_or(given["commitment_cost"], rules.commitment_cost)),
        divergence_cost=float(given["divergence_cost"]),
        # Few samples of a table may be overfitted.
        label_smoothing=float(_or(given["label_smoothing"], 0.2 if is_dense and rules.has_labels else 0.0)),
        n_epochs=n_epochs,
        n_settling_epochs=n_settling,
        batch_size=batch_size,
        learning_rate=float(given["learning_rate"] or rules.learning_rate),
        # 1 where all inputs meet in one layer and few samples overfit it.
        weight_decay=float(_or(given["weight_decay"], 1.0 if is_dense else 0.05)) if rules.has_decay else 0.0,
        max_shift=_resolve_max_shift(given, facts.image_shape),
        validation_fraction=fraction,
        early_stopping=fraction > 0,
        patience=int(given["patience"]),
        accelerator=resolve_accelerator(given["accelerator"], facts.has_cuda),
        devices=int(given["devices"]),
        num_nodes=int(given["num_nodes"]),
        precision=given["precision"],
        seed=seed,
    )


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def resolve_likelihood(given: Mapping[str, Any]) -> str:
    """Return the likelihood: images are bounded, tables are not."""
    if given["likelihood"] != "auto":
        return str(given["likelihood"])
    is_bounded = given["architecture"] in ("conv", "published-mnist", "published-lincs")
    return "bounded" if is_bounded else "gaussian"


def resolve_units(given: Mapping[str, Any]) -> str:
    """Return how X is brought to numbers of order one: what the decoder can give decides."""
    if given["output_scale"] is not None:
        return "bounded"
    units = LIKELIHOODS[resolve_likelihood(given)]
    return "range" if units == "standard" and given["architecture"] == "conv" else units


def resolve_n_epochs(given: Mapping[str, Any], n_batches: int) -> int:
    """Return the number of epochs: enough for 2,000 steps, from 25 to 100."""
    return int(given["n_epochs"] or min(max(-(-2000 // n_batches), 25), 100))


def resolve_validation_fraction(given: Mapping[str, Any], n_samples: int) -> float:
    """Return the share of the samples to hold out: none unless there is early stopping, as from 10,000 samples on."""
    watches = n_samples >= 10_000 if given["early_stopping"] == "auto" else bool(given["early_stopping"])
    return float(given["validation_fraction"]) if watches else 0.0


def resolve_accelerator(accelerator: str, has_cuda: bool) -> str:
    """Return "cuda" or "cpu"; Apple's MPS has no double precision, which the exact codes need."""
    if accelerator == "auto":
        return "cuda" if has_cuda else "cpu"
    if accelerator in ("cuda", "gpu") and not has_cuda:
        raise ValueError(f"`accelerator` must be 'cpu' or 'auto' on a machine without CUDA; got {accelerator!r}.")
    return "cpu" if accelerator == "cpu" else "cuda"


def _resolve_max_shift(given: Mapping[str, Any], image_shape: tuple[int, ...]) -> int:
    """Return by how many pixels training images are moved: 1 in 14, for the default objective on images."""
    if not image_shape:
        return 0
    if given["max_shift"] is not None:
        return int(given["max_shift"])
    shifts = OBJECTIVES[given["objective"]].shifts_images and given["architecture"] == "conv"
    return min(image_shape[1:]) // 14 if shifts else 0


def resolve_seed(random_state: Any) -> int:
    """Return a seed from an int, a generator or None, leaving numpy's global state alone."""
    import numpy as np

    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if isinstance(random_state, Integral) and 0 <= int(random_state) < 2**32:
        return int(random_state)
    raise ValueError(f"`random_state` must be None, a generator or a whole number from 0; got {random_state!r}.")
