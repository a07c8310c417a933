"""How long do 1,000 resamples of the relations between classes take?

Times nearest classes and tree, each with 1,000 resamples, on an atlas of random classes in 1,000 dimensions: 75 of
10,000 samples in all, and 1,000 of 50,000. Prints seconds; what the fit of the spread takes stands apart.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from svqvae import ClassAtlas
from svqvae.atlas.spread import fit_spread


def timed(what: str, run: Callable[[], object]) -> None:
    """Run and print the seconds that it took."""
    start = time.perf_counter()
    run()
    print(f"  {what}: {time.perf_counter() - start:.1f} s", flush=True)


def main() -> None:
    """Time both sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smaller size, 20 resamples")
    arguments = parser.parse_args()
    sizes = [(75, 10_000)] if arguments.quick else [(75, 10_000), (1000, 50_000)]
    n_resamples = 20 if arguments.quick else 1000
    for n_classes, n_samples in sizes:
        print(f"{n_classes} classes, {n_samples} samples, 1,000 dimensions, {n_resamples} resamples")
        rng = np.random.default_rng(0)
        y = np.arange(n_samples) % n_classes
        rows = rng.standard_normal((n_samples, 1000), dtype=np.float32)
        means = np.stack([rows[y == k].mean(0) for k in range(n_classes)])
        start = time.perf_counter()
        spread = fit_spread(rows, y, n_classes, seed=0)
        print(f"  spread: {time.perf_counter() - start:.1f} s")
        names = tuple(f"x{j}" for j in range(1000))
        zeros, ones = np.zeros(1000), np.ones(1000)
        counts = np.bincount(y)
        atlas = ClassAtlas(np.arange(n_classes), names, counts, means, means, means, zeros, ones, spread, spread)
        timed("nearest", lambda atlas=atlas: atlas.nearest(n_resamples=n_resamples))  # type: ignore[misc]
        timed("tree", lambda atlas=atlas: atlas.tree(n_resamples=n_resamples))  # type: ignore[misc]


if __name__ == "__main__":
    main()
