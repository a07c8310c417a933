"""What is told of what takes long: bars on standard error, and which of several processes tells and writes."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def spinner(is_shown: bool, title: str) -> Iterator[None]:
    """Turn a wheel while something of unknown length goes on; nothing is drawn off a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if is_shown and console.is_terminal:
        with console.status(title):
            yield
    else:
        yield


@contextmanager
def epoch_bar(is_shown: bool) -> Iterator[Callable[[int, int, Mapping[str, float]], None]]:
    """Yield an `on_epoch` function that draws a bar with the time left; it draws nothing off a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs, left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    is_drawn = is_shown and console.is_terminal
    with Progress(*columns, console=console, disable=not is_drawn, transient=True) as progress:
        task = progress.add_task("training", total=None, figures="")

        def on_epoch(epoch: int, n_epochs: int, row: Mapping[str, float]) -> None:
            figures = f"loss {row['loss']:.3f}"
            if "validation_accuracy" in row:
                figures += f", validation accuracy {row['validation_accuracy']:.3f}"
            progress.update(task, total=n_epochs, completed=epoch + 1, figures=figures)

        yield on_epoch


@contextmanager
def part_bars(is_shown: bool) -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Yield a function that opens a bar with a title and returns its `on_step(done, in_all)`."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    is_drawn = is_shown and console.is_terminal
    with Progress(*columns, console=console, disable=not is_drawn, transient=True) as progress:

        def open_bar(title: str) -> Callable[[int, int], None]:
            task = progress.add_task(title, total=None)
            return lambda done, in_all: progress.update(task, completed=done, total=in_all)

        yield open_bar


def n_started() -> int:
    """Return how many processes torchrun or a like launcher started, this one among them; 1 where it did not."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def is_first() -> bool:
    """Return whether this process is the one that writes files."""
    return n_started() == 1 or int(os.environ.get("RANK", "0")) == 0
