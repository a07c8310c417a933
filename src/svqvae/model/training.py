"""The training loop, to be read from top to bottom."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule, _FabricOptimizer
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from svqvae.model.batches import Batch, Batches
from svqvae.model.checkpoint import Checkpoint, Keep, OnEpoch, Row, capture, part_of, restore
from svqvae.model.module import SVQVAEModule
from svqvae.model.objective import Loss, code_error
from svqvae.model.quantizer import ClassMeanCodes, class_sums

# Share of training in which the learning rate rises.
RISE = 0.2
# While the decoder settles: share of the learning rate, and least and largest weight of the codes' own error.
SETTLING_RATE, MIN_WEIGHT, MAX_WEIGHT = 1 / 3, 10, 40
# Largest share of the time that goes into writing the state of training.
KEEPING = 0.1


def train(
    module: SVQVAEModule,
    batches: Batches,
    validation: Batches | None,
    *,
    loss: Loss,
    n_epochs: int,
    n_settling_epochs: int,
    learning_rate: float,
    weight_decay: float,
    patience: int | None,
    fabric: Fabric,
    on_epoch: OnEpoch,
    keep: Keep | None = None,
    start: Checkpoint | None = None,
    notes: Mapping[str, str] | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> list[Row]:
    """Fit the module in place and return one row of figures per epoch.

    First all of it is trained, `n_epochs` times over the data. With a `patience`, training stops after so many
    epochs without a better validation loss, and the best weights come back. Then, with class-mean codes, the codes
    become the exact class means of all training latents, and the decoder alone is trained for
    `n_settling_epochs` more with encoder and codes fixed: until then it has only seen running means. In this settling
    the error of each decoded code against the mean of its class counts besides, summed over the classes (at least 10
    and at most 40 times their mean), so that the code of a rare class decodes to its mean as well.

    Ctrl-C ends training and keeps what there is; the last row then holds ``interrupted = 1``. Where several processes
    train, each takes its part of each batch, and sums over samples are those of all.

    Parameters
    ----------
    module
        The network; it ends on the CPU, in evaluation mode.
    batches, validation
        Training data, and held-out data or None.
    loss
        The objective with its weights.
    n_epochs, n_settling_epochs
        Epochs of the whole network, and of the decoder alone.
    learning_rate, weight_decay
        Of Adam with amsgrad at a constant rate and without decay (published, vqvae), or of AdamW at a rate that
        rises for a fifth of the steps and then falls to nothing (prototype).
    patience
        Epochs to wait for a better validation loss, or None to end with the last weights.
    fabric
        Devices, processes and precision.
    on_epoch
        Called as ``on_epoch(epoch, n_epochs_in_all, row)`` after each epoch.
    keep
        Called with the state of training after each epoch, before `on_epoch`, in the first process; where that takes
        long beside an epoch, only as often as costs a tenth of the time.
    start
        The state to go on from, or None.
    notes
        Further entries of the progress that the state holds.
    is_stopped
        Asked after each epoch whether to end as Ctrl-C would.

    Returns
    -------
    list of dict
        Per epoch: ``epoch``, ``learning_rate``, the mean of each loss term, ``loss``, ``seconds``, and where there is
        validation data the terms, ``loss`` and ``accuracy`` with the prefix ``validation_``.

    Raises
    ------
    FloatingPointError
        Where the loss is not finite at the end of an epoch.
    """
    if fabric.world_size > 1:
        batches = batches.divided(fabric.global_rank, fabric.world_size)
        validation = validation and validation.divided(fabric.global_rank, fabric.world_size)
    history: list[Row] = [] if start is None else [dict(row) for row in start.progress["history"]]
    class_means: Tensor | None = None
    best, pause = _Best(patience, start), _Pause()
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    settles = isinstance(module.quantizer, ClassMeanCodes) and n_settling_epochs > 0
    n_trained: int | None = None if start is None else start.progress["n_trained"]
    n_in_all = (n_epochs if n_trained is None else n_trained) + (n_settling_epochs if settles else 0)

    def one_epoch(network: _FabricModule, rule: Optimizer, optimizer: _FabricOptimizer, scheduler: LRScheduler) -> None:
        epoch, begin, is_settling = len(history), time.monotonic(), n_trained is not None
        # Dropout is then a function of seed and epoch, as the order is.
        torch.manual_seed((batches.seed * 1_000_003 + epoch) * 1009 + fabric.global_rank)
        row: Row = {"epoch": epoch, "learning_rate": optimizer.param_groups[0]["lr"]}
        steps = batches.epoch(epoch, not is_settling)
        row |= _step_through(network, steps, loss, fabric, optimizer, scheduler, is_settling, class_means)
        _share_statistics(module, fabric)
        if validation is not None:
            row |= _evaluate(network, validation.once(), loss, fabric)
        history.append(row | {"seconds": time.monotonic() - begin})
        if not math.isfinite(row["loss"]):
            raise FloatingPointError(
                f"Training broke down in epoch {epoch + 1}: the loss is {row['loss']}. Use a `learning_rate` below "
                f"{learning_rate:g}, or look for extreme values in `X`."
            )
        if not is_settling:
            best.keep(module, row)
        if keep is not None and fabric.global_rank == 0 and pause.is_over():
            progress = {
                "history": history,
                "n_trained": n_trained,
                "best_loss": best.loss if best.state else None,
                "n_worse": best.n_worse,
                **(notes or {}),
            }
            with pause.begun_by():
                keep(capture(module, rule, scheduler, best.state, **progress))
        on_epoch(epoch, n_in_all, history[-1])
        if is_stopped():
            raise KeyboardInterrupt

    try:
        if n_trained is None:
            rule, scheduler = _optimize_all(module, loss, learning_rate, weight_decay, n_epochs * batches.n_batches)
            network, optimizer = fabric.setup(module, rule)
            if start is None:
                _set_exact_codes(module, batches, fabric)
            else:
                restore(start, module, rule, scheduler)
                start = None
            while len(history) < n_epochs and not best.is_over:
                one_epoch(network, rule, optimizer, scheduler)
            best.restore(module)
            _set_exact_codes(module, batches, fabric)
        if settles:
            n_trained = len(history) if n_trained is None else n_trained
            n_in_all = n_trained + n_settling_epochs
            module.to(fabric.device)
            class_means = _class_means(module, batches, fabric)
            rule, scheduler = _optimize_decoder(module, learning_rate, n_settling_epochs * batches.n_batches)
            network, optimizer = fabric.setup(module, rule)
            if start is not None:
                restore(start, module, rule, scheduler)
            while len(history) < n_in_all:
                one_epoch(network, rule, optimizer, scheduler)
    except KeyboardInterrupt:
        if not history:
            raise
        if n_trained is None:
            best.restore(module)
        _set_exact_codes(module, batches, fabric)
        history[-1]["interrupted"] = 1
    for weight in trained:
        weight.requires_grad_(True)
    module.eval().to("cpu")
    return history


def _optimize_all(
    module: SVQVAEModule, loss: Loss, learning_rate: float, weight_decay: float, n_steps: int
) -> tuple[Optimizer, LRScheduler]:
    """Return the optimiser of the first part of training and its learning rate schedule."""
    if loss.objective != "prototype":
        optimizer: Optimizer = Adam(module.parameters(), learning_rate, amsgrad=True, fused=True)
        return optimizer, LambdaLR(optimizer, lambda _: 1.0)
    optimizer = AdamW(module.parameters(), learning_rate, weight_decay=weight_decay, fused=True)
    return optimizer, LambdaLR(optimizer, lambda step: _one_cycle((step + 1) / (n_steps + 1)))


def _one_cycle(progress: float) -> float:
    """Return the share of the full learning rate: half a cosine up for a fifth of the way, then one down."""
    if progress < RISE:
        return (1 - math.cos(math.pi * progress / RISE)) / 2
    return (1 + math.cos(math.pi * (progress - RISE) / (1 - RISE))) / 2


def _optimize_decoder(module: SVQVAEModule, learning_rate: float, n_steps: int) -> tuple[Optimizer, LRScheduler]:
    """Fix encoder and codes; return an optimiser of the decoder whose rate falls linearly to nothing."""
    module.encoder.requires_grad_(False)
    optimizer = Adam([*module.decoder.parameters(), *module.likelihood.parameters()], SETTLING_RATE * learning_rate)
    return optimizer, LambdaLR(optimizer, lambda step: max(0.0, 1 - step / n_steps))


def _class_means(module: SVQVAEModule, batches: Batches, fabric: Fabric) -> Tensor | None:
    """Return the mean of each class as the decoder should give it, or None where the likelihood takes no means."""
    if not module.likelihood.takes_means:
        return None
    n_classes = len(module.quantizer.codes)
    counts, sums = _sum_over_classes(batches, n_classes, fabric, lambda batch: batch.class_target.flatten(1))
    example = batches.take(torch.zeros(1, dtype=torch.long)).class_target
    return (sums / counts[:, None]).to(example.dtype).reshape(n_classes, *example.shape[1:])


def _sum_over_classes(
    batches: Batches, n_classes: int, fabric: Fabric, rows: Callable[[Batch], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return how many samples each class has, and the sums of what `rows` gives for them, in double precision."""
    counts, sums = torch.zeros(2, 1, dtype=torch.float64, device=fabric.device)
    for step in batches.once():
        batch = step.to(fabric.device)
        batch_counts, batch_sums = class_sums(rows(batch).double(), batch.y, n_classes)
        counts, sums = counts + batch_counts, sums + batch_sums
    return _sum_over_processes(counts, fabric), _sum_over_processes(sums, fabric)


