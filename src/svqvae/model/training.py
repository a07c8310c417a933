"""The training loop."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule, _FabricOptimizer
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from svqvae.model.batches import Batch, Batches
from svqvae.model.checkpoint import Checkpoint, Keep, OnEpoch, Row, capture, part_of, restore
from svqvae.model.module import SVQVAEModule
from svqvae.model.objective import Objective, Optimization, code_error, optimize_decoder
from svqvae.model.quantizer import ClassMeanCodes, class_sums
from svqvae.model.recipe import Schedule

# Largest share of the time for writing the state of training; chosen by hand.
KEEPING = 0.1


@dataclass(frozen=True)
class Phase:
    """A phase of training with its own optimiser.

    Attributes
    ----------
    n_epochs
        Number of epochs.
    trains_all
        Whether the whole network is trained, on augmented samples and with early stopping; if not, the decoder alone.
    """

    n_epochs: int
    trains_all: bool


def phases_of(objective: Objective, schedule: Schedule) -> tuple[Phase, ...]:
    """Return the phases of training: the whole network, then the decoder alone if the objective has settling."""
    n_settling = schedule.n_settling_epochs if objective.settling_weight(1) is not None else 0
    whole = Phase(schedule.n_epochs - n_settling, trains_all=True)
    return (whole, Phase(n_settling, trains_all=False)) if n_settling else (whole,)


@dataclass(frozen=True)
class Watch:
    """Callbacks of training, and the state to resume from.

    Attributes
    ----------
    on_epoch
        Called as ``on_epoch(epoch, n_epochs_in_all, row)`` after each epoch.
    keep
        Called in the first process with the state of training after each epoch, before `on_epoch`; less often where
        this would take more than a tenth of the time.
    start
        State to resume from, or None.
    is_stopped
        Called after each epoch; if it returns True, training ends as after Ctrl-C.
    """

    on_epoch: OnEpoch = lambda *_: None
    keep: Keep | None = None
    start: Checkpoint | None = None
    is_stopped: Callable[[], bool] = lambda: False


def train(
    module: SVQVAEModule,
    batches: Batches,
    validation: Batches | None,
    objective: Objective,
    schedule: Schedule,
    fabric: Fabric,
    watch: Watch,
) -> list[Row]:
    """Train the module in place and return one row of figures per epoch.

    The whole network is trained first. With early stopping and validation data, this phase ends after `patience` epochs
    without a lower validation loss, and the best weights are restored. Class-mean codes are then set to the exact class
    means of all training latents. If the objective has settling, the decoder, which so far has seen running means, is
    trained alone on these codes. While settling, `Objective.settling_weight` times the mean error of each decoded code
    against its class mean is added to the loss.

    Ctrl-C ends training and keeps the model; the last row then has ``interrupted = 1``. With several processes, each
    takes its part of each batch, and sums over samples are sums over all processes.

    Parameters
    ----------
    module
        The network; at the end it is on the CPU and in evaluation mode.
    batches, validation
        Training data, and held-out data or None.
    objective
        What is minimised.
    schedule
        Epochs, rates, patience.
    fabric
        Devices, processes and precision.
    watch
        Callbacks, and the state to resume from.

    Returns
    -------
    list of dict
        Per epoch: ``epoch``, ``learning_rate``, the mean of each loss term, ``loss``, ``seconds``; with validation data
        also the terms, ``loss`` and ``accuracy`` of these, with the prefix ``validation_``.

    Raises
    ------
    FloatingPointError
        The loss is not finite at the end of an epoch.
    """
    if fabric.world_size > 1:
        batches = batches.divided(fabric.global_rank, fabric.world_size)
        validation = validation and validation.divided(fabric.global_rank, fabric.world_size)
    return _Training(module, batches, validation, objective, schedule, fabric, watch).run()


class _Training:
    """One call of `train`: its arguments and its progress."""

    def __init__(
        self,
        module: SVQVAEModule,
        batches: Batches,
        validation: Batches | None,
        objective: Objective,
        schedule: Schedule,
        fabric: Fabric,
        watch: Watch,
    ) -> None:
        self.module, self.batches, self.validation = module, batches, validation
        self.objective, self.schedule, self.fabric, self.watch = objective, schedule, fabric, watch
        self.phases = phases_of(objective, schedule)
        patience = schedule.patience if schedule.early_stopping and validation is not None else None
        self.best, self.pause, self.start = _Best(patience, watch.start), _Pause(), watch.start
        self.history: list[Row] = [] if self.start is None else [dict(row) for row in self.start.progress["history"]]
        # Number of epochs that trained the whole network; None until that phase has ended.
        self.n_trained: int | None = None if self.start is None else self.start.progress["n_trained"]
        self.class_means: Tensor | None = None

    def run(self) -> list[Row]:
        """Train the remaining phases and return the history."""
        trained = [weight for weight in self.module.parameters() if weight.requires_grad]
        try:
            for phase in self.phases[0 if self.n_trained is None else 1 :]:
                self._go_through(phase)
        except KeyboardInterrupt:
            if not self.history:
                raise
            if self.n_trained is None:
                self.best.restore(self.module)
            _set_exact_codes(self.module, self.batches, self.fabric)
            self.history[-1]["interrupted"] = 1
        for weight in trained:
            weight.requires_grad_(True)
        self.module.eval().to("cpu")
        return self.history

    @property
    def n_epochs_in_all(self) -> int:
        """Total number of epochs, as far as it is known."""
        n_trained = self.phases[0].n_epochs if self.n_trained is None else self.n_trained
        return n_trained + sum(phase.n_epochs for phase in self.phases[1:])

    def _go_through(self, phase: Phase) -> None:
        """Train one phase to its end, from its beginning or from the checkpoint."""
        if not phase.trains_all:
            self.module.to(self.fabric.device)
            self.class_means = _class_means(self.module, self.batches, self.fabric)
        optimization = self._optimize(phase)
        network, optimizer = self.fabric.setup(self.module, optimization[0])
        if self.start is not None:
            restore(self.start, self.module, *optimization)
            self.start = None
        elif phase.trains_all:
            _set_exact_codes(self.module, self.batches, self.fabric)
        while not self._is_over(phase):
            self._one_epoch(phase, network, optimizer, optimization)
        if phase.trains_all:
            self.best.restore(self.module)
            _set_exact_codes(self.module, self.batches, self.fabric)
            self.n_trained = len(self.history)

    def _optimize(self, phase: Phase) -> Optimization:
        n_steps, rate = phase.n_epochs * self.batches.n_batches, self.schedule.learning_rate
        if phase.trains_all:
            return self.objective.optimize(self.module, rate, self.schedule.weight_decay, n_steps)
        return optimize_decoder(self.module, rate, n_steps)

    def _is_over(self, phase: Phase) -> bool:
        if phase.trains_all:
            return len(self.history) >= phase.n_epochs or self.best.is_over
        return len(self.history) >= self.n_epochs_in_all

    def _one_epoch(
        self, phase: Phase, network: _FabricModule, optimizer: _FabricOptimizer, optimization: Optimization
    ) -> None:
        """Train one epoch, append its row to the history, and call the callbacks."""
        epoch, begin = len(self.history), time.monotonic()
        # So that dropout, like the order, depends on the seed and the epoch alone.
        torch.manual_seed((self.batches.seed * 1_000_003 + epoch) * 1009 + self.fabric.global_rank)
        row: Row = {"epoch": epoch, "learning_rate": optimizer.param_groups[0]["lr"]}
        row |= self._step_through(phase, network, optimizer, optimization)
        _share_statistics(self.module, self.fabric)
        if self.validation is not None:
            row |= _evaluate(network, self.validation.once(), self.objective, self.fabric)
        self.history.append(row | {"seconds": time.monotonic() - begin})
        if not math.isfinite(row["loss"]):
            raise FloatingPointError(
                f"Training broke down in epoch {epoch + 1}: the loss is {row['loss']}. Use a `learning_rate` below "
                f"{self.schedule.learning_rate:g}, or look for extreme values in `X`."
            )
        if phase.trains_all:
            self.best.keep(self.module, row)
        if self.watch.keep is not None and self.fabric.global_rank == 0 and self.pause.is_over():
            with self.pause.begun_by():
                self.watch.keep(self._state(optimization))
        self.watch.on_epoch(epoch, self.n_epochs_in_all, self.history[-1])
        if self.watch.is_stopped():
            raise KeyboardInterrupt

    def _state(self, optimization: Optimization) -> Checkpoint:
        return capture(
            self.module,
            *optimization,
            self.best.state,
            history=self.history,
            n_trained=self.n_trained,
            best_loss=self.best.loss if self.best.state else None,
            n_worse=self.best.n_worse,
        )

    def _step_through(
        self, phase: Phase, network: _FabricModule, optimizer: _FabricOptimizer, optimization: Optimization
    ) -> Row:
        """Take one optimiser step per batch; return the mean of each loss term and of the loss."""
        module, fabric, scheduler = self.module, self.fabric, optimization[1]
        network.train()
        module.encoder.train(phase.trains_all)
        means = _Means()
        for step in self.batches.epoch(len(self.history), phase.trains_all):
            batch = step.to(fabric.device)
            output = network(batch.inputs, batch.y, needs_all_codes=self.class_means is not None)
            terms = self.objective.terms(output, batch, module.likelihood)
            total = self.objective.total(terms)
            # Gradients are averaged over processes, whose parts of a batch may differ by one sample.
            goal = total if fabric.world_size == 1 else total * (batch.share * fabric.world_size)
            if self.class_means is not None:
                weight = self.objective.settling_weight(len(self.class_means)) or 0.0
                goal = goal + weight * code_error(output, module.likelihood, self.class_means)
            optimizer.zero_grad()
            fabric.backward(goal)
            optimizer.step()
            scheduler.step()
            if isinstance(module.quantizer, ClassMeanCodes) and phase.trains_all:
                module.quantizer.update(output.latents.detach(), batch.y, partial(_sum_over_processes, fabric=fabric))
            means.add({**terms, "loss": total}, len(batch.y))
        return means.row(fabric)


def _class_means(module: SVQVAEModule, batches: Batches, fabric: Fabric) -> Tensor | None:
    """Return the mean target of each class, (classes, ...), or None if the likelihood takes no means."""
    if not module.likelihood.takes_means:
        return None
    n_classes = len(module.quantizer.codes)
    counts, sums = _sum_over_classes(batches, n_classes, fabric, lambda batch: batch.class_target.flatten(1))
    example = batches.take(torch.zeros(1, dtype=torch.long)).class_target
    return (sums / counts[:, None]).to(example.dtype).reshape(n_classes, *example.shape[1:])


def _sum_over_classes(
    batches: Batches, n_classes: int, fabric: Fabric, rows: Callable[[Batch], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the number of samples of each class, and the class sums of `rows(batch)`, in double precision."""
    counts, sums = torch.zeros(2, 1, dtype=torch.float64, device=fabric.device)
    for step in batches.once():
        batch = step.to(fabric.device)
        batch_counts, batch_sums = class_sums(rows(batch).double(), batch.y, n_classes)
        counts, sums = counts + batch_counts, sums + batch_sums
    return _sum_over_processes(counts, fabric), _sum_over_processes(sums, fabric)


