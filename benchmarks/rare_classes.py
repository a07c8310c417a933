"""Do the profiles of rare classes predict held-out samples better than their plain class means?

Real L1000 signatures of A375 cells (three plates, z-scores clipped to ±10, compounds of a single perturbagen class,
classes of at least 4 compounds by id): half of the compounds of each class, drawn anew for each split, are fitted by
the default model; each profile is held against the mean of the signatures of its other compounds. Prints the
mean squared error per gene of the atlas profiles, the decoded codes, the plain class means and the mean of all classes,
over that of the plain class means; for all classes and for those of 5 to 20 fitted signatures. Writes
results/rare_classes.csv. SVQVAE_TEST_DATA names the folder of real data.
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

from svqvae import SVQVAE
from svqvae.data.l1000 import Selection, read_signatures

RESULTS = Path(__file__).parent / "results" / "rare_classes.csv"
MIN_COMPOUNDS, RARE = 4, (5, 20)


def load_signatures(folder: Path) -> tuple[pd.DataFrame, NDArray[np.str_], NDArray[np.str_]]:
    """Return signatures × genes, and the perturbagen class and the compound of each."""
    selection = Selection(min_compounds=MIN_COMPOUNDS)
    paths = sorted(folder.glob("*.gctx"))
    adata, _ = read_signatures(paths, folder / "sig_info.txt", folder / "pcl.csv", selection=selection)
    return adata.to_df(), adata.obs["pcl"].to_numpy(dtype=str), adata.obs["pert_iname"].to_numpy(dtype=str)


def draw_half(y: NDArray[Any], compounds: NDArray[Any], seed: int) -> NDArray[np.bool_]:
    """Return which samples are fitted: those of half of the compounds of each class, drawn at random."""
    rng = np.random.default_rng(seed)
    is_fitted = np.zeros(len(y), dtype=bool)
    for name in np.unique(y):
        own = rng.permutation(np.unique(compounds[y == name]))
        is_fitted |= (y == name) & np.isin(compounds, own[: len(own) // 2])
    return is_fitted


def measure(X: pd.DataFrame, y: NDArray[np.str_], compounds: NDArray[np.str_], seed: int) -> list[dict[str, object]]:
    """Return the errors of one split, for all classes and for rare ones."""
    import torch

    torch.set_num_threads(1)
    is_fitted = draw_half(y, compounds, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        atlas = SVQVAE(random_state=seed).fit(X[is_fitted], y[is_fitted]).to_atlas()
    means = X[is_fitted].groupby(y[is_fitted]).mean()
    held_out = X[~is_fitted].groupby(y[~is_fitted]).mean()
    guesses = {
        "atlas profile": atlas.profiles,
        "decoded code": atlas.decoded_profiles,
        "plain class mean": means,
        "mean of all classes": means * 0 + means.mean(),
    }
    is_rare = pd.Series(atlas.counts, index=atlas.classes).between(*RARE)
    rows: list[dict[str, object]] = []
    for which, chosen in (("all", slice(None)), ("rare", is_rare)):
        errors = {
            name: float(((guess - held_out) ** 2).loc[chosen].to_numpy().mean()) for name, guess in guesses.items()
        }
        over = {f"{name} / plain": error / errors["plain class mean"] for name, error in errors.items()}
        n = len(held_out) if which == "all" else int(is_rare.sum())
        rows.append(
            {"seed": seed, "classes": which, "n_classes": n, "plain class mean": errors["plain class mean"]} | over
        )
    return rows


def main() -> None:
    """Run the splits, print the table, keep the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--quick", action="store_true", help="1 split; writes nothing")
    arguments = parser.parse_args()
    if "SVQVAE_TEST_DATA" not in os.environ:
        parser.error("SVQVAE_TEST_DATA must name the folder of real data; it is unset.")
    X, y, compounds = load_signatures(Path(os.environ["SVQVAE_TEST_DATA"]) / "lincs" / "a375")
    print(f"{len(X)} signatures of {len(np.unique(compounds))} compounds in {len(np.unique(y))} classes")
    seeds = range(1 if arguments.quick else arguments.seeds)
    parts = Parallel(n_jobs=arguments.jobs)(delayed(measure)(X, y, compounds, seed) for seed in seeds)
    table = pd.DataFrame([row for part in parts for row in part])
    print(table.drop(columns="seed").groupby("classes").agg(["mean", "std"]).T.unstack().round(3).to_string())
    if not arguments.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        table.round(5).to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main()
