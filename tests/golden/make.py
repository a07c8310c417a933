"""Write the runs and the answers of all small fits: ``python tests/golden/make.py FOLDER``."""

import sys
import warnings
from pathlib import Path

import torch
from fits import FITS, answers
from safetensors.numpy import save_file

if __name__ == "__main__":
    out = Path(sys.argv[1])
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name, fit in FITS.items():
        model, X, _ = fit()
        model.save(out / name)
        save_file(answers(model, X), out / name / "answers.safetensors")
