"""How good is the default objective on MNIST, one code a class, 25 epochs?

Prints, for each seed and as mean and spread, on the 10,000 test digits: accuracy (also after a fit of a single
epoch), class reconstruction beside its floor (a table of training class means), sample reconstruction (mean squared
error on pixels scaled to [-1, 1]), and how good drawn digits are: a 1-nearest-neighbour classifier trained on 1,000
drawn digits a class against one trained on 1,000 real ones, and the median distance from a drawn digit to its nearest
training digit against that of a real test digit, both the means of five draws (and five choices of real digits), since
one draw alone moves the first by about 0.002. Writes results/default_mnist.csv after each seed; those in it already are
not run again without --anew.

The settings were chosen on the last 10,000 training digits; docs/defaults.md tells of the one that was looked at again
after a test figure. Use --anew after any change to the model: rows of different settings must not stand in one table.
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from mnist_data import Images, Labels, load_mnist
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances_argmin
from sklearn.neighbors import KNeighborsClassifier

from svqvae import SVQVAE
from svqvae.evaluation.quality import held_out_quality

RESULTS = Path(__file__).parent / "results" / "default_mnist.csv"
N_DRAWN, N_REPEATS = 1000, 5


def measure(data: tuple[Images, Labels, Images, Labels], seed: int, n_epochs: int, precision: str) -> dict[str, float]:
    """Fit with one seed and return its row of figures."""
    X_train, y_train, X_test, y_test = data
    once = SVQVAE(architecture="conv", n_epochs=1, precision=precision, random_state=seed).fit(X_train, y_train)
    start = time.monotonic()
    model = SVQVAE(architecture="conv", n_epochs=n_epochs, precision=precision, random_state=seed, verbose=True)
    model.fit(X_train, y_train)
    seconds = time.monotonic() - start
    quality = held_out_quality(model, X_train, y_train, X_test, y_test)
    return {
        "seed": seed,
        "n_epochs": n_epochs,
        "accuracy": quality.accuracy,
        "accuracy_after_one_epoch": once.score(X_test, y_test),
        "class_reconstruction": quality.class_reconstruction,
        "class_reconstruction_over_floor": quality.class_reconstruction / quality.class_reconstruction_means,
        "sample_reconstruction": quality.sample_reconstruction,
        **drawing_quality(model, data, seed),
        "seconds": seconds,
    }


def drawing_quality(model: SVQVAE, data: tuple[Images, Labels, Images, Labels], seed: int) -> dict[str, float]:
    """Compare drawn with real digits, as classifier's training set and by distance to the nearest training digit."""
    X_train, y_train, X_test, y_test = data
    train, test = rows(X_train), rows(X_test)
    labels = np.repeat(np.arange(10), N_DRAWN)
    found: dict[str, list[float]] = defaultdict(list)
    for repeat in range(N_REPEATS):
        rng = np.random.default_rng([seed, repeat])
        drawn = rows(np.concatenate([model.sample(k, N_DRAWN, random_state=rng) for k in range(10)]))
        chosen = np.concatenate([rng.choice(np.flatnonzero(y_train == k), N_DRAWN, replace=False) for k in range(10)])
        for name, digits in (("drawn", drawn), ("real", train[chosen])):
            classifier = KNeighborsClassifier(1, algorithm="brute").fit(digits, labels)
            found[f"{name} accuracy"].append(float(classifier.score(test, y_test)))
        for name, digits in (("drawn", drawn), ("test", test)):
            some = digits[rng.choice(len(digits), N_DRAWN, replace=False)]
            found[f"{name} distance"].append(median_distance(some, train))
    mean = {name: float(np.mean(values)) for name, values in found.items()}
    return {
        "neighbour_accuracy_drawn": mean["drawn accuracy"],
        "neighbour_accuracy_drawn_over_real": mean["drawn accuracy"] / mean["real accuracy"],
        "distance_drawn_over_test": mean["drawn distance"] / mean["test distance"],
    }


def rows(images: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return images as flat rows in single precision."""
    return images.reshape(len(images), -1).astype(np.float32)


def median_distance(queries: NDArray[np.float32], train: NDArray[np.float32]) -> float:
    """Return the median Euclidean distance of the queries to their nearest training row."""
    squares = (queries**2).sum(1)[:, None] - 2 * queries @ train.T + (train**2).sum(1)
    return float(np.median(np.sqrt(np.maximum(squares.min(1), 0))))


def main() -> None:
    """Run the seeds, print the table, keep the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--anew", action="store_true", help="start from an empty table")
    parser.add_argument("--quick", action="store_true", help="2 epochs on 12,000 digits; writes nothing")
    arguments = parser.parse_args()
    X_train, y_train, X_test, y_test = load_mnist()
    n_epochs, n_seeds = (2, 1) if arguments.quick else (25, arguments.seeds)
    table = pd.read_csv(RESULTS) if RESULTS.is_file() and not (arguments.anew or arguments.quick) else pd.DataFrame()
    known = set(table["seed"]) if len(table) else set()
    if arguments.quick:
        rng = np.random.default_rng(0)
        chosen = np.concatenate([rng.choice(np.flatnonzero(y_train == k), 1200, replace=False) for k in range(10)])
        X_train, y_train = X_train[chosen], y_train[chosen]
    RESULTS.parent.mkdir(exist_ok=True)
    for seed in sorted(set(range(n_seeds)) - known):
        row = measure((X_train, y_train, X_test, y_test), seed, n_epochs, arguments.precision)
        table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
        print(table.round(4).to_string(), flush=True)
        if not arguments.quick:
            table.to_csv(RESULTS, index=False)
    print(table.agg(["mean", "std", "min", "max"]).round(4).T.to_string())
    means = np.stack([rows(X_train[y_train == k]).mean(axis=0) for k in range(10)]) / 127.5 - 1
    pixels = rows(X_test) / 127.5 - 1
    accuracy = (pairwise_distances_argmin(pixels, means) == y_test).mean()
    error = ((means[y_test] - pixels) ** 2).mean()
    print(f"nearest class mean: accuracy {accuracy:.4f}; table of class means: error {error:.4f}")


if __name__ == "__main__":
    main()
