"""Methods side by side: each lives in a process of its own, and they take turns.

Processes show what memory each method takes. Turns, epoch after epoch, let slow and fast moments of a busy machine
fall on all methods alike.
"""

import multiprocessing
import resource
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Lap:
    """What a method did in one turn.

    Attributes
    ----------
    seconds
        That it took.
    n_samples
        That it went through.
    notes
        Further figures by name.
    peak_mib
        Most memory that its process has had resident so far, in MiB.
    """

    seconds: float
    n_samples: int
    notes: dict[str, Any] = field(default_factory=dict)
    peak_mib: float = 0.0


class Enough(Exception):  # noqa: N818, an end and no error
    """Ends a method between two laps."""


Pause = Callable[[Lap], None]
Method = Callable[..., None]


class Runner:
    """A method in a process of its own, which waits between its laps.

    Parameters
    ----------
    method
        Called in the process as ``method(pause, *arguments)``. It hands each lap to ``pause``, which returns when it is
        its turn again; the first lap warms up.
    *arguments
        Of the method.
    """

    # "spawn" starts each process bare. "forkserver" is quicker after the first, but what is imported is shared, so that
    # memory says less.
    start_method = "spawn"

    def __init__(self, method: Method, *arguments: Any) -> None:
        context: Any = multiprocessing.get_context(self.start_method)
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_live, args=(other, method, arguments), daemon=True)
        self._process.start()
        other.close()
        self.warm_up = self._receive()

    def lap(self) -> Lap:
        """Let the method do one lap, and return it."""
        self._connection.send(True)
        return self._receive()

    def stop(self) -> None:
        """End the process."""
        if self._process.is_alive():
            self._connection.send(False)
        self._process.join(30)
        self._process.kill()

    def _receive(self) -> Lap:
        try:
            seen: Lap | str = self._connection.recv()
        except EOFError:
            seen = "the process ended without a word; it may have been out of memory"
        if isinstance(seen, str):
            self._process.join(30)
            raise RuntimeError(f"A method failed:\n{seen}")
        return seen


def take_turns(runners: Sequence[Runner], n_rounds: int) -> list[list[Lap]]:
    """Return the laps of each runner, one a round; every other round goes backward."""
    laps: list[list[Lap]] = [[] for _ in runners]
    for n in range(n_rounds):
        for k in range(len(runners))[:: 1 if n % 2 == 0 else -1]:
            laps[k].append(runners[k].lap())
    return laps


def _live(connection: Connection, method: Method, arguments: tuple[Any, ...]) -> None:
    """Run a method in this process, and tell the parent of its laps or of its failure."""

    def pause(lap: Lap) -> None:
        connection.send(Lap(lap.seconds, lap.n_samples, lap.notes, _peak_mib()))
        if not connection.recv():
            raise Enough

    try:
        method(pause, *arguments)
    except (Enough, EOFError, BrokenPipeError):
        pass
    except BaseException:
        connection.send(traceback.format_exc())


def _peak_mib() -> float:
    """Return the most memory that this process has had resident, without what its parent had when it was started."""
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
