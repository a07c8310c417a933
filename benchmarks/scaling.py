"""What do several processes gain, and what would they gain on 1 to 64 GPUs?

First measures, on planted data of the shape of LINCS (9,769 × 978, 75 classes, one hidden layer of 1,000), the samples
a second of one process with one thread, of one with as many threads as there are cores, and of two processes with half
of the cores each; interleaved, medians over repeats of the epochs after the first.

Then prints a model of a step on N GPUs. A step computes 6 floating point operations per weight and row (forward, and
backward to inputs and to weights): F for the rows of a batch, of which each GPU has its part, and C for the codes,
which each decodes. It then adds up over all GPUs the gradients of all weights and the class sums behind the codes,
B bytes of float32, in a ring: 2 (N - 1) / N · B bytes leave each GPU. With R the operations a second that a GPU reaches
and W the bytes a second that leave it:

    seconds = (F / N + C) / R + 2 (N - 1) / N · B / W

without overlap of the two, and without the time that a message takes at least. R and W are assumptions, given with
`--flops` and `--bandwidth`.
Writes results/scaling.csv.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd

from svqvae import SVQVAE
from svqvae.data.simulate import plant_classes

RESULTS = Path(__file__).parent / "results" / "scaling.csv"
N_SAMPLES, N_FEATURES, N_CLASSES, WIDTH = 9_769, 978, 75, 1_000
N_GPUS, BATCHES = (1, 2, 4, 8, 16, 32, 64), (256, 4_096, 65_536)


def samples_per_second(devices: int, batch_size: int, n_epochs: int) -> float:
    """Return the median rate of the epochs after the first."""
    planted = plant_classes(N_CLASSES, N_FEATURES, sizes=(5, 255), random_state=0)
    X, y = planted.X[:N_SAMPLES], planted.y[:N_SAMPLES]
    model = SVQVAE(
        hidden=(WIDTH,),
        latent_dim=WIDTH,
        batch_size=batch_size,
        n_epochs=n_epochs,
        devices=devices,
        random_state=0,
        early_stopping=False,
    ).fit(X, y)
    trained = model.history_["seconds"].iloc[1 : n_epochs - max(1, n_epochs // 8)]
    return len(X) / float(trained.median())


def measure(n_repeats: int, n_epochs: int, batch_size: int) -> pd.DataFrame:
    """Return the rates of three ways to use this machine, each in a process of its own."""
    cores = len(os.sched_getaffinity(0))
    ways = {
        "1 process, 1 thread": (1, 1),
        f"1 process, {cores} threads": (1, cores),
        f"2 processes, {max(1, cores // 2)} threads each": (2, max(1, cores // 2)),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(n_repeats):
        for way, (devices, threads) in ways.items():
            call = [sys.executable, __file__, "--one", str(devices), str(batch_size), str(n_epochs)]
            environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
            done = subprocess.run(call, env=environment, check=True, capture_output=True, text=True)
            rates[way].append(float(done.stdout.split()[-1]))
    table = pd.DataFrame({"samples/s": {way: statistics.median(found) for way, found in rates.items()}})
    first = rates["1 process, 1 thread"]
    table["ratio"] = [statistics.median(a / b for a, b in zip(found, first, strict=True)) for found in rates.values()]
    table["least"] = [min(a / b for a, b in zip(found, first, strict=True)) for found in rates.values()]
    table["most"] = [max(a / b for a, b in zip(found, first, strict=True)) for found in rates.values()]
    return table


def model_of_gpus(flops: float, bandwidth: float) -> pd.DataFrame:
    """Return samples a second and the share of N times one GPU's, for each batch and number of GPUs."""
    n_weights = 2 * (N_FEATURES * WIDTH + WIDTH * WIDTH)
    n_bytes = 4 * (n_weights + N_CLASSES * WIDTH)
    rows = []
    for batch in BATCHES:
        # Half of the weights are the decoder's.
        of_rows, of_codes = 6 * n_weights * batch, 6 * n_weights / 2 * N_CLASSES
        for n in N_GPUS:
            seconds = (of_rows / n + of_codes) / flops + 2 * (n - 1) / n * n_bytes / bandwidth
            rows.append({"batch": batch, "GPUs": n, "GFLOP": (of_rows + of_codes) / 1e9, "MB reduced": n_bytes / 1e6})
            rows[-1] |= {"samples/s": batch / seconds, "efficiency": (of_rows + of_codes) / flops / (n * seconds)}
    return pd.DataFrame(rows)


def main() -> None:
    """Measure, compute, print, keep the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--flops", type=float, default=2e14, help="operations a second that a GPU reaches")
    parser.add_argument("--bandwidth", type=float, default=5e10, help="bytes a second that leave a GPU")
    parser.add_argument("--quick", action="store_true", help="one repeat of 3 epochs; writes nothing")
    parser.add_argument("--one", nargs=3, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(samples_per_second(*arguments.one))
        return
    measured = measure(
        1 if arguments.quick else arguments.repeats, 3 if arguments.quick else arguments.epochs, arguments.batch
    )
    print(measured.round(2).to_string())
    computed = model_of_gpus(arguments.flops, arguments.bandwidth)
    print(computed.round(3).to_string(index=False))
    if not arguments.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        both = pd.concat([measured.rename_axis("way").reset_index(), computed])
        both.round(4).to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main()