def _sum_over_processes(value: Tensor, fabric: Fabric) -> Tensor:
    """Return the sum of a tensor over all processes that train."""
    if fabric.world_size == 1:
        return value
    return cast("Tensor", fabric.all_reduce(value, reduce_op="sum"))


def _step_through(
    network: _FabricModule,
    steps: Iterable[Batch],
    loss: Loss,
    fabric: Fabric,
    optimizer: _FabricOptimizer,
    scheduler: LRScheduler,
    settling: bool,
    class_means: Tensor | None,
) -> Row:
    """Take one optimiser step per batch; return the mean of each loss term and of the loss.

    With class means, each code's distance to the mean of its class counts besides, unless the loss leaves classes out.
    """
    module = cast("SVQVAEModule", network.module)
    network.train()
    module.encoder.train(not settling)
    means = _Means()
    for step in steps:
        batch = step.to(fabric.device)
        output = network(batch.inputs, batch.y, needs_all_codes=class_means is not None)
        terms = loss.terms(output, batch, module.likelihood)
        total = loss.total(terms)
        # Gradients are averaged over processes, whose parts of the batch may differ by one sample.
        goal = total if fabric.world_size == 1 else total * (batch.share * fabric.world_size)
        if class_means is not None:
            n_summed = min(max(len(class_means), MIN_WEIGHT), MAX_WEIGHT)
            weight = n_summed * loss.weights["class_reconstruction"]
            goal = goal + weight * code_error(output, module.likelihood, class_means)
        optimizer.zero_grad()
        fabric.backward(goal)
        optimizer.step()
        scheduler.step()
        if isinstance(module.quantizer, ClassMeanCodes) and not settling:
            module.quantizer.update(output.latents.detach(), batch.y, partial(_sum_over_processes, fabric=fabric))
        means.add({**terms, "loss": total}, len(batch.y))
    return means.row(fabric)


