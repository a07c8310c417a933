"""From samples and a recipe to what is learnt: survey, network, training, measurement."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from svqvae.atlas.health import CodeHealthWarning, describe_health
from svqvae.data.samples import Index, Samples
from svqvae.data.units import Units
from svqvae.fitting.checkpointing import Checkpointing, study_of
from svqvae.fitting.fitted import Fitted
from svqvae.fitting.measure import Trained, measure
from svqvae.fitting.reading import Reader, batches_of, split_validation, survey
from svqvae.model.batches import Batches, MemoryBatches
from svqvae.model.checkpoint import OnEpoch, Row
from svqvae.model.module import SVQVAEModule, build_module
from svqvae.model.networks import Pair
from svqvae.model.objective import OBJECTIVES
from svqvae.model.precision import choose_precision
from svqvae.model.recipe import Recipe
from svqvae.model.whitening import WhitenedEncoder, measure_whitening

# Bytes of samples up to which they are whitened in advance, a guard for memory: the whitened copy takes as much again.
MAX_BYTES = 1 << 30
# Samples that are read at a time when those held out are scored.
HELD_OUT_BATCH = 256


@dataclass(frozen=True)
class Split:
    """Which samples are trained on and which are held out to watch training, by rising positions."""

    kept: Index
    held_out: Index


def split(samples: Samples, fraction: float, seed: int) -> Split:
    """Hold out a share of labelled samples, groups whole."""
    return Split(*split_validation(samples.y, samples.groups, fraction, seed))


@dataclass(frozen=True)
class Request:
    """What is asked of a fit besides its recipe.

    Attributes
    ----------
    given
        The hyper-parameters as they were set, for the run.
    own_networks
        Encoder and decoder where the architecture is "own".
    unlabelled
        Samples that tell how alike samples differ, with their groups, or None.
    layer
        Layer of AnnData that was read.
    on_epoch
        Told of each epoch.
    checkpoint
        File for the state of training, or None.
    resume
        Whether to go on from it.
    """

    given: Mapping[str, Any]
    own_networks: Pair | None = None
    unlabelled: Samples | None = None
    layer: str | None = None
    on_epoch: OnEpoch = lambda *_: None
    checkpoint: Path | None = None
    resume: bool = False


def learn(recipe: Recipe, samples: Samples, parts: Split, request: Request) -> Fitted:
    """Learn from labelled samples.

    Parameters
    ----------
    recipe
        Resolved.
    samples
        Labelled.
    parts
        As `split` gave them.
    request
        What else is asked.

    Warns
    -----
    CodeHealthWarning
        Where some codes do not stand for their class.
    """
    units = survey(samples, parts.kept, recipe.design)
    with random_state(recipe.schedule.seed):
        module = build_module(recipe.design, request.own_networks)
        fingerprint = fingerprint_of(recipe, samples, parts, request.unlabelled, module)
        checkpointing = None
        if request.checkpoint is not None or request.resume:
            study = study_of(recipe, samples.fingerprint, fingerprint)
            checkpointing = Checkpointing.open(request.checkpoint, request.resume, study)
        data = _Data(recipe, units, samples, parts, request.unlabelled)
        recipe, batches, history = _train(recipe, module, data, request.on_epoch, checkpointing)
    if "interrupted" in history[-1]:
        # What was learnt by then is something else than what the whole fit, and its checkpoint, lead to.
        fingerprint = hashlib.sha256(f"{fingerprint}, interrupted after {len(history)}".encode()).hexdigest()
    trained = Trained(recipe, module, units, samples.classes, samples.feature_names, samples.sample_shape, fingerprint)
    groups = None if samples.groups is None else samples.groups[parts.kept]
    findings = measure(trained, batches, data.held_out_batches(HELD_OUT_BATCH), groups)
    origin = {"n_samples": len(samples), "n_trained": len(parts.kept), "sha256": samples.fingerprint}
    if request.unlabelled is not None:
        origin["n_unlabelled"] = len(request.unlabelled)
    return Fitted(
        recipe=recipe,
        given=request.given,
        units=units,
        module=module,
        atlas=findings.atlas,
        health=findings.health,
        noise=findings.noise,
        history=pd.DataFrame(history),
        n_iter=len(history),
        held_out=parts.held_out,
        feature_names=samples.feature_names,
        layer=request.layer,
        origin=origin,
        fingerprint=fingerprint,
    )


def warn_of(fitted: Fitted, stacklevel: int) -> None:
    """Warn where training was interrupted, and where codes do not stand for their class."""
    if "interrupted" in fitted.history:
        warnings.warn(
            f"Training was interrupted after epoch {fitted.n_iter}; the model holds what was learnt until then.",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    if trouble := describe_health(fitted.health):
        warnings.warn(trouble, CodeHealthWarning, stacklevel=stacklevel + 1)


@dataclass(frozen=True)
class _Data:
    """Samples as training takes them."""

    recipe: Recipe
    units: Units
    samples: Samples
    parts: Split
    unlabelled: Samples | None

    def batches(self) -> Batches:
        """Return the samples to train on."""
        schedule = self.recipe.schedule
        return self._of(self.parts.kept, schedule.batch_size, schedule.max_shift)

    def held_out_batches(self, batch_size: int) -> Batches | None:
        """Return the samples held out, or None where there are none."""
        return self._of(self.parts.held_out, batch_size, 0) if len(self.parts.held_out) else None

    def _of(self, chosen: Index, batch_size: int, max_shift: int) -> Batches:
        event_shape, seed = self.recipe.design.event_shape, self.recipe.schedule.seed
        return batches_of(self.samples, chosen, self.units, event_shape, batch_size, seed, max_shift)

    def read_unlabelled(self) -> tuple[Tensor, Tensor] | None:
        """Return what the encoder reads of samples without a label, and their groups, counted on from the classes."""
        others = self.unlabelled
        if others is None or others.groups is None:
            return None
        read = Reader(others.rows, self.units, self.recipe.design.event_shape)
        groups = len(self.samples.classes) + torch.as_tensor(others.groups)
        return read(torch.arange(len(others))).inputs, groups


def _train(
    recipe: Recipe, module: SVQVAEModule, data: _Data, on_epoch: OnEpoch, checkpointing: Checkpointing | None
) -> tuple[Recipe, Batches, list[Row]]:
    """Train the module in place; return the recipe with the precision that was chosen, the batches and the history."""
    # What trains takes a second or two to import, which a model that is only asked does without.
    from svqvae.model.processes import train_on
    from svqvae.model.training import Watch

    schedule = recipe.schedule
    batches, validation = data.batches(), data.held_out_batches(schedule.batch_size)
    network, training, unseen = _whitened(recipe, module, data, batches, validation)
    watch = Watch(on_epoch) if checkpointing is None else Watch(on_epoch, start=checkpointing.start)
    if checkpointing is not None and checkpointing.precision is not None:
        schedule = replace(schedule, precision=checkpointing.precision)
    elif schedule.precision == "auto":
        shape = recipe.design.event_shape
        chosen = choose_precision(network, shape, schedule.batch_size, schedule.accelerator)
        schedule = replace(schedule, precision=chosen)
    if checkpointing is not None:
        watch = replace(watch, keep=checkpointing.keeper(schedule.precision))
    recipe = replace(recipe, schedule=schedule)
    objective = OBJECTIVES[recipe.design.objective].of(recipe)
    history = train_on(network, training, unseen, objective, schedule, watch)
    if isinstance(module.encoder, WhitenedEncoder):
        module.encoder.fold()
    module.eval()
    return recipe, batches, history


def _whitened(
    recipe: Recipe, module: SVQVAEModule, data: _Data, batches: Batches, validation: Batches | None
) -> tuple[SVQVAEModule, Batches, Batches | None]:
    """Measure the whitening, where the network whitens, and whiten what is small enough in advance."""
    if not isinstance(module.encoder, WhitenedEncoder):
        if data.unlabelled is not None:
            warnings.warn(
                "`unlabelled` samples are of use with objective='prototype' and architecture='dense' only; they were "
                "left out.",
                UserWarning,
                stacklevel=6,
            )
        return module, batches, validation
    measure_whitening(module.encoder.whitening, batches, data.read_unlabelled())
    # Graphics cards whiten in no time, and in double precision whitening is to be done in it as well.
    if recipe.schedule.accelerator == "cpu" and recipe.schedule.precision != "64-true":
        return whiten_in_advance(module, batches, validation)
    return module, batches, validation


def whiten_in_advance(
    module: SVQVAEModule, batches: Batches, validation: Batches | None
) -> tuple[SVQVAEModule, Batches, Batches | None]:
    """Whiten samples in memory once for all epochs, since nothing of it is learnt.

    Parameters
    ----------
    module
        Left as it is.
    batches, validation
        Training data, and held-out data or None.

    Returns
    -------
    tuple
        A module that shares all weights with this one but reads whitened samples, and such data. Where the module does
        not whiten, and where data are on disk or more than 1 GiB, all comes back as it is.
    """
    encoder = module.encoder
    data = [batches] if validation is None else [batches, validation]
    in_memory = [part for part in data if isinstance(part, MemoryBatches)]
    is_small = len(in_memory) == len(data) and sum(part.part.inputs.nbytes for part in in_memory) <= MAX_BYTES
    if not isinstance(encoder, WhitenedEncoder) or not is_small:
        return module, batches, validation
    whitened = [part.with_inputs(encoder.whitening.of_all(part.part.inputs)) for part in in_memory]
    reader = WhitenedEncoder(encoder.whitening, encoder.network, reads_whitened=True)
    parts = (reader, module.quantizer, module.decoder, module.likelihood)
    shared = SVQVAEModule(*parts, module.geometry, module.is_supervised)
    return shared, whitened[0], None if validation is None else whitened[1]


def fingerprint_of(
    recipe: Recipe, samples: Samples, parts: Split, unlabelled: Samples | None, module: SVQVAEModule
) -> str:
    """Return a SHA-256 of all that a fit depends on: recipe, values, labels, split, and first weights."""
    names = None if samples.feature_names is None else samples.feature_names.tolist()
    facts = [recipe.to_dict(), samples.fingerprint, [str(name) for name in samples.classes], names]
    digest = hashlib.sha256(json.dumps(facts, default=str).encode())
    arrays = [parts.held_out, *(value.detach().cpu().contiguous().numpy() for value in module.state_dict().values())]
    if samples.groups is not None:
        arrays.append(samples.groups)
    if unlabelled is not None and unlabelled.groups is not None:
        digest.update(unlabelled.fingerprint.encode())
        arrays.append(unlabelled.groups)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Seed torch within the block and give its global random state back afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
