"""The state of training after an epoch, from which a resumed fit ends with the same bits as an uninterrupted one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

Row = dict[str, float | int]
# Called after each epoch with its index, the total number of epochs, and its row of the history.
OnEpoch = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Checkpoint:
    """The state of training: tensors on the CPU, and values that JSON can hold.

    Order, shifts and dropout depend on the seed and the epoch alone, so that no random state is stored.

    Attributes
    ----------
    tensors
        ``module.…``, the state of the module; ``optimizer.<parameter>.<moment>``; ``best.…``, the weights with the
        lowest validation loss.
    progress
        ``history``: one row per epoch; ``n_trained``: number of epochs that trained the whole network, None until that
        phase has ended; ``best_loss`` and ``n_worse``: state of early stopping; ``rates`` and ``scheduler``: learning
        rates and state of their schedule.
    """

    tensors: Mapping[str, Tensor]
    progress: Mapping[str, Any]


Keep = Callable[[Checkpoint], None]


def capture(
    module: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    best: Mapping[str, Tensor] | None,
    **progress: Any,
) -> Checkpoint:
    """Collect the state of training; its tensors may share memory with the network, so write them before the next step.

    Parameters
    ----------
    module, optimizer, scheduler
        In their state after an epoch.
    best
        State of the module with the lowest validation loss so far, or None.
    **progress
        Further entries of `Checkpoint.progress`.
    """
    tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in moments.items()}
    tensors |= {f"best.{name}": value for name, value in (best or {}).items()}
    schedule = {name: value for name, value in scheduler.state_dict().items() if name != "lr_lambdas"}
    rates = [group["lr"] for group in optimizer.param_groups]
    progress |= {"rates": rates, "scheduler": schedule}
    return Checkpoint({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, progress)


def restore(checkpoint: Checkpoint, module: nn.Module, optimizer: Optimizer, scheduler: LRScheduler) -> None:
    """Set module, optimiser and schedule, in place, to the state that `capture` collected."""
    module.load_state_dict(part_of(checkpoint, "module."))
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in part_of(checkpoint, "optimizer.").items():
        number, moment = name.split(".", 1)
        weight = weights[int(number)]
        # A fused optimiser reads memory in its physical order, so moments need the memory layout of their weight.
        is_moment = value.shape == weight.shape
        moments.setdefault(int(number), {})[moment] = (
            torch.empty_like(weight.detach()).copy_(value) if is_moment else value
        )
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    for group, rate in zip(optimizer.param_groups, checkpoint.progress["rates"], strict=True):
        group["lr"] = rate
    scheduler.load_state_dict({**scheduler.state_dict(), **checkpoint.progress["scheduler"]})


def part_of(checkpoint: Checkpoint, prefix: str) -> dict[str, Tensor]:
    """Return copies of the tensors whose names start with a prefix, by name without the prefix.

    Examples
    --------
    >>> part_of(Checkpoint({"best.codes": torch.zeros(1)}, {}), "best.")
    {'codes': tensor([0.])}
    """
    return {
        name.removeprefix(prefix): value.clone()
        for name, value in checkpoint.tensors.items()
        if name.startswith(prefix)
    }
