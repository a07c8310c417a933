"""Train in this process, in several processes on this machine, or in those that torchrun started."""

import copy
import inspect
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, multiprocessing
from torch.distributed import destroy_process_group
from torch.multiprocessing.spawn import ProcessRaisedException
from torch.nn.parallel import DistributedDataParallel

from svqvae.model.batches import Batches
from svqvae.model.checkpoint import Checkpoint, Keep, Row
from svqvae.model.module import SVQVAEModule
from svqvae.model.objective import Objective
from svqvae.model.recipe import Schedule
from svqvae.model.training import Watch, train
from svqvae.progress import n_started

if multiprocessing.parent_process() is not None:
    # A process that was started to train prints nothing; it reports to the process that started it.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

# Floating point operations of a matrix product below which a second thread costs more than it gains; chosen by hand.
ONE_THREAD = 5e7
Precision = Literal["32-true", "64-true", "bf16-mixed", "16-mixed"]


def train_on(
    module: SVQVAEModule,
    batches: Batches,
    validation: Batches | None,
    objective: Objective,
    schedule: Schedule,
    watch: Watch,
) -> list[Row]:
    """Call `svqvae.model.training.train` in one process per device and return its history.

    Under torchrun, this process is one of them, and all end with the same module. Otherwise, with more than one device,
    processes are started that share the data, and the trained weights are copied back into the module.

    Parameters
    ----------
    module, batches, validation, objective, watch
        As in `train`.
    schedule
        As in `train`; its accelerator, devices, num_nodes and precision say where to train. Under torchrun, the numbers
        of processes are those of torchrun.

    Raises
    ------
    FloatingPointError
        As in `train`.
    """
    task = _Task(batches, validation, objective, schedule)
    if n_started() > 1:
        devices = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        fabric = _fabric(schedule, devices, n_started() // devices)
        fabric.launch()
        return task.train(module, fabric, watch)
    fabric = _fabric(schedule, schedule.devices, schedule.num_nodes)
    if fabric.world_size == 1:
        with _no_more_threads_than_pay(module, len(batches.y) / batches.n_batches):
            return task.train(module, fabric, watch)
    return _train_in_new_processes(module, task, fabric, watch)


@dataclass(frozen=True)
class _Task:
    """What is sent to each process, besides the module."""

    batches: Batches
    validation: Batches | None
    objective: Objective
    schedule: Schedule

    def train(self, module: SVQVAEModule, fabric: Fabric, watch: Watch) -> list[Row]:
        """Train in this process."""
        return train(module, self.batches, self.validation, self.objective, self.schedule, fabric, watch)


def _fabric(schedule: Schedule, devices: int, num_nodes: int) -> Fabric:
    is_alone = devices == num_nodes == 1
    start: Literal["popen", "spawn"] = "popen" if n_started() > 1 else "spawn"
    # Buffers need no broadcast: codes are computed from sums over all processes, and training averages the statistics
    # of batch normalisation. torch renamed the option.
    options = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in options else "broadcast_buffers"
    return Fabric(
        accelerator=schedule.accelerator,
        strategy="auto" if is_alone else DDPStrategy(start_method=start, **{name: False}),  # type: ignore[arg-type]
        devices=devices,
        num_nodes=num_nodes,
        precision=cast("Precision", schedule.precision),
    )


@contextmanager
def _no_more_threads_than_pay(module: SVQVAEModule, batch_size: float) -> Iterator[None]:
    """Within the block, use one thread if matrix products are so small that more threads would be slower.

    This depends on shapes alone, so that the same fit has the same bits. Convolutions are never that small.
    """
    weights = [weight for weight in module.parameters() if weight.ndim > 1]
    is_small = all(weight.ndim == 2 and 2 * batch_size * weight.numel() < ONE_THREAD for weight in weights)
    before = torch.get_num_threads()
    if is_small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train_in_new_processes(module: SVQVAEModule, task: _Task, fabric: Fabric, watch: Watch) -> list[Row]:
    """Train in new processes; the first sends a row per epoch and writes the weights to shared memory."""
    weights = {name: value.clone().share_memory_() for name, value in module.state_dict().items()}
    context = multiprocessing.get_context("spawn")
    told, stop = context.SimpleQueue(), context.Event()
    history: list[Row] = []
    troubles: list[str] = []

    def listen() -> None:
        while (message := told.get()) is not None:
            what, *content = message
            if what == "trouble":
                troubles.append(content[0])
            else:
                epoch, n_epochs, row = content
                history.append(row)
                watch.on_epoch(epoch, n_epochs, row)
                if watch.is_stopped():
                    stop.set()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        with _interrupts_set(stop.set):
            seed = torch.initial_seed()
            states = watch.keep, watch.start
            here = partial(_train_here, module, task, weights, told.put, stop.is_set, seed, states)
            last = fabric.launch(here)
    except ProcessRaisedException:
        told.put(None)
        listener.join()
        if troubles:
            raise FloatingPointError(troubles[0]) from None
        raise
    told.put(None)
    listener.join()
    module.load_state_dict(weights)
    module.eval()
    if last:
        history[-1] |= last
    before = [] if watch.start is None else [dict(row) for row in watch.start.progress["history"]]
    return before + history


def _train_here(
    module: SVQVAEModule,
    task: _Task,
    weights: Mapping[str, Tensor],
    tell: Callable[[Any], None],
    is_stop_asked: Callable[[], bool],
    seed: int,
    states: tuple[Keep | None, Checkpoint | None],
    fabric: Fabric,
) -> Row:
    """Train as one of several processes; return the entry "interrupted" of the last row of the history, if any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.manual_seed(seed)
    # Tensors that are sent to processes are shared between them, but each process needs its own weights.
    module = copy.deepcopy(module)
    is_teller = fabric.global_rank == 0

    def on_epoch(epoch: int, n_epochs: int, row: Mapping[str, float]) -> None:
        if is_teller:
            tell(("epoch", epoch, n_epochs, dict(row)))

    def is_stopped() -> bool:
        # All processes must stop after the same epoch.
        asked = torch.tensor(float(is_stop_asked()), device=fabric.device)
        return bool(cast("Tensor", fabric.all_reduce(asked, reduce_op="max")).item())

    try:
        history = task.train(module, fabric, Watch(on_epoch, *states, is_stopped))
    except FloatingPointError as error:
        if is_teller:
            tell(("trouble", str(error)))
        raise
    if is_teller:
        for name, value in module.state_dict().items():
            weights[name].copy_(value)
    # No process leaves before all are done, or the others would lose their connection.
    fabric.barrier()
    destroy_process_group()
    return {name: history[-1][name] for name in ("interrupted",) if name in history[-1]}


@contextmanager
def _interrupts_set(ask_to_stop: Callable[[], None]) -> Iterator[None]:
    """Within the block, Ctrl-C or SIGTERM stops all processes after their epoch; a second one stops this process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _: Any) -> None:
        signal.signal(number, before[signal.Signals(number)])
        ask_to_stop()

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
