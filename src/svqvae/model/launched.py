"""Which of how many processes this is, as torchrun and other launchers tell it in the environment."""

import os


def n_started() -> int:
    """Return how many processes torchrun or a like launcher started, this one among them; 1 where it did not."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def is_first() -> bool:
    """Return whether this process is the one that writes files."""
    return n_started() == 1 or int(os.environ.get("RANK", "0")) == 0