def _sum_over_processes(value: Tensor, fabric: Fabric) -> Tensor:
    """Return the sum of a tensor over all processes."""
    if fabric.world_size == 1:
        return value
    return cast("Tensor", fabric.all_reduce(value, reduce_op="sum"))


@torch.no_grad()
def _evaluate(network: _FabricModule, steps: Iterable[Batch], objective: Objective, fabric: Fabric) -> Row:
    """Return the mean of each loss term, the loss and the accuracy on held-out samples."""
    module = cast("SVQVAEModule", network.module)
    network.eval()
    means = _Means()
    for step in steps:
        batch = step.to(fabric.device)
        output = network(batch.inputs, batch.y, needs_all_codes=False)
        terms = objective.terms(output, batch, module.likelihood)
        is_right = (output.distances.argmin(1) == batch.y).float().mean()
        means.add({**terms, "loss": objective.total(terms), "accuracy": is_right}, len(batch.y))
    return {f"validation_{name}": value for name, value in means.row(fabric).items()}


@torch.no_grad()
def _share_statistics(module: SVQVAEModule, fabric: Fabric) -> None:
    """Average the running statistics of batch normalisation over processes, so that all have the same encoder."""
    if fabric.world_size == 1:
        return
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            for statistic in (layer.running_mean, layer.running_var):
                if statistic is not None:
                    statistic.copy_(_sum_over_processes(statistic, fabric) / fabric.world_size)


