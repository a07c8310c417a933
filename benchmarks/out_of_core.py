"""Does a fit from disk keep pace with one in memory, and within what memory?

Writes simulated level-5 signatures, sorted by class, as GCTX (1,000,000 × 978, 75 classes, about 3.9 GB), and fits the
default model for one epoch in child processes: to a fifth of the file in memory and on disk, in turns, and to all of it
on disk. Prints samples per second of the epoch, seconds of the whole fit and peak resident memory (VmHWM); writes
results/out_of_core.csv. The targets: from disk at least 0.8 times the samples per second in memory, and no more than
1.5 GB at the peak.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results" / "out_of_core.csv"
N_CLASSES, N_FEATURES, BLOCK = 75, 978, 10_000
# Variances between and within classes are those of GSE70138, see svqvae.data.simulate.
BETWEEN, WITHIN = 0.3, 1.75


def signatures(y: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    """Yield blocks of samples, (at most 10,000, n_features), of the given classes."""
    rng = np.random.default_rng(0)
    profiles = rng.normal(scale=BETWEEN**0.5, size=(N_CLASSES, N_FEATURES)).astype(np.float32)
    for start in range(0, len(y), BLOCK):
        own = y[start : start + BLOCK]
        noise = rng.standard_normal((len(own), N_FEATURES), dtype=np.float32)
        yield profiles[own] + np.float32(WITHIN**0.5) * noise


def write(path: Path, n: int) -> None:
    """Write n samples, sorted by class."""
    from svqvae.data import hdf5

    y = np.arange(n) * N_CLASSES // n
    obs = pd.DataFrame({"pcl": [f"class {k}" for k in y]}, index=[f"signature {k}" for k in range(n)])
    var = pd.DataFrame(index=[f"gene {k}" for k in range(N_FEATURES)])
    hdf5.write_matrix(path, path.name, var, obs, signatures(y))


def fit(path: Path, place: str, step: int) -> None:
    """Fit every so-many-th sample for an epoch, in this process, and print its figures as JSON."""
    from svqvae import SVQVAE
    from svqvae.data.stored import open_table

    adata = open_table(path, label="pcl", on_disk=True)
    if step > 1:
        adata = adata[::step]
    if place == "memory":
        adata = adata.to_memory()
    start = time.perf_counter()
    model = SVQVAE(n_epochs=1, early_stopping=False, random_state=0).fit(adata, label="pcl")
    seconds = time.perf_counter() - start
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    epoch = float(model.history_["seconds"].iloc[0])
    figures = {
        "place": place,
        "n_samples": adata.n_obs,
        "samples_per_second": round(adata.n_obs / epoch, 1),
        "epoch_seconds": round(epoch, 2),
        "fit_seconds": round(seconds, 2),
        "peak_gb": round(int(peak.split()[1]) * 1024 / 1e9, 3),
    }
    print(json.dumps(figures))


def measure(path: Path, place: str, step: int) -> dict[str, object]:
    """Return the figures of a fit in a process of its own."""
    command = [sys.executable, __file__, "--fit", place, "--file", str(path), "--step", str(step)]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, object] = json.loads(found.stdout.splitlines()[-1])
    print("  ", figures, flush=True)
    return figures


def main() -> None:
    """Write the file, run the fits, print the ratios, keep the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10,000 samples, 1 repeat; writes nothing")
    parser.add_argument("--scratch", type=Path, help="folder for the data, which are removed; 4 GB")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--fit", choices=["disk", "memory"], help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        fit(arguments.file, arguments.fit, arguments.step)
        return
    n = 10_000 if arguments.quick else 1_000_000
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        n_needed = n * N_FEATURES * 4 * 1.1
        if shutil.disk_usage(folder).free < n_needed:
            parser.error(f"--scratch must be a folder with {n_needed / 1e9:.1f} GB free; {folder} has less.")
        path = Path(folder) / "signatures.gctx"
        start = time.perf_counter()
        write(path, n)
        print(f"{path.stat().st_size / 1e9:.2f} GB written in {time.perf_counter() - start:.0f} s", flush=True)
        table = pd.DataFrame(
            [
                measure(path, place, 5)
                for _ in range(1 if arguments.quick else arguments.repeats)
                for place in ("memory", "disk")
            ]
            + [measure(path, "disk", 1)]
        )
    speed = table.groupby(["n_samples", "place"])["samples_per_second"].median()
    print(table.to_string(index=False))
    few, many = sorted(table["n_samples"].unique())
    print(
        f"of the samples per second in memory, disk has {speed[few, 'disk'] / speed[few, 'memory']:.2f} (same samples)"
    )
    print(f"and {speed[many, 'disk'] / speed[few, 'memory']:.2f} with all samples; medians")
    print(f"peak with all samples on disk: {table['peak_gb'].iloc[-1]:.2f} GB")
    if not arguments.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        table.to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main()
