"""Does SVQVAE.published("mnist") reproduce the published MNIST figures?

The notebook prints a test accuracy of 0.826 and a test reconstruction (label given, pixels in [-1, 1]) of 0.2219 after
25 epochs, from one unseeded run. Prints both after each of the last ten epochs of several seeds, and where the
published pair lies among them. Writes results/published_mnist.csv.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from mnist_data import Images, Labels, load_mnist

from svqvae import SVQVAE
from svqvae.model import inference

RESULTS = Path(__file__).parent / "results" / "published_mnist.csv"
PUBLISHED = {"test_accuracy": 0.826, "test_class_reconstruction": 0.2219}


def curve(data: tuple[Images, Labels, Images, Labels], seed: int, n_epochs: int) -> pd.DataFrame:
    """Fit with one seed and return the figures after each epoch."""
    X_train, y_train, X_test, y_test = data
    model = SVQVAE.published("mnist", accelerator="cpu", random_state=seed, n_epochs=n_epochs)
    images = torch.as_tensor(X_test.astype(np.float32) / 127.5 - 1)[:, None]
    own = torch.as_tensor(y_test)
    rows: list[dict[str, float]] = []

    def on_epoch(epoch: int, n_in_all: int, row: Mapping[str, float]) -> None:
        module = model.module_
        nearest = inference.distances(module, inference.encode(module, images)).argmin(1)
        codes = module.quantizer.codes.detach()
        profiles = inference.decode(module, codes, torch.ones(len(codes)))
        error = sum(float((profiles[k] - images[own == k]).square().sum()) for k in range(10)) / images.numel()
        accuracy = float((nearest == own).float().mean())
        rows.append({"seed": seed, "epoch": epoch + 1, "test_accuracy": accuracy, "test_class_reconstruction": error})
        rows[-1] |= {"train_reconstruction": row["reconstruction"], "seconds": row["seconds"]}
        print(f"seed {seed}, epoch {epoch + 1}/{n_in_all}: {accuracy:.4f} {error:.4f}", flush=True)

    model.fit(X_train, y_train, on_epoch=on_epoch)
    return pd.DataFrame(rows)


def main() -> None:
    """Run the seeds, print the table, keep the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="2 epochs on 5,000 digits; writes nothing")
    arguments = parser.parse_args()
    X_train, y_train, X_test, y_test = load_mnist()
    n_train, n_epochs, n_seeds = (5000, 2, 1) if arguments.quick else (len(X_train), 25, arguments.seeds)
    data = X_train[:n_train], y_train[:n_train], X_test, y_test
    RESULTS.parent.mkdir(exist_ok=True)
    table = pd.concat([curve(data, seed, n_epochs) for seed in range(n_seeds)], ignore_index=True)
    if not arguments.quick:
        table.to_csv(RESULTS, index=False)
    pixels = X_test.astype(np.float64) / 127.5 - 1
    means = np.stack([X_train[y_train == k].mean(axis=0) for k in range(10)]) / 127.5 - 1
    print(f"table of training class means: test class reconstruction {((means[y_test] - pixels) ** 2).mean():.4f}")
    late = table[table["epoch"] > n_epochs - 10]
    final = table[table["epoch"] == n_epochs]
    for name, published in PUBLISHED.items():
        print(
            f"{name}: published {published}; final {final[name].mean():.4f} ± {final[name].std():.4f} over seeds; "
            f"last ten epochs {late[name].min():.4f} to {late[name].max():.4f}, mean {late[name].mean():.4f}"
        )


if __name__ == "__main__":
    main()
