"""Compare the answers of two folders that `make.py` wrote: ``python tests/golden/compare.py BEFORE AFTER``."""

import sys
from pathlib import Path

from fits import FITS, differences
from safetensors.numpy import load_file

if __name__ == "__main__":
    for name in FITS:
        after, before = (load_file(Path(folder) / name / "answers.safetensors") for folder in reversed(sys.argv[1:]))
        told = {what: gap for what, gap in differences(after, before).items() if gap}
        print(name, "the same bits" if not told else ", ".join(f"{what} {gap:.1g}" for what, gap in told.items()))  # noqa: T201
