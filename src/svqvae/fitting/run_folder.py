"""A fitted model as a run folder, and back."""

import io
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from svqvae.atlas.atlas import FILE, ClassAtlas
from svqvae.data.scaling import Scaling
from svqvae.files import (
    RUN,
    TENSORS,
    make_folder,
    read_run,
    read_tensors,
    write_run,
    write_tensors,
    write_whole,
)
from svqvae.fitting.building import build
from svqvae.model.checkpoint import Checkpoint
from svqvae.model.whitening import WhitenedEncoder

if TYPE_CHECKING:
    from svqvae.estimator import SVQVAE

Model = TypeVar("Model", bound="SVQVAE")

PACKAGES = ("svqvae", "torch", "lightning-fabric", "scikit-learn", "numpy", "scipy", "pandas", "anndata")
OWN_NETWORKS = "own"
HISTORY = "history.csv"
# The kind of file that holds the state of training, and its name in a run folder.
CHECKPOINT, CHECKPOINT_FILE = "svqvae_checkpoint", "checkpoint.safetensors"
# Parameters that may differ between the two parts of a resumed fit.
FREE_TO_CHANGE = ("verbose",)


def write_model(model: "SVQVAE", folder: Path) -> None:
    """Write `model.safetensors`, `atlas.safetensors`, `run.json` and `history.csv`."""
    tensors = {f"module.{name}": value.numpy() for name, value in model.module_.state_dict().items()}
    tensors |= {"scaling.center": model.scaling_.center, "scaling.scale": model.scaling_.scale, "noise": model.noise_}
    settings = _settings_of(model)
    names = getattr(model, "feature_names_in_", None)
    run = {
        "parameters": {name: _plain(value) for name, value in settings.items()},
        "classes": {"dtype": model.classes_.dtype.str, "values": model.classes_.tolist()},
        "feature_names": None if names is None else [str(name) for name in names],
        "n_features": model.n_features_in_,
        "sample_shape": model.sample_shape_,
        "image_shape": model.image_shape_,
        "layer": model.layer_,
        "scaling": model.scaling_.kind,
        "median_size": model.median_size_,
        "log_size_spread": model.log_size_spread_,
        "held_out": model.held_out_.tolist(),
        "seed": model.seed_,
        "precision": model.precision_,
        "n_iter": model.n_iter_,
        "data": model.data_,
        "health": model.health_.reset_index(drop=True).to_dict("list"),
        "versions": {package: version(package) for package in PACKAGES},
    }
    model.atlas_.save(folder)
    write_run(folder, tensors, run)
    text = io.StringIO()
    model.history_.to_csv(text, index=False)
    write_whole(folder / HISTORY, text.getvalue().encode())


def checkpointing(
    model: "SVQVAE", path: Path | str | None, resume: bool, fingerprint: str
) -> tuple[Callable[[Checkpoint], None] | None, Checkpoint | None]:
    """Return what writes the state of training after each epoch, if anything, and the state to go on from, if any.

    Raises
    ------
    ValueError
        Where the file is damaged, or of other data or parameters.
    """
    if path is None:
        if resume:
            raise ValueError("`checkpoint` must name the file to go on from where resume=True; got None.")
        return None, None
    path = Path(path)
    make_folder(path.parent, "checkpoint")
    settings = {name: _plain(value) for name, value in _settings_of(model).items() if name not in FREE_TO_CHANGE}
    study = {"data": fingerprint, "parameters": settings, "torch": version("torch")}
    start = _read_checkpoint(path, study) if resume and path.is_file() else None
    return partial(_write_checkpoint, path, study), start


def _write_checkpoint(path: Path, study: dict[str, Any], checkpoint: Checkpoint) -> None:
    tensors = {name: value.numpy() for name, value in checkpoint.tensors.items()}
    write_tensors(path, tensors, CHECKPOINT, {"study": study, "progress": dict(checkpoint.progress)})


def _read_checkpoint(path: Path, study: dict[str, Any]) -> Checkpoint:
    tensors, header = read_tensors(path, CHECKPOINT, "a checkpoint that `svqvae fit` wrote")
    then = header["study"]
    if then["data"] != study["data"]:
        raise ValueError(f"`resume` must go on with the data that {path} was made of; these are others. Start anew.")
    for what in ("torch", "parameters"):
        changed = then[what] if isinstance(then[what], str) else _changed(then[what], study[what])
        if then[what] != study[what]:
            raise ValueError(
                f"`resume` must go on with the parameters and the torch that {path} was made with; then it was "
                f"{changed}. Use the same, or start anew."
            )
    return Checkpoint({name: torch.as_tensor(value) for name, value in tensors.items()}, header["progress"])


