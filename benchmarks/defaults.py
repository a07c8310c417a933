"""Are the default hyper-parameters good without tuning, and would a change to one of them help everywhere?

Cross-validates the default model, and on tables variants of it with one setting changed each, on six data sets of
different kinds: handwritten digits of 8×8 pixels as rows and as images, wine (178 × 13), the small round blue cell
tumours of Khan et al. (63 × 2308, Nature Medicine 7:673, 2001; from the package ISLP), blood cells (700 × 765), and
L1000 signatures of A375 cells (275 × 978, whole compounds held out). The last two need SVQVAE_TEST_DATA.
Prints the mean accuracy over folds and seeds beside nearest class mean and logistic regression, and the errors of
decoded codes and samples over that of a table of class means. Writes results/defaults.csv where all data sets were
there. Only validation folds are looked at.
"""

import argparse
import os
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from rare_classes import load_signatures
from sklearn.datasets import load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from svqvae import SVQVAE
from svqvae.data.samples import read_samples
from svqvae.data.tables import read_table
from svqvae.evaluation.quality import held_out_quality

RESULTS = Path(__file__).parent / "results" / "defaults.csv"
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "weight decay 0.05": {"weight_decay": 0.05},
    "weight decay 0.3": {"weight_decay": 0.3},
    "hidden none": {"hidden": ()},
    "dropout 0.2": {"dropout": 0.2},
    "cosine": {"geometry": "cosine"},
    "bf16-mixed": {"precision": "bf16-mixed"},
}
Array = NDArray[Any]


def data_sets() -> dict[str, tuple[Array, Array, Array | None, dict[str, Any]]]:
    """Return X, y, groups and settings of each data set by name."""
    digits, wine = load_digits(), load_wine()
    khan = files("ISLP") / "data"
    sets: dict[str, tuple[Array, Array, Array | None, dict[str, Any]]] = {
        "digits": (digits.data, digits.target, None, {}),
        "digits, conv": (digits.images, digits.target, None, {"architecture": "conv"}),
        "wine": (wine.data, wine.target, None, {}),
        "tumours": (
            pd.read_csv(str(khan / "Khan_xtrain.csv")).to_numpy(),
            pd.read_csv(str(khan / "Khan_ytrain.csv")).to_numpy().ravel(),
            None,
            {},
        ),
    }
    if "SVQVAE_TEST_DATA" in os.environ:
        cells = read_table(Path(os.environ["SVQVAE_TEST_DATA"]) / "pbmc68k_reduced.h5ad", label="bulk_labels")
        samples = read_samples(cells, label="bulk_labels")
        sets["blood cells"] = (np.asarray(samples.rows), samples.labels, None, {})
        X, y, compounds = load_signatures(Path(os.environ["SVQVAE_TEST_DATA"]) / "lincs" / "a375")
        sets["A375"] = (X.to_numpy(), y, compounds, {})
    return sets


def score(
    X: Array, y: Array, groups: Array | None, settings: dict[str, Any], seed: int, fold: int, n_folds: int
) -> dict[str, float]:
    """Return the figures of one model on one validation fold."""
    import torch

    torch.set_num_threads(1)
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    train, test = list(kind(n_folds, shuffle=True, random_state=seed).split(X, y, groups))[fold]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SVQVAE(random_state=seed, **settings).fit(X[train], y[train])
        quality = held_out_quality(model, X[train], y[train], X[test], y[test])
        rows = X.reshape(len(X), -1)
        logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(rows[train], y[train])
    return {
        "accuracy": quality.accuracy,
        "class_means": quality.accuracy_class_means,
        "logistic": float(logistic.score(rows[test], y[test])),
        "class_over_floor": quality.class_reconstruction / quality.class_reconstruction_means,
        "sample_over_floor": quality.sample_reconstruction / quality.class_reconstruction_means,
    }


def main() -> None:
    """Run all variants on all data sets, print the tables, keep the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="names of variants; then nothing is written")
    parser.add_argument("--data", nargs="*", help="names of data sets; the rows of others are kept")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--quick", action="store_true", help="one fold of the default")
    arguments = parser.parse_args()
    chosen = ["default"] if arguments.quick else arguments.only or list(VARIANTS)
    seeds = range(1 if arguments.quick else arguments.seeds)
    folds = range(1 if arguments.quick else arguments.folds)
    rows = []
    for name, (X, y, groups, own) in data_sets().items():
        if arguments.data and name not in arguments.data:
            continue
        for variant in chosen:
            if own and variant != "default":
                continue
            jobs = (
                delayed(score)(X, y, groups, own | VARIANTS[variant], seed, fold, arguments.folds)
                for seed in seeds
                for fold in folds
            )
            figures = pd.DataFrame(Parallel(n_jobs=arguments.jobs)(jobs))
            spread = figures["accuracy"].std() if len(figures) > 1 else 0.0
            rows.append({"data": name, "variant": variant, **figures.mean(), "accuracy_spread": spread})
            print(pd.DataFrame(rows[-1:]).round(4).to_string(header=variant == chosen[0], index=False), flush=True)
    table = pd.DataFrame(rows)
    print(table.pivot(index="variant", columns="data", values="accuracy").round(4).to_string())
    if "SVQVAE_TEST_DATA" not in os.environ:
        print("Not written: SVQVAE_TEST_DATA is unset, so that two data sets were left out.")
    elif not (arguments.quick or arguments.only):
        RESULTS.parent.mkdir(exist_ok=True)
        if arguments.data and RESULTS.exists():
            known = pd.read_csv(RESULTS)
            table = pd.concat([known[~known["data"].isin(table["data"])], table])
        table.round(5).to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main()
