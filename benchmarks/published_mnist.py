"""Does SVQVAE.published("mnist") reproduce the published MNIST figures?

The notebook prints, from one unseeded run, a train reconstruction of 0.449 in the first epoch, and after 25 epochs a
test accuracy of 0.826 and a test reconstruction (label given, pixels in [-1, 1]) of 0.2219. Prints the like of several
seeds, and where the last two lie among those of the last ten epochs. Writes results/published_mnist.csv.

The notebook ran on PyTorch 0.4, whose transposed convolutions start smaller than those of later versions, and
SVQVAE.published("mnist") starts as they did. With --later-start they start as in the PyTorch installed, to show what
that changes; this writes results/published_mnist_later_start.csv.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from mnist_data import Images, Labels, load_mnist
from torch import nn
from watched import watched

from svqvae import SVQVAE
from svqvae.model import inference
from svqvae.model.networks import Pair, published_mnist

RESULTS = Path(__file__).parent / "results"
PUBLISHED = {"test_accuracy": 0.826, "test_class_reconstruction": 0.2219}


def curve(data: tuple[Images, Labels, Images, Labels], seed: int, n_epochs: int, is_later_start: bool) -> pd.DataFrame:
    """Fit with one seed and return the figures after each epoch."""
    X_train, y_train, X_test, y_test = data
    model = SVQVAE.published("mnist", accelerator="cpu", random_state=seed, n_epochs=n_epochs)
    if is_later_start:
        model.set_params(architecture=later_start(seed))
    images = torch.as_tensor(X_test.astype(np.float32) / 127.5 - 1)[:, None]
    own = torch.as_tensor(y_test)
    rows: list[dict[str, float]] = []

    def on_epoch(epoch: int, n_in_all: int, row: Mapping[str, float]) -> None:
        module = seen.module
        assert module is not None
        nearest = inference.nearness(module)(inference.encode(module, images)).argmin(1)
        codes = module.quantizer.codes.detach()
        profiles = inference.decode(module, codes, torch.ones(len(codes)))
        error = sum(float((profiles[k] - images[own == k]).square().sum()) for k in range(10)) / images.numel()
        accuracy = float((nearest == own).float().mean())
        rows.append({"seed": seed, "epoch": epoch + 1, "test_accuracy": accuracy, "test_class_reconstruction": error})
        rows[-1] |= {"train_reconstruction": row["reconstruction"], "seconds": row["seconds"]}
        print(f"seed {seed}, epoch {epoch + 1}/{n_in_all}: {accuracy:.4f} {error:.4f}", flush=True)

    with watched() as seen:
        model.fit(X_train, y_train, on_epoch=on_epoch)
    return pd.DataFrame(rows)


def later_start(seed: int) -> Pair:
    """Return the published pair with the start that the installed PyTorch gives transposed convolutions."""
    torch.manual_seed(seed)
    encoder, decoder = published_mnist()
    for layer in decoder.modules():
        if isinstance(layer, nn.ConvTranspose2d):
            layer.reset_parameters()
    return encoder, decoder


def main() -> None:
    """Run the seeds, print the table, keep the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--later-start", action="store_true")
    parser.add_argument("--quick", action="store_true", help="2 epochs on 5,000 digits; writes nothing")
    arguments = parser.parse_args()
    X_train, y_train, X_test, y_test = load_mnist()
    n_train, n_epochs, n_seeds = (5000, 2, 1) if arguments.quick else (len(X_train), 25, arguments.seeds)
    data = X_train[:n_train], y_train[:n_train], X_test, y_test
    is_later = arguments.later_start
    table = pd.concat([curve(data, seed, n_epochs, is_later) for seed in range(n_seeds)], ignore_index=True)
    if not arguments.quick:
        RESULTS.mkdir(exist_ok=True)
        table.to_csv(RESULTS / f"published_mnist{'_later_start' if is_later else ''}.csv", index=False)
    pixels = X_test.astype(np.float64) / 127.5 - 1
    means = np.stack([X_train[y_train == k].mean(axis=0) for k in range(10)]) / 127.5 - 1
    print(f"table of training class means: test class reconstruction {((means[y_test] - pixels) ** 2).mean():.4f}")
    late = table[table["epoch"] > n_epochs - 10]
    final = table[table["epoch"] == n_epochs]
    first = table.loc[table["epoch"] == 1, "train_reconstruction"]
    print(f"train_reconstruction of epoch 1: published 0.449; {first.mean():.4f} ± {first.std():.4f} over seeds")
    for name, published in PUBLISHED.items():
        print(
            f"{name}: published {published}; final {final[name].mean():.4f} ± {final[name].std():.4f} over seeds; "
            f"last ten epochs {late[name].min():.4f} to {late[name].max():.4f}, mean {late[name].mean():.4f}"
        )


if __name__ == "__main__":
    main()