@torch.no_grad()
def _evaluate(network: _FabricModule, steps: Iterable[Batch], loss: Loss, fabric: Fabric) -> Row:
    """Return the mean of each loss term, of the loss and of the accuracy, on held-out samples."""
    module = cast("SVQVAEModule", network.module)
    network.eval()
    means = _Means()
    for step in steps:
        batch = step.to(fabric.device)
        output = network(batch.inputs, batch.y, needs_all_codes=False)
        terms = loss.terms(output, batch, module.likelihood)
        is_right = (output.distances.argmin(1) == batch.y).float().mean()
        means.add({**terms, "loss": loss.total(terms), "accuracy": is_right}, len(batch.y))
    return {f"validation_{name}": value for name, value in means.row(fabric).items()}


@torch.no_grad()
def _share_statistics(module: SVQVAEModule, fabric: Fabric) -> None:
    """Give the batch normalisations of all processes the mean of their running statistics, so that all encode alike."""
    if fabric.world_size == 1:
        return
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            for statistic in (layer.running_mean, layer.running_var):
                if statistic is not None:
                    statistic.copy_(_sum_over_processes(statistic, fabric) / fabric.world_size)


@torch.no_grad()
def _set_exact_codes(module: SVQVAEModule, batches: Batches, fabric: Fabric) -> None:
    """Set class-mean codes to the means of the latents of all training samples, summed in double precision."""
    quantizer = module.quantizer
    if not isinstance(quantizer, ClassMeanCodes):
        return
    module.eval()
    # Training may have been interrupted within an epoch.
    _share_statistics(module, fabric)

    def encode(batch: Batch) -> Tensor:
        with fabric.autocast():
            return module.encode(batch.inputs.to(quantizer.codes.dtype))

    counts, sums = _sum_over_classes(batches, len(quantizer.codes), fabric, encode)
    quantizer.set_exact(counts, sums)


class _Means:
    """Running means of named scalars over samples; they are fetched from the device once, at the end."""

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
        """Return the means over all samples added, by all processes."""
        *totals, n = _sum_over_processes(torch.cat([self.sums, self.sums.new_tensor([self.n])]), fabric).tolist()
        return {name: total / n for name, total in zip(self.names, totals, strict=True)}


class _Pause:
    """How long to leave the state of training unwritten, so that writing it takes a tenth of the time at most."""

    def __init__(self) -> None:
        self.until = -math.inf

    def is_over(self) -> bool:
        """Return whether the state may be written again."""
        return time.monotonic() >= self.until

    @contextmanager
    def begun_by(self) -> Iterator[None]:
        """Begin a pause with the end of the block, nine times as long as the block took."""
        begin = time.monotonic()
        yield
        end = time.monotonic()
        self.until = end + (1 / KEEPING - 1) * (end - begin)


class _Best:
    """The weights with the least validation loss, and how long ago that was."""

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
        """Whether the validation loss has not improved for as long as the patience lasts."""
        return self.patience is not None and self.n_worse >= self.patience

    def keep(self, module: SVQVAEModule, row: Row) -> None:
        """Remember the weights if they are the best so far."""
        if self.patience is None:
            return
        if row["validation_loss"] < self.loss:
            self.loss, self.n_worse, self.state = row["validation_loss"], 0, copy.deepcopy(module.state_dict())
        else:
            self.n_worse += 1

    def restore(self, module: SVQVAEModule) -> None:
        """Put the best weights back, if any were kept."""
        if self.state is not None:
            module.load_state_dict(self.state)
