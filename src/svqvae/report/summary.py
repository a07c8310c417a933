"""The content of the report as one tree of plain numbers and text."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import pandas as pd

from svqvae.evaluation.beside import Sets
from svqvae.fitting.fitted import Fitted
from svqvae.fitting.run_folder import PACKAGES
from svqvae.model.recipe import OWN_NETWORKS
from svqvae.parameters import PARAMETERS
from svqvae.report.classes import summarise_classes
from svqvae.report.places import summarise_map
from svqvae.report.relations import summarise_relations
from svqvae.report.simulation import summarise_simulation
from svqvae.report.verdict import judge
from svqvae.wording import plain

FORMAT = 1
# Columns of the history that are not loss terms.
NO_TERMS = ("epoch", "learning_rate", "seconds", "interrupted")
VALIDATION = "validation_"


def summarise(
    fitted: Fitted,
    qualities: Mapping[str, Mapping[str, float]],
    accuracy: Mapping[str, Any] | None,
    sets: Sets,
    title: str,
    *,
    progress: Callable[[str], Callable[[int, int], None] | None] = lambda _: None,
) -> dict[str, Any]:
    """Return all numbers and sentences of the report, as JSON can hold them.

    Parameters
    ----------
    fitted
        The fitted model.
    qualities
        Figures of `svqvae.evaluation.quality.Quality` by kind of samples, as in `metrics.json`.
    accuracy
        Result of `svqvae.evaluation.beside.compare_beside` on the samples, or None.
    sets
        Samples by the same kinds; may be empty.
    title
        Title of the page.
    progress
        Called with the name of each part; returns a function to call after each step with the number of steps that are
        done, and of all, or None.

    Returns
    -------
    dict
        ``format``, ``title``, ``run``, ``quality``, ``accuracy``, ``history``, ``relations``, ``classes``, ``map``,
        ``verdict``. Entries that require samples are None without them.
    """
    atlas = fitted.atlas
    on_step = progress("samples")
    steps = 2
    places = summarise_map(fitted, sets, fitted.seed) if sets else None
    _tell(on_step, 1, steps)
    simulated = summarise_simulation(fitted, sets, fitted.seed) if sets else [None] * len(atlas.classes)
    _tell(on_step, 2, steps)
    classes = summarise_classes(atlas, fitted.health)
    for facts, simulation in zip(classes, simulated, strict=True):
        facts["simulation"] = simulation
    summary = plain(
        {
            "format": FORMAT,
            "title": title,
            "run": describe_run(fitted),
            "quality": {kind: dict(figures) for kind, figures in qualities.items()},
            "accuracy": accuracy,
            "history": describe_history(fitted.history),
            "relations": summarise_relations(atlas, progress=progress),
            "classes": classes,
            "map": places,
        }
    )
    return {**summary, "verdict": judge(summary)}


def _tell(on_step: Callable[[int, int], None] | None, done: int, steps: int) -> None:
    if on_step is not None:
        on_step(done, steps)


def describe_run(fitted: Fitted) -> dict[str, Any]:
    """Return the facts about a run: sizes, split, seed, settings, versions, and the command."""
    data, atlas, recipe = fitted.origin, fitted.atlas, fitted.recipe.to_dict()
    resolved = recipe["design"] | recipe["schedule"]
    defaults = {parameter.name: parameter.default for parameter in PARAMETERS}
    # Parameters that were left to the rules are shown with their resolved values.
    given = plain({name: fitted.given.get(name, default) for name, default in defaults.items()})
    left = [name for name, value in given.items() if value in (None, "auto")]
    settings = {name: resolved.get(name) if name in left else value for name, value in given.items()}
    if settings["architecture"] == OWN_NETWORKS:
        settings["architecture"] = "networks of one's own"
    changed = [name for name, default in defaults.items() if given[name] != default]
    return {
        "n_samples": data["n_samples"],
        "n_trained": data["n_trained"],
        "n_held_out": len(fitted.held_out),
        "n_classes": len(fitted.classes),
        "n_features": resolved["n_features"],
        "sample_shape": list(fitted.sample_shape),
        "n_epochs": fitted.n_iter,
        "seed": fitted.seed,
        "settings": settings,
        "changed": sorted(changed),
        "resolved": sorted(left),
        "sha256": data["sha256"],
        "command": data.get("command"),
        "label": data.get("label"),
        "group": data.get("group"),
        "is_imported": "imported" in data,
        "is_interrupted": fitted.is_interrupted,
        "has_counts": bool(atlas.counts.any()),
        "has_spread": atlas.profile_spread is not None,
        "can_simulate": atlas.density is not None,
        "versions": {package: version(package) for package in PACKAGES},
    }


def describe_history(history: pd.DataFrame) -> dict[str, Any]:
    """Return the epochs, and for each loss term its name and its values in training and, if known, in validation."""
    terms = [name for name in history.columns if name not in NO_TERMS and not name.startswith(VALIDATION)]
    return {
        "epoch": history["epoch"].tolist() if "epoch" in history else [],
        "terms": [
            {
                "name": name,
                "training": history[name].tolist(),
                "validation": history[VALIDATION + name].tolist() if VALIDATION + name in history else None,
            }
            for name in terms
        ],
        "validation_accuracy": history[VALIDATION + "accuracy"].tolist()
        if VALIDATION + "accuracy" in history
        else None,
    }