def _changed(then: dict[str, Any], now: dict[str, Any]) -> str:
    return ", ".join(f"{name}={then.get(name)!r}" for name in now if then.get(name) != now[name])


def _settings_of(model: "SVQVAE") -> dict[str, Any]:
    """Return the hyper-parameters as a run folder keeps them."""
    settings: dict[str, Any] = model.get_params(deep=False) | {"random_state": model.seed_}
    if isinstance(model.architecture, tuple):
        settings["architecture"] = OWN_NETWORKS
    return settings


def run_files(folder: Path, *others: str) -> list[Path]:
    """Return the paths of what `write_model` writes into a folder, and of other files there."""
    return [folder / name for name in (TENSORS, FILE, RUN, HISTORY, *others)]


def read_model(kind: type[Model], folder: Path, architecture: Any) -> Model:
    """Read what `write_model` wrote, into an estimator of the given class."""
    tensors, run = read_run(folder)
    if not isinstance(run.get("parameters"), dict):
        raise ValueError(f"{folder} must be a whole run; its run.json has no 'parameters'. Fit the model anew.")
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in run["parameters"].items()
    }
    if settings["architecture"] == OWN_NETWORKS:
        if architecture is None:
            raise ValueError(
                f"`architecture` must be the pair (encoder, decoder) that {folder} was fitted with, since networks of "
                "one's own are not stored; got None. Call SVQVAE.load(folder, architecture=(encoder, decoder))."
            )
        settings["architecture"] = architecture
    model = kind(**settings)
    try:
        _restore(model, run)
    except KeyError as error:
        raise ValueError(f"{folder} must be a whole run; its run.json has no {error}. Fit the model anew.") from None
    model.module_ = _rebuild(model, tensors, folder)
    model.scaling_ = Scaling(run["scaling"], tensors["scaling.center"], tensors["scaling.scale"])
    model.atlas_ = ClassAtlas.load(folder)
    if not np.array_equal(model.atlas_.codes, model.codebook_.astype(np.float32)):
        raise ValueError(f"{folder} must hold the model and the atlas of one fit; their codes differ. Fit it anew.")
    model.noise_ = tensors["noise"]
    path = folder / HISTORY
    model.history_ = pd.read_csv(path) if path.is_file() else pd.DataFrame()
    return model


def _restore(model: "SVQVAE", run: dict[str, Any]) -> None:
    """Set the fitted attributes that JSON holds."""
    dtype = np.dtype(run["classes"]["dtype"])
    model.classes_ = np.array(run["classes"]["values"], dtype=dtype)
    if run["feature_names"] is not None:
        model.feature_names_in_ = np.array(run["feature_names"], dtype=object)
    model.n_features_in_ = run["n_features"]
    model.sample_shape_ = tuple(run["sample_shape"])
    model.image_shape_ = None if run["image_shape"] is None else tuple(run["image_shape"])
    model.layer_, model.data_ = run["layer"], run["data"]
    model.median_size_, model.log_size_spread_ = run["median_size"], run["log_size_spread"]
    model.held_out_ = np.array(run["held_out"], dtype=np.int64)
    model.seed_, model.n_iter_ = run["seed"], run["n_iter"]
    # Runs of earlier versions do not say it; they knew no "auto".
    model.precision_ = run.get("precision", model.precision)
    model.health_ = pd.DataFrame(run["health"], index=pd.Index(model.classes_, name="class"))
    model._n_features_out = model.latent_dim


def _rebuild(model: "SVQVAE", tensors: dict[str, NDArray[Any]], folder: Path) -> Any:
    """Build the network anew and fill it, holding names and shapes against what the file has."""
    with torch.random.fork_rng():
        module = build(model)
    state = {
        name.removeprefix("module."): torch.as_tensor(value)
        for name, value in tensors.items()
        if name.startswith("module.")
    }
    try:
        # Of the shapes of a fitted encoder; earlier versions stored the whitening by itself.
        if isinstance(module.encoder, WhitenedEncoder) and not state["encoder.whitening.gains"].numel():
            module.encoder.fold()
        module.to(state["quantizer.codes"].dtype).load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{folder} must hold the weights that its run.json describes; {error}") from None
    return module.eval()


def _plain(value: Any) -> Any:
    """Return a hyper-parameter as JSON can hold it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list | np.ndarray):
        return [_plain(part) for part in value]
    return value
