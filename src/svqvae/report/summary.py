"""All that the page says, as one tree of plain numbers and text."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pandas as pd

from svqvae.fitting.run_folder import PACKAGES
from svqvae.report.classes import summarise_classes
from svqvae.report.places import summarise_map
from svqvae.report.relations import summarise_relations
from svqvae.report.samples import SampleSet, evidence_of, summarise_accuracy, summarise_simulation
from svqvae.report.verdict import judge
from svqvae.wording import plain

if TYPE_CHECKING:
    from svqvae.estimator import SVQVAE

FORMAT = 1
# Columns of the history that are no loss terms.
NO_TERMS = ("epoch", "learning_rate", "seconds", "interrupted")
VALIDATION = "validation_"


def summarise(
    model: "SVQVAE",
    qualities: Mapping[str, Mapping[str, float]],
    sets: Mapping[str, SampleSet],
    title: str,
    *,
    progress: Callable[[str], Callable[[int, int], None] | None] = lambda _: None,
) -> dict[str, Any]:
    """Return all numbers and sentences of the page, as JSON can hold them.

    Parameters
    ----------
    model
        Fitted.
    qualities
        Figures of `svqvae.evaluation.quality.Quality` by kind of samples, as in `metrics.json`.
    sets
        Samples by the same kinds, or none; see `svqvae.report.samples`.
    title
        Of the page.
    progress
        Called with a word for each part; returns what is called after each step, or None.

    Returns
    -------
    dict
        ``format``, ``title``, ``run``, ``quality``, ``accuracy``, ``history``, ``relations``, ``classes``, ``map``,
        ``verdict``. What takes samples is None without them.
    """
    atlas = model.to_atlas()
    on_step = progress("samples")
    steps = 3
    accuracy = summarise_accuracy(model, sets) if evidence_of(sets) else None
    _tell(on_step, 1, steps)
    places = summarise_map(model, sets, model.seed_) if sets else None
    _tell(on_step, 2, steps)
    simulated = summarise_simulation(model, sets, model.seed_) if sets else [None] * len(atlas.classes)
    _tell(on_step, 3, steps)
    classes = summarise_classes(atlas, model.health_)
    for facts, simulation in zip(classes, simulated, strict=True):
        facts["simulation"] = simulation
    summary = plain(
        {
            "format": FORMAT,
            "title": title,
            "run": describe_run(model),
            "quality": {kind: dict(figures) for kind, figures in qualities.items()},
            "accuracy": accuracy,
            "history": describe_history(model.history_),
            "relations": summarise_relations(atlas, progress=progress),
            "classes": classes,
            "map": places,
        }
    )
    return {**summary, "verdict": judge(summary)}


def _tell(on_step: Callable[[int, int], None] | None, done: int, steps: int) -> None:
    if on_step is not None:
        on_step(done, steps)


def describe_run(model: "SVQVAE") -> dict[str, Any]:
    """Return what was trained on what: sizes, split, seed, settings, versions, and the command."""
    data, atlas = model.data_, model.to_atlas()
    defaults = type(model)().get_params(deep=False)
    settings = model.get_params(deep=False) | {"random_state": model.seed_}
    if isinstance(settings["architecture"], tuple):
        settings["architecture"] = "networks of one's own"
    changed = {name: value for name, value in settings.items() if repr(value) != repr(defaults[name])}
    return {
        "n_samples": data["n_samples"],
        "n_trained": data["n_trained"],
        "n_held_out": len(model.held_out_),
        "n_classes": len(model.classes_),
        "n_features": model.n_features_in_,
        "sample_shape": list(model.sample_shape_),
        "n_epochs": model.n_iter_,
        "seed": model.seed_,
        "settings": settings,
        "changed": sorted(set(changed) - {"random_state", "verbose"}),
        "sha256": data["sha256"],
        "command": data.get("command"),
        "label": data.get("label"),
        "group": data.get("group"),
        "is_imported": "imported" in data,
        "is_interrupted": "interrupted" in model.history_,
        "has_counts": bool(atlas.counts.any()),
        "has_spread": atlas.profile_spread is not None,
        "can_simulate": atlas.density is not None,
        "versions": {package: version(package) for package in PACKAGES},
    }


def describe_history(history: pd.DataFrame) -> dict[str, Any]:
    """Return the epochs, and for each loss term its name and its values in training and, where known, validation."""
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
