"""The state of training in a file, from which a fit that was stopped or killed goes on."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from svqvae.files import make_folder, read_tensors, write_tensors
from svqvae.model.checkpoint import Checkpoint, Keep
from svqvae.model.recipe import Recipe

# The kind of file that holds the state of training, its format version, and its name in a run folder.
KIND, FORMAT, CHECKPOINT_FILE = "svqvae_checkpoint", 2, "checkpoint.safetensors"


@dataclass(frozen=True)
class Checkpointing:
    """Where the state of training is written, and from where it goes on.

    Attributes
    ----------
    path
        The file.
    study
        What a state must belong to for training to go on from it, see `study_of`.
    start
        The state to go on from, or None.
    precision
        That in which it was trained, or None where training starts anew.
    """

    path: Path
    study: Mapping[str, Any]
    start: Checkpoint | None = None
    precision: str | None = None

    @classmethod
    def open(cls, path: Path | None, resume: bool, study: Mapping[str, Any]) -> "Checkpointing":
        """Return where to write, and what to go on from where there is a file and `resume` asks for it.

        Raises
        ------
        ValueError
            Where there is no path, or the file is damaged, or of another study.
        """
        if path is None:
            raise ValueError("`checkpoint` must name the file to go on from where resume=True; got None.")
        make_folder(path.parent, "checkpoint")
        return cls(path, study, *_read(path, study)) if resume and path.is_file() else cls(path, study)

    def keeper(self, precision: str) -> Keep:
        """Return what writes the state of training."""
        return partial(_write, self.path, {**self.study, "precision": precision})


def study_of(recipe: Recipe, data: str, fingerprint: str) -> dict[str, Any]:
    """Return what a state of training belongs to: data, recipe, version of torch, and the fingerprint of the fit."""
    parts = recipe.to_dict()
    settings = parts["design"] | parts["schedule"]
    return {"data": data, "recipe": settings, "torch": version("torch"), "fingerprint": fingerprint}


def _write(path: Path, study: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    tensors = {name: value.numpy() for name, value in checkpoint.tensors.items()}
    write_tensors(path, tensors, KIND, {"study": study, "progress": dict(checkpoint.progress)}, FORMAT)


def _read(path: Path, study: Mapping[str, Any]) -> tuple[Checkpoint, str]:
    """Return the state of training and its precision, if it was made with the same."""
    tensors, header = read_tensors(path, KIND, "a checkpoint that `svqvae fit` wrote", FORMAT)
    then = header["study"]
    if then["data"] != study["data"]:
        raise ValueError(f"`resume` must go on with the data that {path} was made of; these are others. Start anew.")
    if changed := _changed(then, study):
        raise ValueError(
            f"`resume` must go on with the parameters and the torch that {path} was made with; then it was "
            f"{changed}. Use the same, or start anew."
        )
    if then["fingerprint"] != study["fingerprint"]:
        raise ValueError(
            f"`resume` must go on with the classes, groups, networks and unlabelled samples that {path} was made with; "
            "some are others. Use the same, or start anew."
        )
    checkpoint = Checkpoint({name: torch.as_tensor(value) for name, value in tensors.items()}, header["progress"])
    return checkpoint, then["precision"]


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what was different, by name and value."""
    if then["torch"] != now["torch"]:
        return str(then["torch"])
    before, after = then["recipe"], now["recipe"]
    return ", ".join(f"{name}={before.get(name)!r}" for name in after if before.get(name) != after[name])
