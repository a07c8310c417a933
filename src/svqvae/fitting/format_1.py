"""Runs of format 1, which kept defaults as nulls: filled as version 0.1.0 filled them, whatever today's are."""

from collections.abc import Mapping
from typing import Any

from svqvae.model.recipe import Design, Recipe, Schedule

FORMAT_VERSION = 1
# What the map of features was called, but for "none", which said nothing of the data.
UNITS = {"standard": "standard", "range": "range", "counts": "counts"}


def upgraded(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a `run.json` of format 1 in format 2.

    Raises
    ------
    KeyError
        Where an entry is missing.
    """
    given, kind = run["parameters"], run["scaling"]
    likelihood = _likelihood(given)
    fixed_units = "bounded" if likelihood == "bounded" else "zero_one"
    units: dict[str, Any] = {"kind": UNITS.get(kind, fixed_units)}
    if units["kind"] == "counts":
        units |= {"median_size": run["median_size"], "log_size_spread": run["log_size_spread"]}
    design = Design(
        objective=given["objective"],
        architecture=given["architecture"],
        n_features=run["n_features"],
        n_classes=len(run["classes"]["values"]),
        image_shape=tuple(run["image_shape"] or ()),
        latent_dim=given["latent_dim"],
        hidden=tuple(_or(given["hidden"], (512,) if given["objective"] == "prototype" else ())),
        dropout=given["dropout"],
        likelihood=likelihood,
        output_scale=given["output_scale"] or 1.0,
        units=units["kind"],
        geometry=given["geometry"],
        temperature=_or(given["temperature"], 0.1 if given["geometry"] == "cosine" else 1.0),
    )
    kept = ("classes", "feature_names", "sample_shape", "layer", "held_out", "n_iter", "data", "health", "versions")
    return {
        "format_version": FORMAT_VERSION,
        "fingerprint": "",
        "recipe": Recipe(design, _schedule(run, design)).to_dict(),
        "parameters": given,
        "units": units,
        "sha256": {},
        **{name: run[name] for name in kept},
    }


def _schedule(run: Mapping[str, Any], design: Design) -> Schedule:
    given, is_dense, is_ours = run["parameters"], design.architecture == "dense", design.objective == "prototype"
    n_samples, n_trained = run["data"]["n_samples"], run["data"]["n_trained"]
    batch_size = given["batch_size"] or min(max(n_trained // 20, 16), 256)
    n_batches = max(1, -(-n_trained // batch_size))
    n_epochs = given["n_epochs"] or min(max(-(-2000 // n_batches), 25), 100)
    watches = n_samples >= 10_000 if given["early_stopping"] == "auto" else bool(given["early_stopping"])
    max_shift = 0
    if design.image_shape:
        default = min(design.image_shape[1:]) // 14 if is_ours and design.architecture == "conv" else 0
        max_shift = _or(given["max_shift"], default)
    return Schedule(
        w_sample=given["w_sample"],
        w_class=given["w_class"],
        w_label=given["w_label"],
        commitment_cost=_or(given["commitment_cost"], 2.0 if is_ours else 0.25),
        divergence_cost=given["divergence_cost"],
        label_smoothing=_or(given.get("label_smoothing"), 0.2 if is_dense else 0.0),
        n_epochs=n_epochs,
        n_settling_epochs=max(1, n_epochs // 8) if is_ours and n_epochs > 1 else 0,
        batch_size=batch_size,
        learning_rate=given["learning_rate"] or (0.003 if is_ours else 0.001),
        weight_decay=_or(given["weight_decay"], 1.0 if is_dense else 0.05),
        max_shift=max_shift,
        validation_fraction=given["validation_fraction"] if watches else 0.0,
        early_stopping=watches and given["validation_fraction"] > 0,
        patience=given["patience"],
        accelerator="cpu" if given["accelerator"] == "auto" else given["accelerator"],
        devices=given.get("devices", 1),
        num_nodes=given.get("num_nodes", 1),
        # Runs of the first versions do not say it; they knew no "auto".
        precision=run.get("precision", given["precision"]),
        seed=run["seed"],
    )


def _likelihood(given: Mapping[str, Any]) -> str:
    if given["likelihood"] != "auto":
        return str(given["likelihood"])
    return "bounded" if given["architecture"] in ("conv", "published-mnist", "published-lincs") else "gaussian"


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
