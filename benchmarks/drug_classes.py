"""Does the default model recognise the classes of compounds that it has not seen, better than plain classifiers?

Real L1000 signatures of A375 cells as `svqvae l1000 --min-per-class 10 --min-compounds 3` takes them: three plates,
z-scores clipped to ±10, compounds of a single perturbagen class. Whole compounds are held out in five folds, once a
seed. The default model is also given the plates' signatures without a class, which no baseline can use. Prints
accuracy, balanced accuracy, macro F1 and the error of class profiles, mean and standard deviation over seeds, of the
default model, of the published objective (the networks of the LINCS notebook, trained for 100 epochs in batches of 32)
and of the baselines of `svqvae evaluate` on the same folds. Writes results/drug_classes.csv.
SVQVAE_TEST_DATA names the folder of real data.
"""

import argparse
import os
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed

from svqvae import SVQVAE
from svqvae.data.l1000 import Selection, read_signatures
from svqvae.data.samples import Samples, read_samples
from svqvae.evaluation.cross_validation import cross_validate

RESULTS = Path(__file__).parent / "results" / "drug_classes.csv"


def load(folder: Path) -> tuple[Samples, Samples]:
    """Return the signatures with their classes and compounds, and those without a class with their compounds."""
    plates = sorted(folder.glob("*.gctx"))
    selection = Selection(min_per_class=10, min_compounds=3)
    adata, told = read_signatures(
        plates, folder / "sig_info.txt", folder / "pcl.csv", selection=selection, with_unlabelled=True
    )
    print("\n".join(told))
    has_class = adata.obs["pcl"].notna().to_numpy()
    labelled = read_samples(adata[has_class], label="pcl", groups="pert_iname")
    return labelled, read_samples(adata[~has_class], groups="pert_iname")


def compare(labelled: Samples, others: Samples, seed: int) -> pd.DataFrame:
    """Return the figures of one seed."""
    import torch

    torch.set_num_threads(1)
    models = {
        "svqvae": SVQVAE(),
        "published objective": SVQVAE.published("lincs", n_epochs=100, batch_size=32),
    }
    plain = cross_validate(labelled, None, models, seeds=[seed])
    informed = cross_validate(
        labelled, None, {"svqvae, with unlabelled signatures": SVQVAE()}, unlabelled=others, seeds=[seed]
    )
    return pd.concat([informed.runs[:1], plain.runs])


def main() -> None:
    """Run all seeds, print the table, keep the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--quick", action="store_true", help="1 seed; writes nothing")
    arguments = parser.parse_args()
    if "SVQVAE_TEST_DATA" not in os.environ:
        parser.error("SVQVAE_TEST_DATA must name the folder of real data; it is unset.")
    labelled, others = load(Path(os.environ["SVQVAE_TEST_DATA"]) / "lincs" / "a375")
    seeds = range(1 if arguments.quick else arguments.seeds)
    found = Parallel(n_jobs=arguments.jobs)(delayed(compare)(labelled, others, seed) for seed in seeds)
    runs = pd.concat(found, ignore_index=True)
    summary = runs.drop(columns="seed").groupby("method", sort=False).agg(["mean", "std"])
    print(summary.round(3).to_string())
    if not arguments.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        runs.round(5).to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main()