@torch.no_grad()
def _set_exact_codes(module: SVQVAEModule, batches: Batches, fabric: Fabric) -> None:
    """Set class-mean codes to the class means of all training latents, summed in double precision."""
    quantizer = module.quantizer
    if not isinstance(quantizer, ClassMeanCodes):
        return
    module.eval()
    # Needed if training was interrupted within an epoch.
    _share_statistics(module, fabric)

    def encode(batch: Batch) -> Tensor:
        with fabric.autocast():
            return module.encode(batch.inputs.to(quantizer.codes.dtype))

    counts, sums = _sum_over_classes(batches, len(quantizer.codes), fabric, encode)
    quantizer.set_exact(counts, sums)


class _Means:
    """Means of named scalars over samples; their sums stay on the device until the end."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.sums = torch.zeros((), dtype=torch.float64)
        self.n = 0

    @torch.no_grad()
    def add(self, values: Mapping[str, Tensor], n: int) -> None:
        """Add the means of a batch of n samples."""
        self.names = list(values)
        self.sums = self.sums + torch.stack(list(values.values())).double() * n
        self.n += n

    def row(self, fabric: Fabric) -> Row:
        """Return the means over all samples of all processes."""
        *totals, n = _sum_over_processes(torch.cat([self.sums, self.sums.new_tensor([self.n])]), fabric).tolist()
        return {name: total / n for name, total in zip(self.names, totals, strict=True)}


class _Pause:
    """Pauses between checkpoints, so that writing these takes at most a tenth of the time."""

    def __init__(self) -> None:
        self.until = -math.inf

    def is_over(self) -> bool:
        """Return whether the next checkpoint may be written."""
        return time.monotonic() >= self.until

    @contextmanager
    def begun_by(self) -> Iterator[None]:
        """Begin a pause at the end of the block, nine times as long as the block took."""
        begin = time.monotonic()
        yield
        end = time.monotonic()
        self.until = end + (1 / KEEPING - 1) * (end - begin)


class _Best:
    """Early stopping: the weights with the lowest validation loss, and the number of epochs since."""

    def __init__(self, patience: int | None, start: Checkpoint | None) -> None:
        self.patience = patience
        self.loss, self.n_worse = math.inf, 0
        self.state: dict[str, Tensor] | None = None
        if start is not None:
            # JSON has no infinity.
            self.loss, self.n_worse = start.progress["best_loss"] or math.inf, start.progress["n_worse"]
            self.state = part_of(start, "best.") or None

    @property
    def is_over(self) -> bool:
        """Whether the validation loss has not improved for `patience` epochs."""
        return self.patience is not None and self.n_worse >= self.patience

    def keep(self, module: SVQVAEModule, row: Row) -> None:
        """Store the weights if they are the best so far."""
        if self.patience is None:
            return
        if row["validation_loss"] < self.loss:
            self.loss, self.n_worse, self.state = row["validation_loss"], 0, copy.deepcopy(module.state_dict())
        else:
            self.n_worse += 1

    def restore(self, module: SVQVAEModule) -> None:
        """Restore the best weights, if any were stored."""
        if self.state is not None:
            module.load_state_dict(self.state)
