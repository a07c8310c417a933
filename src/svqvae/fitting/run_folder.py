"""A fitted model as a run folder, and back: versioned, checked on load, never a pickle."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from svqvae.atlas.atlas import FILE, ClassAtlas
from svqvae.data.units import UNITS, Units
from svqvae.files import Tensors, current, read_safetensors, to_bytes, write_together
from svqvae.fitting import format_1
from svqvae.fitting.fitted import Fitted
from svqvae.model.module import SVQVAEModule, build_module
from svqvae.model.networks import Pair
from svqvae.model.recipe import OWN_NETWORKS, Design, Recipe
from svqvae.model.whitening import WhitenedEncoder
from svqvae.parameters import BY_RULE
from svqvae.wording import plain

FORMAT_VERSION = 2
TENSORS, RUN, HISTORY, METRICS = "model.safetensors", "run.json", "history.csv", "metrics.json"
# The kind of file that holds the weights.
KIND = "svqvae_model"
# What tells of a fit besides the run itself, so that it goes where a new run takes its place.
TOLD = (METRICS, "report.html", "report.json")
# Parameters of a run that another one like it does not take.
UNLIKE = ("random_state", "verbose")
PACKAGES = ("svqvae", "torch", "lightning-fabric", "scikit-learn", "numpy", "scipy", "pandas", "anndata")


def write_run(folder: Path, fitted: Fitted) -> None:
    """Write `model.safetensors`, `atlas.safetensors`, `run.json` and `history.csv`, all of them or none.

    Figures and page of a run that stood there go.

    Parameters
    ----------
    folder
        Made where it does not exist; other files in it stay.
    fitted
        What was learnt.
    """
    tensors = {f"module.{name}": value.numpy() for name, value in fitted.module.state_dict().items()}
    tensors |= {"units.center": fitted.units.center, "units.scale": fitted.units.scale, "noise": fitted.noise}
    weights = to_bytes(tensors, KIND, {"fingerprint": fitted.fingerprint}, FORMAT_VERSION)
    text = io.StringIO()
    fitted.history.to_csv(text, index=False)
    history = text.getvalue().encode()
    names = fitted.feature_names
    run = {
        "format_version": FORMAT_VERSION,
        "fingerprint": fitted.fingerprint,
        "recipe": fitted.recipe.to_dict(),
        "parameters": dict(fitted.given),
        "classes": {"dtype": fitted.classes.dtype.str, "values": fitted.classes.tolist()},
        "feature_names": None if names is None else [str(name) for name in names],
        "sample_shape": list(fitted.sample_shape),
        "layer": fitted.layer,
        "units": {"kind": fitted.units.kind, **fitted.units.to_dict()},
        "held_out": fitted.held_out.tolist(),
        "n_iter": fitted.n_iter,
        "data": dict(fitted.origin),
        "health": fitted.health.reset_index(drop=True).to_dict("list"),
        "sha256": {
            name: hashlib.sha256(content).hexdigest() for name, content in ((TENSORS, weights), (HISTORY, history))
        },
        "versions": {package: version(package) for package in PACKAGES},
    }
    contents = {
        TENSORS: weights,
        FILE: fitted.atlas.to_bytes(),
        RUN: json.dumps(run, indent=2, ensure_ascii=False, default=plain).encode(),
        HISTORY: history,
    }
    write_together(folder, contents, TOLD)


def run_files(folder: Path, *others: str) -> list[Path]:
    """Return the paths of what `write_run` writes into a folder, and of other files there."""
    return [folder / name for name in (TENSORS, FILE, RUN, HISTORY, *others)]


def read_run(folder: Path | str) -> dict[str, Any]:
    """Return what `run.json` holds, in today's format.

    Raises
    ------
    FileNotFoundError
        Where the folder or one of its files is missing.
    ValueError
        Where it is damaged, incomplete, or of a format version that is not known.
    """
    folder = Path(folder)
    for name in (RUN, TENSORS):
        if not current(folder, name).is_file():
            raise FileNotFoundError(
                f"`folder` must be a run folder with {RUN} and {TENSORS}; {folder} has no {name}. "
                "`svqvae fit` and `model.save` write run folders."
            )
    try:
        run = json.loads(current(folder, RUN).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / RUN} must be JSON; it is damaged: {error}. Fit the model anew.") from None
    number = run.get("format_version") if isinstance(run, dict) else None
    if number not in (format_1.FORMAT_VERSION, FORMAT_VERSION):
        raise ValueError(
            f"{folder / RUN} must have format version {FORMAT_VERSION} or {format_1.FORMAT_VERSION}; got {number!r}. "
            "Read it with the version of svqvae that wrote it, or fit the model anew."
        )
    try:
        return format_1.upgraded(run) if number == format_1.FORMAT_VERSION else _whole(run)
    except KeyError as error:
        raise ValueError(f"{folder} must be a whole run; its {RUN} has no {error}. Fit the model anew.") from None


def read_parameters(folder: Path) -> dict[str, Any]:
    """Return the parameters by which a run can be done again on other data, those of `SVQVAE` by name.

    What was left to the rules and does not depend on the data is as that run resolved it, whatever today's defaults.
    """
    run = read_run(folder)
    given: dict[str, Any] = {name: value for name, value in run["parameters"].items() if name not in UNLIKE}
    if given["architecture"] == OWN_NETWORKS:
        raise ValueError(
            f"`like` must be a run whose networks have a name; {folder} was fitted with networks of one's own, which "
            "are not stored. Fit it in Python."
        )
    resolved = run["recipe"]["design"] | run["recipe"]["schedule"]
    given |= {name: resolved[name] for name in BY_RULE if given[name] is None}
    if given["likelihood"] == "auto":
        given["likelihood"] = resolved["likelihood"]
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def _whole(run: dict[str, Any]) -> dict[str, Any]:
    """Return what was read, or raise a KeyError for the first entry that it lacks."""
    needed = ("fingerprint", "recipe", "parameters", "classes", "feature_names", "sample_shape", "layer", "units")
    for name in (*needed, "held_out", "n_iter", "data", "health", "sha256", "versions"):
        run[name]
    for part, name in (("classes", "dtype"), ("classes", "values"), ("units", "kind")):
        run[part][name]
    return run


def read_fitted(folder: Path, own_networks: Pair | None = None) -> Fitted:
    """Read what was learnt from a run folder.

    Parameters
    ----------
    folder
        As `write_run` wrote it.
    own_networks
        The pair (encoder, decoder) that it was fitted with, where that was one of the user's own.

    Raises
    ------
    FileNotFoundError, ValueError
        Where a file is missing or damaged, or not all are of one fit.
    """
    run = read_run(folder)
    try:
        recipe = Recipe.from_dict(run["recipe"])
    except ValueError as error:
        raise ValueError(f"{folder / RUN} must be whole; {error} Fit the model anew.") from None
    if recipe.design.architecture == OWN_NETWORKS and own_networks is None:
        raise ValueError(
            f"`architecture` must be the pair (encoder, decoder) that {folder} was fitted with, since networks of "
            "one's own are not stored; got None. Call SVQVAE.load(folder, architecture=(encoder, decoder))."
        )
    tensors, text = read_safetensors(current(folder, TENSORS), KIND)
    atlas = ClassAtlas.load(folder)
    classes = _check_is_one_fit(folder, run, None if text is None else json.loads(text)["fingerprint"], atlas)
    _check_content(folder, TENSORS, run["sha256"])
    # Runs of format 1 had no fingerprint; saved again, they have one.
    fingerprint = run["fingerprint"] or hashlib.sha256(json.dumps(run).encode()).hexdigest()
    # JSON has fewer types than classes may be of.
    atlas = replace(atlas, classes=classes, fingerprint=fingerprint)
    own = own_networks if recipe.design.architecture == OWN_NETWORKS else None
    names = run["feature_names"]
    fitted = Fitted(
        recipe=recipe,
        given=run["parameters"],
        units=_units(folder, recipe.design.units, run["units"], tensors),
        module=_module(recipe.design, own, tensors, folder),
        atlas=atlas,
        health=pd.DataFrame(run["health"], index=pd.Index(atlas.classes, name="class")),
        noise=tensors["noise"],
        history=_history(folder, run["sha256"]),
        n_iter=run["n_iter"],
        held_out=np.array(run["held_out"], dtype=np.int64),
        feature_names=None if names is None else np.array(names, dtype=object),
        layer=run["layer"],
        origin=run["data"],
        fingerprint=fingerprint,
    )
    if not np.array_equal(atlas.codes, fitted.codebook.astype(np.float32)):
        raise ValueError(f"{folder} must hold the model and the atlas of one fit; their codes differ. Fit it anew.")
    return fitted


def _check_is_one_fit(
    folder: Path, run: Mapping[str, Any], of_weights: str | None, atlas: ClassAtlas
) -> NDArray[np.generic]:
    """Return the classes; refuse a folder whose parts come from several fits. Format 1 had no fingerprints."""
    prints = {TENSORS: of_weights or "", FILE: atlas.fingerprint, RUN: run["fingerprint"]}
    wrong = [name for name, fingerprint in prints.items() if fingerprint != prints[RUN]]
    classes = np.array(run["classes"]["values"], dtype=run["classes"]["dtype"])
    names = run["feature_names"]
    what = None
    if wrong:
        what = f"the fingerprint of {wrong[0]} is not that of {RUN}"
    elif classes.tolist() != atlas.classes.tolist():
        what = f"the classes of {FILE} are not those of {RUN}"
    elif np.unique(classes).tolist() != classes.tolist() or len(classes) != run["recipe"]["design"]["n_classes"]:
        what = "the classes are not sorted, each once, or not as many as codes"
    elif names is not None and tuple(names) != atlas.feature_names:
        what = f"the features of {FILE} are not those of {RUN}"
    if what is not None:
        raise ValueError(f"{folder} must hold the parts of one fit; {what}. Copy the whole run, or fit it anew.")
    return classes


def _units(folder: Path, kind: str, facts: Mapping[str, Any], tensors: Tensors) -> Units:
    values = {name: value for name, value in facts.items() if name != "kind"}
    # Runs of format 1 named the two after what they do.
    prefix = "units" if "units.center" in tensors else "scaling"
    try:
        return UNITS[kind](tensors[f"{prefix}.center"], tensors[f"{prefix}.scale"], **values)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{folder} must hold the units that its {RUN} describes; {error}. Fit the model anew."
        ) from None


def _history(folder: Path, digests: Mapping[str, str]) -> pd.DataFrame:
    path = current(folder, HISTORY)
    if not path.is_file():
        return pd.DataFrame()
    _check_content(folder, HISTORY, digests)
    return pd.read_csv(path, float_precision="round_trip")


def _check_content(folder: Path, name: str, digests: Mapping[str, str]) -> None:
    """Refuse a file that is not the one that was written with `run.json`; format 1 kept no digests."""
    if name not in digests:
        return
    with current(folder, name).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digests[name]:
        raise ValueError(
            f"{folder} must hold the parts of one fit; {name} is not the one that was written with {RUN}. "
            "Copy the whole run, or fit it anew."
        )


def _module(
    design: Design, own_networks: Pair | None, tensors: Mapping[str, NDArray[Any]], folder: Path
) -> SVQVAEModule:
    """Build the network anew and fill it, holding names and shapes against what the file has."""
    state = {
        name.removeprefix("module."): torch.as_tensor(value)
        for name, value in tensors.items()
        if name.startswith("module.")
    }
    try:
        with torch.random.fork_rng():
            module = build_module(design, own_networks)
        # Of the shapes of a fitted encoder; earlier versions stored the whitening by itself.
        if isinstance(module.encoder, WhitenedEncoder) and not state["encoder.whitening.gains"].numel():
            module.encoder.fold()
        module.to(state["quantizer.codes"].dtype).load_state_dict(state)
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"{folder} must hold the weights that its {RUN} describes; {error}") from None
    return module.eval()
