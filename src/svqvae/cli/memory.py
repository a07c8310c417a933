"""How the C library keeps memory for a process that trains."""

import ctypes
import os
import sys

# Parameters of glibc's mallopt, and the names by which processes started later take the same.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
NAMES = {TRIM_THRESHOLD: "MALLOC_TRIM_THRESHOLD_", MMAP_THRESHOLD: "MALLOC_MMAP_THRESHOLD_"}
# Bytes of free memory that stay with the process, and of a piece from which on it is a mapping of its own: glibc's
# largest.
KEPT = {TRIM_THRESHOLD: 1 << 29, MMAP_THRESHOLD: 1 << 25}


def keep_freed_memory() -> None:
    """Tell glibc to leave up to 512 MiB of freed memory with this process and those that it starts.

    By default large pieces go back to the system, which faults them in again page by page: training in large batches
    then waits for that (`benchmarks/NOTES.md`). It changes the whole process, so that commands call it and the library
    never does. What the environment says already stays; other C libraries are left alone.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for parameter, name in NAMES.items():
        if name not in os.environ and mallopt is not None:
            os.environ[name] = str(KEPT[parameter])
            mallopt(parameter, KEPT[parameter])
