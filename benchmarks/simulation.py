"""Do simulated samples do what real ones do?

Half of the samples of each class, drawn anew for each seed, are fitted by the default model, and samples simulated by
it are held against the other half, beside training rows drawn again and a Gaussian per class on the features: see
`svqvae.evaluation.simulation.simulation_quality` for the figures. Three data sets: handwritten digits of 8×8 pixels as
rows (1,797 × 64), blood cells (700 × 765), and L1000 signatures of A375 cells (978 genes; half of the compounds of each
class). Classes of fewer than 5 held-out samples are left out. The last two need SVQVAE_TEST_DATA.
Prints mean and spread over seeds; writes results/simulation.csv where all data sets were there.
"""

import argparse
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from rare_classes import draw_half, load_signatures
from sklearn.datasets import load_digits

from svqvae import SVQVAE
from svqvae.data.samples import read_samples
from svqvae.data.tables import read_table
from svqvae.evaluation.simulation import simulation_quality

RESULTS = Path(__file__).parent / "results" / "simulation.csv"
MIN_HELD_OUT = 5
Array = NDArray[Any]


def data_sets() -> dict[str, tuple[Array, Array, Array]]:
    """Return X, y and what must stay together, by name of the data set."""
    digits = load_digits()
    sets: dict[str, tuple[Array, Array, Array]] = {"digits": (digits.data, digits.target, np.arange(len(digits.data)))}
    if "SVQVAE_TEST_DATA" in os.environ:
        folder = Path(os.environ["SVQVAE_TEST_DATA"])
        cells = read_samples(read_table(folder / "pbmc68k_reduced.h5ad"), label="bulk_labels")
        sets["blood cells"] = (np.asarray(cells.rows), cells.labels, np.arange(len(cells)))
        signatures, y, compounds = load_signatures(folder / "lincs" / "a375")
        sets["A375"] = (signatures.to_numpy(), y, compounds)
    return sets


def measure(name: str, X: Array, y: Array, groups: Array, seed: int) -> pd.DataFrame:
    """Return the figures of one split, a row for each way to simulate."""
    import torch

    torch.set_num_threads(1)
    is_fitted = draw_half(y, groups, seed)
    names, n_held_out = np.unique(y[~is_fitted], return_counts=True)
    kept = np.isin(y, names[n_held_out >= MIN_HELD_OUT])
    train, test = is_fitted & kept, ~is_fitted & kept
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SVQVAE(random_state=seed).fit(X[train], y[train])
        table = simulation_quality(model, X[train], y[train], X[test], y[test], random_state=seed).reset_index()
    facts = {"data": name, "seed": seed, "n_classes": len(model.classes_), "n_fitted": int(train.sum())}
    return pd.DataFrame([facts] * len(table)).join(table)


def main() -> None:
    """Run the splits, print the tables, keep the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--quick", action="store_true", help="1 split; writes nothing")
    arguments = parser.parse_args()
    seeds = range(1 if arguments.quick else arguments.seeds)
    parts = []
    for name, data in data_sets().items():
        runs = Parallel(n_jobs=arguments.jobs)(delayed(measure)(name, *data, seed) for seed in seeds)
        found = pd.concat(runs, ignore_index=True)
        print(f"\n{name}: {sorted(set(found['n_classes']))} classes, {sorted(set(found['n_fitted']))} samples fitted")
        figures = found.drop(columns=["data", "seed", "n_classes", "n_fitted"])
        print(figures.groupby("simulated by", sort=False).agg(["mean", "std"]).round(3).T.to_string(), flush=True)
        parts.append(found)
    if "SVQVAE_TEST_DATA" not in os.environ:
        print("Not written: SVQVAE_TEST_DATA is unset, so that two data sets were left out.")
    elif not arguments.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        pd.concat(parts).round(5).to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main()
