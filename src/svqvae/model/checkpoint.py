"""The state of training after an epoch: enough to go on with the same bits as if it had never stopped."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

Row = dict[str, float | int]
# Told of each epoch: its place, how many there are in all, and its row.
OnEpoch = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Checkpoint:
    """All that training needs to go on, as tensors on the CPU and what JSON can hold.

    Order, shifts and dropout are functions of the seed and the epoch, so that no random state is kept.

    Attributes
    ----------
    tensors
        ``module.…``, the state of the module; ``optimizer.<parameter>.<moment>``; ``best.…``, the weights with the
        least validation loss.
    progress
        ``history``: a row per epoch; ``n_trained``: epochs that trained the whole network, None while they are not
        over; ``best_loss`` and ``n_worse`` of early stopping; ``rates`` and ``scheduler``, the learning rates and where
        their schedule stands.
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
    """Take the state down; tensors may still be shared with the network, so write them before the next step.

    Parameters
    ----------
    module, optimizer, scheduler
        As they are after an epoch.
    best
        The state of the module with the least validation loss so far, or None.
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
    """Put module, optimiser and schedule where `capture` found them."""
    module.load_state_dict(part_of(checkpoint, "module."))
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in part_of(checkpoint, "optimizer.").items():
        number, moment = name.split(".", 1)
        weight = weights[int(number)]
        # A fused optimiser goes through memory as it lies: moments must lie there as their weight does.
        is_moment = value.shape == weight.shape
        moments.setdefault(int(number), {})[moment] = (
            torch.empty_like(weight.detach()).copy_(value) if is_moment else value
        )
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    for group, rate in zip(optimizer.param_groups, checkpoint.progress["rates"], strict=True):
        group["lr"] = rate
    scheduler.load_state_dict({**scheduler.state_dict(), **checkpoint.progress["scheduler"]})


def part_of(checkpoint: Checkpoint, prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose name starts with a prefix, without it.

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
