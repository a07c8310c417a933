"""The rules that hyper-parameters must obey, and how those left to us are chosen."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from svqvae.data.scaling import Kind
from svqvae.model.launched import n_started
from svqvae.model.likelihood import LIKELIHOODS

if TYPE_CHECKING:
    from svqvae.estimator import SVQVAE

OBJECTIVES = ("prototype", "published", "vqvae")
ARCHITECTURES = ("dense", "conv", "published-mnist", "published-lincs")
GEOMETRIES = ("euclidean", "cosine")
ACCELERATORS = ("auto", "cpu", "cuda", "gpu")
PRECISIONS = ("auto", "32-true", "64-true", "bf16-mixed", "16-mixed")

# Name, smallest value, whether that value itself is allowed, whether only whole numbers are.
NUMBERS = (
    ("latent_dim", 1, True, True),
    ("output_scale", 0, False, False),
    ("w_sample", 0, True, False),
    ("w_class", 0, True, False),
    ("w_label", 0, True, False),
    ("commitment_cost", 0, True, False),
    ("divergence_cost", 0, True, False),
    ("temperature", 0, False, False),
    ("n_epochs", 1, True, True),
    ("batch_size", 1, True, True),
    ("learning_rate", 0, False, False),
    ("weight_decay", 0, True, False),
    ("max_shift", 0, True, True),
    ("patience", 1, True, True),
    ("devices", 1, True, True),
    ("num_nodes", 1, True, True),
)
MAY_BE_NONE = {
    "output_scale",
    "commitment_cost",
    "n_epochs",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "max_shift",
    "temperature",
    "label_smoothing",
}


def check_parameters(model: "SVQVAE") -> None:
    """Refuse hyper-parameters that are out of range or contradict each other."""
    _check_choice("objective", model.objective, OBJECTIVES)
    _check_architecture(model.architecture)
    _check_choice("likelihood", model.likelihood, ("auto", *LIKELIHOODS))
    _check_choice("geometry", model.geometry, GEOMETRIES)
    _check_choice("precision", model.precision, PRECISIONS)
    for name, least, is_least_allowed, is_whole in NUMBERS:
        _check_number(name, getattr(model, name), least, is_least_allowed, is_whole)
    for name in ("validation_fraction", "dropout", "label_smoothing"):
        value = getattr(model, name)
        if value is None and name in MAY_BE_NONE:
            continue
        if not isinstance(value, int | float | np.number) or not 0 <= value < 1:
            raise ValueError(f"`{name}` must be at least 0 and below 1; got {value!r}.")
    if model.hidden is not None and not np.iterable(model.hidden):
        raise ValueError(f"`hidden` must be a sequence of widths, such as (256,); got {model.hidden!r}.")
    if model.image_shape is not None and not np.iterable(model.image_shape):
        raise ValueError(f"`image_shape` must be (height, width) or with channels first; got {model.image_shape!r}.")
    hidden = resolve_hidden(model)
    if any(not isinstance(width, int | np.integer) or width < 1 for width in hidden):
        raise ValueError(f"`hidden` must hold whole numbers of at least 1; got {hidden!r}.")
    if model.early_stopping not in (True, False, "auto"):
        raise ValueError(f"`early_stopping` must be True, False or 'auto'; got {model.early_stopping!r}.")
    _check_choice("accelerator", model.accelerator, ACCELERATORS)
    if model.num_nodes > 1 and n_started() == 1:
        raise ValueError(
            f"`num_nodes` must be 1 unless torchrun starts the processes on all machines; got {model.num_nodes}. Use "
            "`torchrun --nnodes`."
        )
    if n_started() > 1 and not isinstance(model.random_state, int | np.integer):
        raise ValueError(
            f"`random_state` must be a whole number where several processes train together, so that all start from the "
            f"same weights; got {model.random_state!r}."
        )
    _check_objective(model)
    _check_likelihood(model)
    if model.early_stopping is True and model.validation_fraction == 0:
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


def _check_objective(model: "SVQVAE") -> None:
    if model.objective == "prototype":
        return
    if model.geometry != "euclidean":
        raise ValueError(
            f"`geometry` must be 'euclidean' with objective={model.objective!r}; got {model.geometry!r}. "
            "Use objective='prototype' for the cosine geometry."
        )
    commitment_cost = resolve_commitment_cost(model)
    if model.objective == "published" and model.divergence_cost >= commitment_cost:
        raise ValueError(
            f"`divergence_cost` must be below `commitment_cost`, or latents are driven off without bound; got "
            f"{model.divergence_cost:g} and {commitment_cost:g}. The published values are 0.1 and 0.25."
        )


def _check_likelihood(model: "SVQVAE") -> None:
    if model.likelihood == "negative_binomial" and model.architecture != "dense":
        raise ValueError(
            f"`likelihood` 'negative_binomial' must go with architecture='dense'; got {model.architecture!r}."
        )
    if model.output_scale is not None and resolve_likelihood(model) != "bounded":
        raise ValueError(
            f"`output_scale` must be None unless likelihood='bounded'; got {model.output_scale!r} with "
            f"likelihood={model.likelihood!r}."
        )


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}; got {value!r}.")


def _check_number(name: str, value: Any, least: float, is_least_allowed: bool, is_whole: bool) -> None:
    if value is None and name in MAY_BE_NONE:
        return
    kinds = int | np.integer if is_whole else int | float | np.number
    is_right = isinstance(value, kinds) and not isinstance(value, bool) and np.isfinite(value)
    if not is_right or value < least or (value == least and not is_least_allowed):
        rule = f"a {'whole ' if is_whole else ''}number {'of at least' if is_least_allowed else 'above'} {least}"
        none = " or None" if name in MAY_BE_NONE else ""
        raise ValueError(f"`{name}` must be {rule}{none}; got {value!r}.")


def resolve_likelihood(model: "SVQVAE") -> str:
    """Return the likelihood: images are bounded, tables are not."""
    if model.likelihood != "auto":
        return str(model.likelihood)
    return "bounded" if model.architecture in ("conv", "published-mnist", "published-lincs") else "gaussian"


def resolve_scaling(model: "SVQVAE") -> Kind:
    """Return how X is scaled: what the decoder can give decides."""
    likelihood = resolve_likelihood(model)
    if likelihood == "negative_binomial":
        return "counts"
    if likelihood == "bernoulli" or model.output_scale is not None:
        return "none"
    return "range" if likelihood == "bounded" or model.architecture == "conv" else "standard"


def resolve_commitment_cost(model: "SVQVAE") -> float:
    """Return the commitment cost: 0.25 as published, more for the default objective."""
    if model.commitment_cost is not None:
        return float(model.commitment_cost)
    return 2.0 if model.objective == "prototype" else 0.25


def resolve_weights(model: "SVQVAE") -> Mapping[str, float]:
    """Return the weight of each loss term of the objective."""
    commitment_cost = resolve_commitment_cost(model)
    if model.objective == "prototype":
        return {
            "sample_reconstruction": model.w_sample,
            "class_reconstruction": model.w_class,
            "label": model.w_label,
            "commitment": commitment_cost,
        }
    weights = {"reconstruction": 1.0, "codebook": 1.0, "commitment": commitment_cost}
    if model.objective == "published":
        weights |= {"codebook_divergence": -1.0, "divergence": -model.divergence_cost}
    return weights


def resolve_hidden(model: "SVQVAE") -> tuple[int, ...]:
    """Return the widths of the hidden layers: one of 512, or none for the published objectives."""
    if model.hidden is not None:
        return tuple(model.hidden)
    return (512,) if model.objective == "prototype" else ()


def resolve_temperature(model: "SVQVAE") -> float:
    """Return the temperature: squared distances between unit vectors are at most 4, others are not."""
    if model.temperature is not None:
        return float(model.temperature)
    return 0.1 if model.geometry == "cosine" else 1.0


def resolve_label_smoothing(model: "SVQVAE") -> float:
    """Return the label smoothing: a fifth where few samples of a table may be overfitted, none for images."""
    if model.label_smoothing is not None:
        return float(model.label_smoothing)
    return 0.2 if model.architecture == "dense" else 0.0


def resolve_n_settling_epochs(model: "SVQVAE", n_epochs: int) -> int:
    """Return how many of the epochs train the decoder alone: an eighth, at least 1, none of a single epoch."""
    return max(1, n_epochs // 8) if model.objective == "prototype" and n_epochs > 1 else 0


def resolve_validation_fraction(model: "SVQVAE", n_samples: int) -> float:
    """Return the share of the samples to hold out: none unless there is early stopping, as from 10,000 samples on."""
    watches = n_samples >= 10_000 if model.early_stopping == "auto" else bool(model.early_stopping)
    return float(model.validation_fraction) if watches else 0.0


def resolve_accelerator(accelerator: str, has_cuda: bool) -> str:
    """Return "cuda" or "cpu"; Apple's MPS has no double precision, which the exact codes need."""
    if accelerator == "auto":
        return "cuda" if has_cuda else "cpu"
    if accelerator in ("cuda", "gpu") and not has_cuda:
        raise ValueError(f"`accelerator` must be 'cpu' or 'auto' on a machine without CUDA; got {accelerator!r}.")
    return "cpu" if accelerator == "cpu" else "cuda"


