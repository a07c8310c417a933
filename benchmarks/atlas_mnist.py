"""Which digits are alike? The closest and farthest pairs of MNIST's classes, with their support.

Fits the default convolutional model and prints all pairs of digits by distance, with how often each would be the
nearest class again in a second study; in each space and metric the five closest pairs and the farthest; and the tree.
The paper's heat map of codes shows 4-9 as the closest pair and 0-1 as the farthest. Writes results/atlas_mnist.csv.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from mnist_data import load_mnist

from svqvae import SVQVAE, ClassAtlas
from svqvae.atlas.atlas import SPACES
from svqvae.atlas.space import METRICS

RESULTS = Path(__file__).parent / "results" / "atlas_mnist.csv"


def pairs_by_distance(atlas: ClassAtlas) -> pd.DataFrame:
    """Return all pairs, the closest first, with distance, q-value, and the support of each as nearest of the other."""
    supports = atlas.nearest(1).set_index(["class", "nearest"])["support"]
    table = atlas.pairs()
    for side, columns in (("support", ["class", "other"]), ("support of the other", ["other", "class"])):
        table[side] = [supports.get(pair) for pair in table[columns].itertuples(index=False, name=None)]
    return table


def main() -> None:
    """Fit, print, keep the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--precision", default="bf16-mixed")
    parser.add_argument("--quick", action="store_true", help="2 epochs on 12,000 digits; writes nothing")
    arguments = parser.parse_args()
    X, y, _, _ = load_mnist()
    if arguments.quick:
        X, y = X[:12_000], y[:12_000]
    n_epochs = 2 if arguments.quick else arguments.epochs
    model = SVQVAE(architecture="conv", n_epochs=n_epochs, precision=arguments.precision, random_state=0, verbose=True)
    atlas = model.fit(X, y).to_atlas()
    table = pairs_by_distance(atlas)
    print(table.round(3).to_string())
    for space in SPACES:
        for metric in METRICS:
            distances = atlas.distances(metric, space).to_numpy()
            a, b = np.triu_indices(len(distances), 1)
            ordered = [f"{a[k]}-{b[k]}" for k in np.argsort(distances[a, b])]
            print(f"{space}, {metric}: closest {', '.join(ordered[:5])}; farthest {ordered[-1]}")
    print(atlas.tree().newick())
    if not arguments.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        table.round(5).to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main()