def resolve_batch_size(model: "SVQVAE", n_samples: int) -> int:
    """Return the batch size: about 20 batches an epoch, of 16 to 256 samples."""
    return int(model.batch_size or np.clip(n_samples // 20, 16, 256))


def resolve_n_epochs(model: "SVQVAE", n_batches: int) -> int:
    """Return the number of epochs: enough for 2,000 steps, from 25 to 100."""
    return int(model.n_epochs or np.clip(-(-2000 // n_batches), 25, 100))


def resolve_learning_rate(model: "SVQVAE") -> float:
    """Return the learning rate: 0.001 as published, three times that for the default objective."""
    return float(model.learning_rate or (0.003 if model.objective == "prototype" else 0.001))


def resolve_weight_decay(model: "SVQVAE") -> float:
    """Return the weight decay: 1 where all inputs meet in one layer and few samples overfit it, else 0.05."""
    if model.weight_decay is not None:
        return float(model.weight_decay)
    return 1.0 if model.architecture == "dense" else 0.05


def resolve_max_shift(model: "SVQVAE", image_shape: tuple[int, int, int] | None) -> int:
    """Return by how many pixels training images are moved: 1 in 14, for the default objective on images."""
    if image_shape is None:
        return 0
    if model.max_shift is not None:
        return int(model.max_shift)
    is_ours = model.objective == "prototype" and model.architecture == "conv"
    return min(image_shape[1:]) // 14 if is_ours else 0


def resolve_seed(random_state: Any) -> int:
    """Return a seed from an int, a generator or None, leaving numpy's global state alone."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if isinstance(random_state, int | np.integer) and 0 <= random_state < 2**32:
        return int(random_state)
    raise ValueError(f"`random_state` must be None, a generator or a whole number from 0; got {random_state!r}.")
